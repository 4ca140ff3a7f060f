"""The settings of an answer: read from generation_config.json, changed by arguments, checked."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
import transformers

from qwen3_vl.config.generation import GenerationConfig
from qwen3_vl.config.model import Qwen3VLConfig
from qwen3_vl.errors import CheckpointError, ConfigError

MODEL = Qwen3VLConfig.preset("2b-instruct")

# As in the official checkpoint of 2B.
OFFICIAL = {
    "bos_token_id": 151643,
    "pad_token_id": 151643,
    "do_sample": True,
    "eos_token_id": [151645, 151643],
    "top_p": 0.8,
    "top_k": 20,
    "temperature": 0.7,
    "repetition_penalty": 1.0,
    "transformers_version": "4.56.0",
}


def written(folder, content: object):
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / "generation_config.json").write_text(text)
    return folder


def test_the_official_file(tmp_path):
    settings = GenerationConfig.from_pretrained(written(tmp_path, OFFICIAL), MODEL)
    assert settings == GenerationConfig(
        do_sample=True,
        temperature=0.7,
        top_k=20,
        top_p=0.8,
        eos_token_id=(151645, 151643),
        pad_token_id=151643,
    )


def test_without_a_file_the_model_says_where_an_answer_ends(tmp_path):
    assert GenerationConfig.from_pretrained(tmp_path, MODEL).eos_token_id == (151645,)


def test_the_file_wins_over_the_model(tmp_path):
    folder = written(tmp_path, {"eos_token_id": 7})
    assert GenerationConfig.from_pretrained(folder, MODEL).eos_token_id == (7,)


def test_what_is_written_is_read_back():
    settings = GenerationConfig(
        max_new_tokens=9, do_sample=True, seed=3, stop=("\n", "end"), eos_token_id=(1, 2)
    )
    data = json.loads(json.dumps(settings.to_dict()))
    assert GenerationConfig.from_dict(data) == settings
    assert GenerationConfig().to_dict() == {}


def test_transformers_reads_what_is_written_and_its_files_are_read(tmp_path):
    settings = GenerationConfig(
        do_sample=True, temperature=0.5, top_k=9, eos_token_id=(1, 2), pad_token_id=3
    )
    written(tmp_path, settings.to_dict())
    reference = transformers.GenerationConfig.from_pretrained(tmp_path)
    assert (reference.temperature, reference.top_k) == (0.5, 9)
    assert reference.eos_token_id == [1, 2]
    reference.save_pretrained(tmp_path)
    assert GenerationConfig.from_pretrained(tmp_path, MODEL) == settings


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"temprature": 1.0}, "unknown key temprature; did you mean temperature"),
        ({"num_beams": 4}, "unknown key num_beams"),
        ({"temperature": "hot"}, "temperature is 'hot': .* valid number"),
        ({"top_k": 1.5}, "top_k is 1.5: .* valid integer"),
        ({"eos_token_id": "</s>"}, "eos_token_id.0 is '</s>'"),
        ({"temperature": -1}, "temperature is -1.0; it must be at least 0"),
        ({"top_p": 1.5}, "top_p is 1.5; it must be between 0 and 1"),
        ({"top_p": 0}, "must be above 0"),
        ({"repetition_penalty": 0}, "must be above 0"),
        ({"min_p": float("nan")}, "min_p is nan"),
        ({"max_new_tokens": 0}, "max_new_tokens is 0; it must be at least 1"),
        ({"do_sample": True, "temperature": 0}, "set do_sample=False"),
        ({"stop": [""]}, "strings that are not empty"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, data, message):
    with pytest.raises(ConfigError, match=message):
        GenerationConfig.from_dict(data)
    with pytest.raises(ConfigError, match=rf"generation_config\.json: .*{message}"):
        GenerationConfig.from_pretrained(written(tmp_path, data), MODEL)


@pytest.mark.parametrize("content", ["{", "[]", "null"])
def test_a_broken_file_is_told(tmp_path, content):
    with pytest.raises(CheckpointError, match=r"generation_config\.json"):
        GenerationConfig.from_pretrained(written(tmp_path, content), MODEL)


@pytest.mark.parametrize("option", ["temperature", "top_k", "top_p", "min_p", "seed"])
def test_whoever_sets_randomness_means_to_sample(option):
    given: Any = {option: 1}
    assert GenerationConfig().change(given).do_sample
    with pytest.raises(ConfigError, match=f"do_sample=False makes {option} meaningless"):
        GenerationConfig().change(given | {"do_sample": False})


def test_temperature_zero_means_the_likeliest_token():
    settings = GenerationConfig(do_sample=True, temperature=0.7).change({"temperature": 0})
    assert not settings.do_sample


def test_what_is_none_stays_and_single_values_become_tuples():
    settings = GenerationConfig(max_new_tokens=5, eos_token_id=(1,))
    assert settings.change({"max_new_tokens": None, "eos_token_id": None}) == settings
    changed = settings.change({"eos_token_id": 7, "stop": "end"})
    assert (changed.eos_token_id, changed.stop) == ((7,), ("end",))
    assert settings.change({"eos_token_id": [7, 8]}).eos_token_id == (7, 8)


def test_an_argument_that_does_not_exist_is_a_type_error():
    given: Any = {"num_beams": 4}
    with pytest.raises(TypeError, match="unknown argument num_beams; there are: max_new_tokens"):
        GenerationConfig().change(given)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("max_new_tokens", "5", "'5'; it must be a whole number"),
        ("max_new_tokens", 2.5, "2.5; it must be a whole number"),
        ("temperature", "hot", "'hot'; it must be a number"),
        ("temperature", float("inf"), "inf; it must be at least 0 and finite"),
        ("top_k", 2.5, "2.5; it must be a whole number"),
        ("top_k", True, "True; it must be a whole number"),
        ("top_p", [0.5], r"\[0.5\]; it must be a number"),
        ("repetition_penalty", float("nan"), "nan; it must be at least 0 and finite"),
        ("do_sample", "yes", "'yes'; it must be True or False"),
        ("seed", 1.5, "1.5; it must be a whole number"),
        ("seed", 2**64, f"{2**64}; it must be between"),
        ("seed", -(2**63) - 1, f"{-(2**63) - 1}; it must be between"),
        ("stop", 5, r"\(5,\); it must be strings"),
        ("stop", b"x", r"\(b'x',\); it must be strings"),
        ("stop", ["a", 5], r"\('a', 5\); it must be strings"),
        ("eos_token_id", "x", r"\('x',\); it must be token ids"),
        ("eos_token_id", [None], r"\(None,\); it must be token ids"),
        ("eos_token_id", -1, r"\(-1,\); it must be token ids"),
        ("eos_token_id", True, r"\(True,\); it must be token ids"),
        ("pad_token_id", -1, "-1; it must be a token id"),
        ("pad_token_id", "x", "'x'; it must be a token id"),
    ],
)
def test_what_an_argument_cannot_be(name, value, message):
    given: Any = {name: value}
    with pytest.raises(ConfigError, match=f"{name} is {message}"):
        GenerationConfig(**given)
    with pytest.raises(ConfigError, match=f"{name} is {message}"):
        GenerationConfig().change(given)


@pytest.mark.parametrize("seed", [-(2**63), -1, 0, 2**64 - 1])
def test_a_seed_is_what_torch_takes(seed):
    generator = torch.Generator().manual_seed(GenerationConfig().change({"seed": seed}).seed)
    assert generator.initial_seed() == seed % 2**64


def test_one_end_and_one_stop_string_need_no_tuple():
    given: Any = {"eos_token_id": 5, "stop": "end"}
    settings = GenerationConfig(**given)
    assert (settings.eos_token_id, settings.stop) == ((5,), ("end",))
    assert settings == GenerationConfig().change(given)
    given = {"eos_token_id": [5, 6], "stop": ["a", "b"]}
    assert hash(GenerationConfig(**given)) == hash(GenerationConfig().change(given))


@pytest.mark.parametrize("option", ["top_k", "top_p", "min_p", "seed"])
def test_temperature_zero_leaves_nothing_to_randomness(option):
    given: Any = {"temperature": 0, option: 1}
    with pytest.raises(ConfigError, match=f"temperature=0 makes {option} meaningless"):
        GenerationConfig().change(given)

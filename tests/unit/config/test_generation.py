"""The settings of an answer: read from generation_config.json, changed by arguments, checked."""

from __future__ import annotations

import json
from typing import Any

import pytest
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

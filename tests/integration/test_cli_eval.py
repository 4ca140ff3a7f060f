"""`qwen3-vl eval quality`, `harden` and `balance` as a person uses them, offline."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from qwen3_vl.models.qwen3_vl import Qwen3VLForConditionalGeneration
from qwen3_vl.processing.processor import Qwen3VLProcessor
from qwen3_vl.validation.quality.suite import TASKS, VERSION
from tests.support.commands import Command
from tests.support.self_labelled import likelihood, world
from tests.support.tiny_checkpoint import write_checkpoint
from tests.support.tiny_models import random_model


@pytest.fixture(autouse=True)
def wide_and_on_one_thread(monkeypatch: pytest.MonkeyPatch, qwen3_vl: Command) -> None:  # noqa: ARG001
    """Over the settings of `qwen3_vl`: a wider table, and the one thread that is fastest here."""
    monkeypatch.setenv("COLUMNS", "110")
    monkeypatch.setenv("QWEN3_VL__CPU__THREADS", "1")


@pytest.fixture
def checkpoint(tmp_path: Path) -> str:
    config = world().model.config
    vision = replace(config.vision_config, patch_size=16)  # as large models have it
    model = random_model(config.replace(vision_config=vision))
    return str(write_checkpoint(tmp_path / "model", model))


def test_quality_measures_tasks_and_writes_what_it_found(
    qwen3_vl: Command, checkpoint: str, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib")
    found, plot = tmp_path / "found.json", tmp_path / "found.png"
    asked = ("eval", "quality", "-m", checkpoint, "--tasks", "colour_shape, grammar")
    settings = ("--items", "2", "--level", "0.1", "--recipe", "weight_int8", "--device", "cpu")
    done = qwen3_vl(*asked, *settings, "--json", str(found), "--plot", str(plot))
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    for told in ("colour_shape", "grammar", "all answers", "all likelihoods", "verdict: "):
        assert told in done.stdout, told
    data = json.loads(found.read_text())
    wanted = data["about"]["wanted"]
    assert (wanted["recipe"], wanted["against"]) == ("weight_int8", "")
    assert (wanted["suite"], wanted["items"], wanted["level"]) == (VERSION, 2, 0.1)
    assert [record["task"] for record in data["records"]] == ["colour_shape", "grammar"] * 2
    assert all(0 < max(record["kl"]) < 0.5 for record in data["records"])
    assert 0 < data["weights"] < 1
    assert plot.stat().st_size > 0


def test_a_recipe_can_be_compared_with_another(
    qwen3_vl: Command, checkpoint: str, tmp_path: Path
) -> None:
    found = tmp_path / "found.json"
    recipe = "sliding_window(window=16)"
    asked = ("eval", "quality", "-m", checkpoint, "--tasks", "colour_shape", "--items", "1")
    done = qwen3_vl(*asked, "--recipe", recipe, "--against", recipe, "--json", str(found))
    assert done.returncode == 0, done.stderr
    (record,) = json.loads(found.read_text())["records"]
    assert set(record["kl"]) == {0}
    assert record["first_divergence"] is None


def test_a_broken_model_can_be_judged_too(
    qwen3_vl: Command, checkpoint: str, tmp_path: Path
) -> None:
    found = tmp_path / "found.json"
    asked = ("eval", "quality", "-m", checkpoint, "--tasks", "colour_shape", "--items", "1")
    done = qwen3_vl(*asked, "--sabotage", "dropped_deepstack", "--json", str(found))
    assert done.returncode == 0, done.stderr
    assert "dropped_deepstack, against" in done.stdout
    data = json.loads(found.read_text())
    assert data["about"]["wanted"]["sabotage"] == "dropped_deepstack"
    assert max(data["records"][0]["kl"]) > 0
    refused = qwen3_vl(*asked, "--sabotage", "smoke")
    assert refused.returncode == 2
    assert refused.stderr.startswith("error: there is no sabotage 'smoke'; there are: random_evic")


def test_every_task_can_be_asked(qwen3_vl: Command, checkpoint: str, tmp_path: Path) -> None:
    found = tmp_path / "found.json"
    asked = ("eval", "quality", "-m", checkpoint, "--items", "1", "--level", "0")
    done = qwen3_vl(*asked, "--json", str(found))
    assert done.returncode == 0, done.stderr
    data = json.loads(found.read_text())
    assert [record["task"] for record in data["records"]] == list(TASKS)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--tasks", "colour"), "there is no task 'colour'; there are: colour_shape"),
        (("--tasks", "count,count"), "names one twice"),
        (("--recipe", "weight_int9"), "did you mean weight_int8?"),
        (("--against", "weight_int9"), "did you mean weight_int8?"),
        (("--json", "nowhere/found.json"), "there is no folder nowhere"),
        (("--json", "."), "is a folder; name a file in it"),
        (("--plot", "found.jpg"), "must be a PNG"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_loaded(
    qwen3_vl: Command,
    checkpoint: str,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    told: str,
) -> None:
    monkeypatch.setattr("qwen3_vl.cli.evaluate._load", None)
    done = qwen3_vl("eval", "quality", "-m", checkpoint, *arguments)
    assert done.returncode == 2
    assert told in done.stderr
    assert done.stderr.count("\n") == 1


def test_harden_and_balance_write_models_that_answer_alike(
    qwen3_vl: Command, checkpoint: str, tmp_path: Path
) -> None:
    hardened, balanced, talks = tmp_path / "hard", tmp_path / "even", tmp_path / "talks.jsonl"
    done = qwen3_vl("harden", checkpoint, "-o", str(hardened), "--strength", "64")
    assert done.returncode == 0, done.stderr
    talks.write_text(f'{json.dumps(likelihood(1).prompt)}\n\n"What is a kettle?"\n', "utf-8")
    done = qwen3_vl("balance", str(hardened), "-o", str(balanced), "--prompts", str(talks))
    assert done.returncode == 0, done.stderr
    assert re.search(r"^neurons: \d+% of the error is left$", done.stdout, re.MULTILINE)
    plain, hard, even = (
        Qwen3VLForConditionalGeneration.from_pretrained(one)
        for one in (checkpoint, hardened, balanced)
    )
    inputs = Qwen3VLProcessor.from_pretrained(balanced).prepare([likelihood().prompt])
    with torch.inference_mode():
        before = plain(**inputs).logits
        for model in (hard, even):
            after = model(**inputs).logits
            assert torch.allclose(after, before, rtol=0, atol=1e-4 * float(before.std()))
    name = "model.language_model.layers.0.input_layernorm.weight"
    first, second, third = (one.get_parameter(name).detach() for one in (plain, hard, even))
    assert (second / first).max() == 64
    assert (third / first).max() < 64


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (b"", "holds no conversation"),
        (b"{", "line 1 is no JSON"),
        (b"5", "messages must be a list"),
        (b'[{"role": "user"}]', "content"),
        (b'"\xff"', "no text in UTF-8"),
    ],
)
def test_balance_tells_what_is_wrong_with_prompts(
    words: bytes, reason: str, qwen3_vl: Command, checkpoint: str, tmp_path: Path
) -> None:
    talks = tmp_path / "talks.jsonl"
    talks.write_bytes(words)
    done = qwen3_vl("balance", checkpoint, "-o", str(tmp_path / "x"), "--prompts", str(talks))
    assert done.returncode == 2
    assert reason in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "x").exists()


def test_harden_does_not_write_over_the_model(qwen3_vl: Command, checkpoint: str) -> None:
    done = qwen3_vl("harden", checkpoint, "-o", checkpoint)
    assert done.returncode == 2
    assert "is the model's own folder" in done.stderr

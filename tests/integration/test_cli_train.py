"""`qwen3-vl train playground` makes a model that loads and answers, in one go or in several."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from qwen3_vl.api import Qwen3VLInference
from qwen3_vl.cli.main import app
from qwen3_vl.training.log import read_log


def train(folder: Path, *options: str) -> str:
    arguments = ["train", "playground", "-o", str(folder), "--size", "nano", "--device", "cpu"]
    result = CliRunner().invoke(app, [*arguments, *options], catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def test_a_model_is_made_and_answers(tmp_path: Path) -> None:
    train(tmp_path / "model", "--views", "40", "--examples", "60")
    files = {path.name for path in (tmp_path / "model").iterdir()}
    assert {"model.safetensors", "config.json", "tokenizer.json", "run", "sight"} <= files
    assert {"run.png", "sight.png"} <= files
    assert read_log(tmp_path / "model" / "run")[-1]["examples"] == 60
    assert read_log(tmp_path / "model" / "sight")[-1]["examples"] == 40
    vlm = Qwen3VLInference(tmp_path / "model")
    assert isinstance(vlm.generate_text("917 - 803 =", max_new_tokens=4), str)


def test_it_goes_on_where_it_ended(tmp_path: Path) -> None:
    some = ("--views", "20", "--examples", "40")
    train(tmp_path / "model", *some)
    before = (tmp_path / "model" / "model.safetensors").read_bytes()
    assert "learns to answer on after step" in train(tmp_path / "model", *some)
    assert (tmp_path / "model" / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--size", "huge"), "size is 'huge'; it can be nano, tiny, small"),
        (("--device", "cuda:99"), "cuda:99"),
    ],
)
def test_what_cannot_be_is_told_in_a_line(
    tmp_path: Path, options: tuple[str, ...], told: str
) -> None:
    command = [sys.executable, "-m", "qwen3_vl", "train", "playground", "-o", str(tmp_path)]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert told in done.stderr
    assert done.stderr.count("\n") == 1

"""The command line as a person uses it, offline."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from qwen3_vl.hardware.device import Gpu
from qwen3_vl.loading import embedded_folder
from qwen3_vl.plugins import techniques
from tests.support.commands import Command
from tests.support.tiny_checkpoint import with_embedded_tokens, write_checkpoint
from tests.support.tiny_models import CONFIGS, random_model


def test_python_m_runs_the_same_command() -> None:
    command = [sys.executable, "-m", "qwen3_vl", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True)
    assert done.stdout.startswith("qwen3-vl 0.")


def test_demo_asks_about_its_pictures_and_all_answers_are_right(
    qwen3_vl: Command, tmp_path: Path
) -> None:
    box = tmp_path / "box.png"
    done = qwen3_vl("demo", "--out", str(box))
    assert done.returncode == 0, done.stderr
    for picture in ("count.png: ", "read.png: ", "where.png: ", "find.png: ", "table.png: "):
        assert picture in done.stdout
    questions = json.loads((embedded_folder().parent / "samples" / "questions.json").read_text())
    assert len(re.findall(r"\sright\n", done.stdout)) == len(questions)
    assert re.search(r"\d+ answer tokens in \d+\.\d\d s, .*: \d+ tokens/s", done.stdout, re.DOTALL)
    with Image.open(embedded_folder().parent / "samples" / "find.png") as found:
        large = tuple(4 * side for side in found.size)
    with Image.open(box) as drawn:
        assert drawn.size == large


def test_demo_tells_where_it_cannot_draw(qwen3_vl: Command, tmp_path: Path) -> None:
    done = qwen3_vl("demo", "--out", str(tmp_path / "none" / "box.png"))
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")


def test_run_prints_the_answer_alone_on_stdout(qwen3_vl: Command, tmp_path: Path) -> None:
    Image.new("RGB", (64, 48), "navy").save(tmp_path / "night.png")
    picture = str(tmp_path / "night.png")
    asked = ("run", "-m", "embedded", "-i", picture, "-i", picture, "Same?", "--temperature", "50")
    first = qwen3_vl(*asked, "--max-new-tokens", "5", "--stats")
    second = qwen3_vl(*asked, "--max-new-tokens", "5")
    assert first.returncode == 0, first.stderr
    assert first.stdout == second.stdout
    assert first.stdout.endswith("\n")
    assert "5 answer tokens" in first.stderr
    assert "ended by length" in first.stderr
    assert "answer tokens" not in second.stderr
    assert "device cpu (" in first.stderr
    assert re.search(r"dtype float(16|32) \(.*\), threads ", first.stderr)
    assert "dtype" not in second.stderr


def test_run_says_why_a_gpu_that_is_there_is_not_used(
    qwen3_vl: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    pascal = Gpu(0, "GTX 1050", (6, 1), 2**31, 2**31, obstacle="torch has no kernels for it")
    monkeypatch.setattr("qwen3_vl.hardware.probe.read_gpus", lambda: (pascal,))
    asked = ("run", "-m", "embedded", "Hi", "--max-new-tokens", "1")
    for extra in ((), ("--stats",)):
        done = qwen3_vl(*asked, *extra)
        assert done.returncode == 0, done.stderr
        first, *others = done.stderr.splitlines()
        assert first.startswith("on cpu: ")
        assert first.endswith("; not cuda:0, because torch has no kernels for it")
        assert all("cuda" not in line for line in others)
    assert qwen3_vl(*asked, "--device", "cpu").stderr == ""
    refused = qwen3_vl(*asked, "--device", "cuda")
    assert refused.returncode == 2
    told = "error: cuda:0 cannot serve, because torch has no kernels for it; take auto or cpu\n"
    assert refused.stderr == told


def test_a_recipe_that_the_gpu_cannot_serve_is_refused(
    qwen3_vl: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    pascal = Gpu(0, "GTX 1050", (6, 1), 2**31, 2**31)
    monkeypatch.setattr("qwen3_vl.hardware.probe.read_gpus", lambda: (pascal,))
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda _: (6, 1))
    done = qwen3_vl("run", "-m", "embedded", "Hi", "--recipe", "flash_attention_2")
    assert done.returncode == 2
    assert done.stderr.startswith("error: flash_attention_2 needs a GPU of compute capability 8.0")


def test_a_single_token_has_no_speed(qwen3_vl: Command) -> None:
    done = qwen3_vl("run", "-m", "embedded", "repeat: ABC", "--max-new-tokens", "1", "--stats")
    assert "1 answer tokens at -, ended by length" in done.stderr


def test_run_reads_the_question_from_stdin(qwen3_vl: Command) -> None:
    asked = ("run", "-m", "embedded", "--max-new-tokens", "4")
    told = qwen3_vl(*asked, "-", stdin="repeat: ABCD").stdout
    assert told.strip()
    assert told == qwen3_vl(*asked, "repeat: ABCD").stdout


def test_a_seed_turns_sampling_on_and_repeats_it(qwen3_vl: Command) -> None:
    asked = ("run", "-m", "embedded", "repeat: 4H7K2M9Q", "--max-new-tokens", "8")
    once, again = (qwen3_vl(*asked, "--temperature", "9", "--seed", "3").stdout for _ in range(2))
    assert once == again
    assert once != qwen3_vl(*asked).stdout


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        (("run", "-m", "no/such/folder", "Hi"), "there is no folder 'no/such/folder'"),
        (("run", "-m", "~nobody-at-all/model", "Hi"), "no folder '~nobody-at-all/model'"),
        (("run", "-m", "someone/some-model", "Hi"), "not in the local cache"),
        (("run", "-m", "embedded", "-i", "nothing.png", "Hi"), "nothing.png"),
        (("run", "-m", "embedded", "Hi", "--top-p", "1.5"), "top_p is 1.5"),
        (("run", "-m", "embedded", "Hi", "--max-new-tokens", "0"), "max_new_tokens is 0"),
        (("run", "-m", "embedded", "Hi", "--max-new-tokens", "9999"), "do not fit the context"),
        (("run", "-m", "embedded", "Hi", "--dtype", "int3"), "int3"),
        (("run", "-m", "embedded", "Hi", "--device", "abacus"), "abacus"),
        (("inspect", "model", "no-such-preset"), "no-such-preset"),
        (("validate", "parity", "-m", "no/such/folder"), "there is no folder"),
    ],
)
def test_an_error_is_told_in_one_sentence(
    qwen3_vl: Command, arguments: tuple[str, ...], cause: str
) -> None:
    done = qwen3_vl(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert cause in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


@pytest.mark.parametrize("command", [("run", "Hi"), ("inspect", "model"), ("inspect", "hardware")])
def test_brackets_in_a_name_are_no_markup(
    qwen3_vl: Command, tmp_path: Path, command: tuple[str, ...]
) -> None:
    folder = tmp_path / "[" / "foo]"
    shutil.copytree(embedded_folder(), folder, ignore=shutil.ignore_patterns("*.safetensors"))
    named = (str(folder),) if command == ("inspect", "model") else ("-m", str(folder))
    done = qwen3_vl(*command, *named)
    if command[0] == "run":  # the folder holds no weights
        assert done.returncode == 2
        assert done.stderr.startswith(f"error: {folder}")
    else:
        assert done.returncode == 0, done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="/dev/full is not there")
@pytest.mark.parametrize(
    "command", ["run -m embedded Hi --max-new-tokens 8 --device cpu", "inspect model 2b-instruct"]
)
@pytest.mark.parametrize("stdout", ["> /dev/full", ">&-", "| true"])
def test_a_stdout_that_takes_nothing_gives_no_traceback(command: str, stdout: str) -> None:
    shell = f"{shlex.quote(sys.executable)} -m qwen3_vl {command} {stdout}"
    done = subprocess.run(shell, shell=True, capture_output=True, text=True, timeout=240)
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr
    full = "error: [Errno 28] No space left on device\n"
    assert done.stderr == (full if "full" in stdout else "")


def test_parity_is_proved_on_a_checkpoint(tmp_path: Path) -> None:
    """In a process of its own: nothing has prepared torchvision for it."""
    config = with_embedded_tokens(CONFIGS["dense_tied"])
    text = replace(config.text_config, max_position_embeddings=2048)
    folder = write_checkpoint(tmp_path / "model", random_model(config.replace(text_config=text)))
    command = [sys.executable, "-m", "qwen3_vl", "validate", "parity", "-m", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert "differs" not in done.stdout
    assert "logits" in done.stdout


def test_inspect_plan_shows_who_answers_which_seam(qwen3_vl: Command) -> None:
    done = qwen3_vl("inspect", "plan", "2b-instruct", "--recipe", "weight_int8|sliding_window")
    assert done.returncode == 0, done.stderr
    rows = {line.split()[1]: line for line in done.stdout.splitlines() if line.startswith("│")}
    assert "weight_int8" in rows["linear"]
    assert "sliding_window" in rows["retain"]
    assert "nobody" in rows["mixer"]
    assert "weights: 2.55 GB (plain: 4.26 GB)" in done.stdout


def test_inspect_plan_counts_in_the_format_of_the_files(qwen3_vl: Command) -> None:
    auto, stored, wider = (
        qwen3_vl("inspect", "plan", "embedded", "--dtype", dtype).stdout.splitlines()[-1]
        for dtype in ("auto", "float16", "float32")
    )
    assert auto == stored != wider


def test_the_automatic_preset_is_made_for_the_model_that_runs(qwen3_vl: Command) -> None:
    asked = ("run", "-m", "embedded", "--preset", "auto", "Hi", "--max-new-tokens", "2")
    done = qwen3_vl(*asked)
    assert done.returncode == 0, done.stderr


def test_optimizations_lists_what_is_on_disk(
    qwen3_vl: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    done = qwen3_vl("optimizations")
    assert done.returncode == 0, done.stderr
    for name, technique in techniques().items():
        assert name in done.stdout
        assert f"{technique.card['Seam']}: " in done.stdout


def test_inspect_counts_the_official_parameters(qwen3_vl: Command) -> None:
    done = qwen3_vl("inspect", "model", "2b-instruct")
    assert done.returncode == 0, done.stderr
    assert "2,127,532,032" in done.stdout
    assert "112 KiB" in done.stdout


def test_every_command_explains_itself(qwen3_vl: Command) -> None:
    for command in (("run",), ("demo",), ("inspect", "model"), ("validate", "parity")):
        done = qwen3_vl(*command, "--help")
        assert done.returncode == 0
        assert "Usage" in done.stdout


def test_letters_that_the_output_does_not_know_are_no_error() -> None:
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "COLUMNS": "60"}
    command = [sys.executable, "-m", "qwen3_vl", "optimizations"]
    done = subprocess.run(command, capture_output=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert b"?" in done.stdout

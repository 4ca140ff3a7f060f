"""The scripts in `examples` are short, run as they are, and get right answers."""

from __future__ import annotations

import json
import re
import runpy
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from qwen3_vl.loading import embedded_folder
from qwen3_vl.validation.quality.item import Item, Turn

FOLDER = Path(__file__).parents[2] / "examples"
SCRIPTS = {path.stem: path for path in FOLDER.glob("*.py")}
SAMPLES = embedded_folder().parent / "samples"
LONGEST = 40
Run = Callable[[str], list[str]]


@pytest.fixture
def lines(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Run:
    """Runs an example in an empty folder, and gives what it printed."""
    monkeypatch.chdir(tmp_path)

    def run(name: str) -> list[str]:
        runpy.run_path(str(SCRIPTS[name]))
        return capsys.readouterr().out.splitlines()

    return run


def sample(picture: str) -> tuple[str, Item]:
    """What is asked about a picture of the package: the words, and the right answer."""
    asked = json.loads((SAMPLES / "questions.json").read_text())
    (one,) = (one for one in asked if picture in json.dumps(one))
    question = one["content"][-1]["text"]
    return question, Item("sample", (Turn((), one["answer"]),), one["kind"])


@pytest.mark.parametrize("name", SCRIPTS)
def test_it_is_short_and_a_test_runs_it(name: str) -> None:
    text = SCRIPTS[name].read_text()
    assert len(text.splitlines()) <= LONGEST
    assert f"test_{name}" in globals()


def test_ask(lines: Run) -> None:
    question, item = sample("count.png")
    assert question in SCRIPTS["ask"].read_text()
    first, second = lines("ask")
    assert item.score(first) == 1
    assert re.fullmatch(r"\d+   \(\d+ prompt tokens, 1 answer tokens\)", second)


def test_several_pictures(lines: Run) -> None:
    question, item = sample("several_1.png")
    assert question in SCRIPTS["several_pictures"].read_text()
    first, turned = lines("several_pictures")
    assert item.score(first) == 1
    assert {first, turned} == {"1", "2"}


def test_video(lines: Run) -> None:
    question, item = sample("video_1.png")
    (told,) = (line for line in lines("video") if line.startswith(question))
    assert item.score(told.removeprefix(question)) == 1


def test_grounding(lines: Run, tmp_path: Path) -> None:
    question, item = sample("find.png")
    assert question in SCRIPTS["grounding"].read_text()
    answer, pixels = lines("grounding")
    assert item.score(answer) == 1
    assert re.fullmatch(r"pixels \d+ … \d+ across, \d+ … \d+ down", pixels)
    with Image.open(tmp_path / "grounding.png") as drawn, Image.open(SAMPLES / "find.png") as plain:
        assert drawn.size == plain.size
        assert drawn.convert("RGB").tobytes() != plain.convert("RGB").tobytes()


def test_streaming(lines: Run) -> None:
    question, item = sample("find.png")
    assert question in SCRIPTS["streaming"].read_text()
    told = lines("streaming")
    assert item.score(told[0]) == 1
    assert re.fullmatch(r"\d+ tokens in \d+\.\d\d s, the first after \d+\.\d\d s", told[-1])


def test_recipe_against_dense(lines: Run) -> None:
    told = lines("recipe_against_dense")
    assert [line.partition(":")[0] for line in told] == [
        "recall",
        "copy",
        "relation",
        "all answers",
    ]
    right, plain, saved = map(int, re.findall(r"(\d+)%", told[-1]))
    assert plain >= 80
    assert right > 0
    assert saved < 50

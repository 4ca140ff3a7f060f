"""The scripts in `examples` are short, run as they are, and print what they say."""

from __future__ import annotations

import json
import re
import runpy
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from qwen3_vl.loading import embedded_folder

FOLDER = Path(__file__).parents[2] / "examples"
SCRIPTS = {path.stem: path for path in FOLDER.glob("*.py")}
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


def question(picture: str) -> str:
    """What is asked about a picture of the package."""
    asked = json.loads((embedded_folder().parent / "samples" / "questions.json").read_text())
    (one,) = (one for one in asked if picture in json.dumps(one))
    return one["content"][-1]["text"]


@pytest.mark.parametrize("name", SCRIPTS)
def test_it_is_short_and_a_test_runs_it(name: str) -> None:
    text = SCRIPTS[name].read_text()
    assert len(text.splitlines()) <= LONGEST
    assert f"test_{name}" in globals()


def test_ask(lines: Run) -> None:
    assert question("count.png") in SCRIPTS["ask"].read_text()
    assert re.search(r"   \(\d+ prompt tokens, \d+ answer tokens\)$", lines("ask")[-1])


def test_several_pictures(lines: Run) -> None:
    assert question("several_1.png") in SCRIPTS["several_pictures"].read_text()
    assert len(lines("several_pictures")) >= 2


def test_video(lines: Run) -> None:
    told = [line for line in lines("video") if line.startswith(("what appears", "how many"))]
    assert len(told) == 3


def test_grounding(lines: Run, tmp_path: Path) -> None:
    assert question("find.png") in SCRIPTS["grounding"].read_text()
    assert lines("grounding")
    with Image.open(tmp_path / "grounding.png") as drawn:
        assert max(drawn.size) == 192


def test_streaming(lines: Run) -> None:
    assert question("table.png") in SCRIPTS["streaming"].read_text()
    told = lines("streaming")
    assert re.fullmatch(r"\d+ tokens in \d+\.\d\d s, the first after \d+\.\d\d s", told[-1])


def test_recipe_against_dense(lines: Run) -> None:
    told = lines("recipe_against_dense")
    names = [line.partition(":")[0] for line in told]
    assert names == ["recall", "copy", "relation", "all answers"]
    *_, held = map(int, re.findall(r"(\d+)%", told[-1]))
    assert 0 < held < 50

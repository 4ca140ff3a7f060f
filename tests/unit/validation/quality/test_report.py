"""From records to numbers, tables, JSON and a picture."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from qwen3_vl.errors import ConfigError, DependencyError
from qwen3_vl.validation.quality.about import About, Wanted
from qwen3_vl.validation.quality.evaluate import Answered, Record, evaluate
from qwen3_vl.validation.quality.item import Kind
from qwen3_vl.validation.quality.plot import plotter
from qwen3_vl.validation.quality.report import FORMAT, Report
from qwen3_vl.validation.quality.statistics import Verdict
from qwen3_vl.validation.quality.summary import ALL_ANSWERS, ALL_LIKELIHOODS, summarise, whole
from tests.support.self_labelled import likelihood, world

WANTED = Wanted("folder", "weight_int8", "", "1", ("count", "text"), 2)


def record(
    right: bool = True,
    against: bool = True,
    task: str = "count",
    *,
    kl: tuple[float, ...] = (0.0,),
    diverges: int | None = None,
    seconds: float = 1.0,
) -> Record:
    def answered(score: float, seconds: float, cache: int) -> Answered:
        return Answered("4", score, None, seconds, cache, cache // 2, 1000)

    ours, theirs = answered(right, seconds, 50), answered(against, 2.0, 100)
    return Record(task, "exact", ours, theirs, kl, 1 - (diverges is not None) / len(kl), diverges)


def surprised(ours: float, theirs: float, task: str = "text") -> Record:
    kind: Kind = "likelihood"
    mine = Answered(None, None, ours, 1.0, 10, 10, 1000)
    return Record(task, kind, mine, replace(mine, nll=theirs), (0.1, 0.3), 0.5, None)


def report(*records: Record) -> Report:
    return Report.of(About.here(WANTED, world().model), records)


def test_each_task_is_summarised_and_then_all() -> None:
    records = [record(), record(task="find"), record(False, task="find"), surprised(1.5, 1.0)]
    count, find, text, answers, texts = summarise(records)
    assert [count.name, find.name, text.name] == ["count", "find", "text"]
    assert (answers.name, texts.name) == (ALL_ANSWERS, ALL_LIKELIHOODS)
    assert (find.items, find.model.mean, find.against.mean, find.gain) == (2, 0.5, 1.0, -0.5)
    assert (answers.items, answers.gain) == (3, pytest.approx(-1 / 3))
    assert (text.model.mean, text.against.mean, text.gain) == (1.5, 1.0, -0.5)
    assert text.model.interval is None
    assert find.model.interval is not None


def test_tokens_count_alike_however_long_their_answers() -> None:
    records = [record(kl=(0.0,) * 9, seconds=1.0), record(kl=(1.0,), diverges=0, seconds=3.0)]
    one = summarise(records)[0]
    assert one.mean_kl == pytest.approx(0.1)
    assert one.agreement == pytest.approx(0.9)
    assert (one.diverged, one.first_divergence) == (0.5, 0)
    assert one.time == 1.0  # the median of 0.5 and 1.5
    assert (one.peak_cache, one.final_cache) == (0.5, 0.5)


def test_three_hundred_equal_items_are_non_inferior_and_a_few_are_not_enough() -> None:
    assert report(*[record()] * 300).verdict is Verdict.NON_INFERIOR
    assert report(*[record()] * 20).verdict is Verdict.UNDECIDED


def test_a_few_items_that_are_all_lost_are_inferior() -> None:
    assert report(*[record(False)] * 8).verdict is Verdict.INFERIOR


def test_a_loss_in_one_task_is_a_loss() -> None:
    records = [record(task="easy")] * 3000 + [record(False, task="hard")] * 8
    easy, hard, everything = summarise(records)
    assert easy.verdict is everything.verdict is Verdict.NON_INFERIOR
    assert hard.verdict is Verdict.INFERIOR
    assert whole([easy, hard, everything]) is Verdict.INFERIOR


def test_where_the_other_model_fails_nothing_good_is_said() -> None:
    one = summarise([record(False, False)] * 400)[0]
    assert one.verdict is Verdict.NO_POWER
    assert report(*[record(False, False)] * 400).verdict is Verdict.NO_POWER
    barely = [record(False)] * 150 + [record(False, False)] * 250
    assert summarise(barely)[0].verdict is Verdict.INFERIOR


def test_likelihoods_have_a_say_too() -> None:
    fine, worse = [surprised(1.0, 1.0)] * 30, [surprised(1.1, 1.0)] * 30
    assert report(*[record()] * 300, *fine).verdict is Verdict.NON_INFERIOR
    assert report(*[record()] * 300, *fine[1:]).verdict is Verdict.UNDECIDED
    assert report(*[record()] * 300, *worse).verdict is Verdict.INFERIOR


def test_json_holds_what_was_wanted_where_and_every_item() -> None:
    found = report(record(kl=(0.25, 1 / 3)), surprised(1.0, 1.0))
    data = json.loads(found.to_json())
    assert data["format"] == FORMAT
    assert data["about"]["wanted"] == {
        "model": "folder",
        "recipe": "weight_int8",
        "against": "",
        "suite": "1",
        "tasks": ["count", "text"],
        "items": 2,
        "level": 1.0,
        "split": "test",
        "sabotage": "",
    }
    assert data["about"]["dtype"] == "float32"
    assert data["about"]["device"] == "cpu"
    assert data["about"]["machine"]
    assert data["records"][0]["kl"] == [0.25, 0.333333]
    assert data["records"][1]["model"]["nll"] == 1.0
    assert data["summaries"][0]["verdict"] == data["verdict"] == "undecided: too few items"
    assert data["weights"] == 1.0


def test_tables_tell_all_tasks() -> None:
    found = report(*[record(False)] * 8, surprised(1.25, 1.0))
    console = Console(file=StringIO(), width=110)
    for table in found.tables():
        console.print(table)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "folder: weight_int8, against plain" in text
    for told in ("count", "inferior", "-100.0 pp", "0.0 … 32.4", "+0.250", "all likelihoods"):
        assert told in text, told


def test_a_plot_is_a_png(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    file = tmp_path / "plot.png"
    plotter(file)(report(*[record(False, kl=(0.5,))] * 8, surprised(1.25, 1.0)))
    assert file.read_bytes().startswith(b"\x89PNG")
    plotter(file)(report(record()))


def test_a_plot_that_cannot_be_drawn_is_told_beforehand(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"must be a PNG"):
        plotter(tmp_path / "plot.pdf")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(DependencyError, match=r"matplotlib.*qwen3-vl\[bench\]"):
        plotter(tmp_path / "plot.png")


def test_an_equal_model_is_non_inferior_once_there_are_enough_items() -> None:
    model, processor = world().with_recipe(""), world().processor
    records = list(evaluate(model, model, processor, [*world().items(3), likelihood()]))
    assert report(*records).verdict is Verdict.UNDECIDED
    assert report(*records * 100).verdict is Verdict.NON_INFERIOR

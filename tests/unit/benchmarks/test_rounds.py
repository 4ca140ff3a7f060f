"""Engines in turns, over real worker processes that only pretend to compute."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from benchmarks.comparison import rounds
from benchmarks.comparison.contenders import OURS, Contender
from benchmarks.comparison.environments import Environment, EnvironmentFailed, OurOwn
from benchmarks.comparison.measures import MEASURES
from benchmarks.comparison.process import Worker, WorkerError
from benchmarks.comparison.rounds import Figure, Found, Setting, compare, passes

ROUNDS = 2
FAKE = "tests.support.fake_peer"


def fake(name: str, seconds: float = 1.0, gigabytes: float = 1.0, **settings: str) -> Contender:
    return Contender(name, FAKE, {"seconds": str(seconds), **settings}, OurOwn(), gigabytes)


def run(
    folder: Path,
    engines: list[Contender],
    *names: str,
    gigabytes: float = 9.0,
    seconds: float = math.inf,
) -> Found:
    limits: list[dict[str, float]] = []

    def ask() -> dict[str, float]:
        limits.append({"read": float(len(limits))})
        return limits[-1]

    kept: list[int] = []
    setting = Setting(
        checkpoint=folder / "model",
        cache=folder,
        threads=2,
        rounds=ROUNDS,
        limits=ask,
        tell=lambda _: None,
        keep=lambda found: kept.append(len(found.limits)),
        seconds=seconds,
    )
    found = compare(engines, [MEASURES[name] for name in names], gigabytes, setting)
    assert kept == [index + 1 for index in range(len(found.limits))]
    return found


def figure(found: Found, measure: str, engine: str) -> Figure:
    (one,) = (one for one in found.figures if (one.measure, one.engine) == (measure, engine))
    return one


def test_every_round_asks_every_engine_and_the_machine(tmp_path: Path) -> None:
    found = run(tmp_path, [fake(OURS), fake("other", 2.0)], "prefill-128", "first-640x480")
    assert figure(found, "prefill-128", "other").seconds == [257.0, 258.0]  # other prompts
    first = figure(found, "first-640x480", OURS)
    assert (first.seconds, first.tokens) == ([1.0] * ROUNDS, 338)
    assert [len(one["rounds"]) for one in found.limits] == [ROUNDS, ROUNDS]
    assert found.engines["other"]["versions"].keys() == {"numpy"}


def test_where_time_is_short_one_round_counts(tmp_path: Path) -> None:
    """Whatever it takes; the next measure has its own time."""
    found = run(tmp_path, [fake(OURS)], "prefill-128", "decode-128", seconds=0)
    assert [len(one.seconds) for one in found.figures] == [1, 1]
    assert [len(one["rounds"]) for one in found.limits] == [1, 1]


def test_from_process_start_counts_all_and_loads_each_time(tmp_path: Path) -> None:
    found = run(tmp_path, [fake(OURS, 0.0)], "start-1024x768")
    start = figure(found, "start-1024x768", OURS)
    assert len(start.load) == len(start.seconds) == ROUNDS
    assert all(whole > load >= 0 for whole, load in zip(start.seconds, start.load, strict=True))


def test_only_other_environments_are_shown_the_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here they would stand before the package that is installed, and have no kernels."""
    seen: list[Mapping[str, str]] = []
    ended = WorkerError("seen enough")

    def begun(_python: Path, _module: str, _settings: Any, told: Mapping[str, str], _: Path) -> Any:
        seen.append(told)
        raise ended

    monkeypatch.setattr(rounds, "Worker", begun)
    monkeypatch.setattr(Environment, "python", lambda _, folder: folder / "python")
    other = Contender("other", FAKE, {}, Environment("other", []), 1.0)
    run(tmp_path, [fake(OURS), other])
    assert ["PYTHONPATH" in told for told in seen] == [False, True]


def test_what_an_engine_cannot_do_is_told_and_the_rest_goes_on(tmp_path: Path) -> None:
    engines = [
        fake(OURS),
        fake("fails", fails="decode"),
        fake("ends", ends="decode"),
        fake("loads", fails="load"),
        Contender("refused", FAKE, {}, OurOwn(), 1.0, refused="not on this machine"),
    ]
    found = run(tmp_path, engines, "decode-128", "verify-128", "prefill-128")
    assert figure(found, "decode-128", "fails").error == "ValueError: no decode today"
    assert "ended with code 3" in str(figure(found, "decode-128", "ends").error)
    assert "no way to verify" in str(figure(found, "verify-128", OURS).error)
    assert figure(found, "prefill-128", "fails").seconds == [129.0, 130.0]
    assert found.engines["loads"]["error"] == "ValueError: no load today"
    assert found.engines["refused"]["error"] == "not on this machine"
    assert not [one for one in found.figures if one.engine in ("loads", "refused")]


def test_an_environment_that_cannot_be_made_is_a_reason(tmp_path: Path) -> None:
    broken = Environment("broken", [("--no-index", "no-such-package-at-all")])
    peer = Contender("peer", FAKE, {}, broken, 1.0)
    found = run(tmp_path, [fake(OURS), peer], "prefill-128")
    assert "no-such-package-at-all" in found.engines["peer"]["error"]
    assert figure(found, "prefill-128", OURS).seconds


def test_an_environment_is_made_once_and_anew_when_it_changes(tmp_path: Path) -> None:
    python = Environment("one", []).python(tmp_path)
    made = python.stat().st_ctime_ns, (tmp_path / "one.log").stat().st_mtime_ns
    assert Environment("one", []).python(tmp_path) == python
    assert (python.stat().st_ctime_ns, (tmp_path / "one.log").stat().st_mtime_ns) == made
    with pytest.raises(EnvironmentFailed, match=r"see .*one\.log"):
        Environment("one", [("--no-index", "no-such-package-at-all")]).python(tmp_path)


def test_what_does_not_fit_together_runs_in_passes_with_ours_in_each(tmp_path: Path) -> None:
    engines = [fake(OURS, gigabytes=2), *(fake(name, gigabytes=3) for name in "abc")]
    assert [[one.name for one in group] for group in passes(engines, 8.0)] == [
        [OURS, "a", "b"],
        [OURS, "c"],
    ]
    assert [len(group) for group in passes(engines, 1.0)] == [2, 2, 2]
    found = run(tmp_path, engines, "prefill-128", gigabytes=8.0)
    assert [one.group for one in found.figures if one.engine == OURS] == [0, 1]


def test_an_idle_worker_is_stopped_and_its_memory_known(tmp_path: Path) -> None:
    proc = Path("/proc/self/smaps_rollup")
    if not proc.is_file():
        pytest.skip("this system does not tell it")
    engine = fake("one")
    python = engine.python.python(tmp_path)
    with Worker(python, FAKE, engine.settings, {}, tmp_path / "log") as worker:
        worker.ask("encode", width=64, height=2, seed=0)
        status = Path(f"/proc/{worker.process}/status").read_text()
        assert "State:\tT" in status
        memory: dict[str, Any] = worker.memory() or {}
        assert memory["peak"] >= memory["rss"] >= memory["anonymous"] > 0
    with pytest.raises(WorkerError, match="ended with code"):
        worker.ask("encode", width=64, height=2, seed=0)


def test_a_worker_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    engine = fake("slow")
    python = engine.python.python(tmp_path)
    with (
        Worker(python, FAKE, engine.settings, {}, tmp_path / "log", patience=0.0) as worker,
        pytest.raises(WorkerError, match="no answer within 0 s"),
    ):
        worker.ask("encode", width=64, height=2, seed=0)

"""Measures engines in turns: each round asks every engine once, and what the machine can do.

Where not all engines fit in memory together they run in several passes. Our own engine, the first,
is in each of them, so that a ratio is always one of the same minutes.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from benchmarks.comparison.contenders import Contender
from benchmarks.comparison.environments import EnvironmentFailed
from benchmarks.comparison.measures import Measure
from benchmarks.comparison.process import ROOT, Worker, WorkerError

Ask = Callable[[Contender, Measure, int], dict[str, Any]]
"""In the round of this number."""


@dataclass(frozen=True)
class Setting:
    """The same for all engines."""

    checkpoint: Path
    cache: Path
    threads: int
    rounds: int
    limits: Callable[[], dict[str, float]]
    """What the machine can do at this moment."""
    tell: Callable[[str], object]
    keep: Callable[[Found], object]
    """Called whenever a measure has ended."""
    seconds: float = math.inf
    """For each measure: a round that would end later is not begun, but one always counts."""


@dataclass
class Figure:
    """All that one engine gave for one measure, or why it gave nothing."""

    measure: str
    engine: str
    group: int
    """The pass in which it was measured."""
    seconds: list[float] = field(default_factory=list)
    load: list[float] = field(default_factory=list)
    memory: list[dict[str, int]] = field(default_factory=list)
    tokens: int | None = None
    """Of the prompt, where there is a picture."""
    error: str | None = None

    def add(self, told: dict[str, Any]) -> None:
        """What a round gave."""
        self.seconds.append(told["seconds"])
        self.tokens = told.get("tokens")
        for name in ("load", "memory"):
            if told.get(name) is not None:
                getattr(self, name).append(told[name])


@dataclass
class Found:
    """What a comparison found."""

    figures: list[Figure] = field(default_factory=list)
    limits: list[dict[str, Any]] = field(default_factory=list)
    """Of each measure and pass, round by round."""
    engines: dict[str, dict[str, Any]] = field(default_factory=dict)


def compare(
    engines: Sequence[Contender], measures: Sequence[Measure], gigabytes: float, setting: Setting
) -> Found:
    """Measure all; an engine that cannot take part is told with the reason."""
    found = Found()
    ready = [one for one in engines if _made_ready(one, setting, found)]
    warm = [one for one in measures if not one.fresh]
    groups = list(passes(ready, gigabytes)) if ready and warm else []
    for index, group in enumerate(groups):
        _warm(index, group, warm, setting, found)
    for measure in measures:
        if measure.fresh:
            _in_turns(len(groups), measure, ready, _fresh(setting, found), setting, found)
    return found


def passes(engines: Sequence[Contender], gigabytes: float) -> Iterator[list[Contender]]:
    """Groups that fit in this much memory, the first engine in each."""
    first, *others = engines
    group = [first]
    for one in others:
        if len(group) > 1 and sum(each.gigabytes for each in (*group, one)) > gigabytes:
            yield group
            group = [first]
        group.append(one)
    yield group


def _made_ready(engine: Contender, setting: Setting, found: Found) -> bool:
    """Installed, and with the checkpoint in its own format."""
    about = found.engines.setdefault(engine.name, {})
    setting.tell(f"{engine.name}: making ready")
    try:
        if engine.refused:
            raise WorkerError(engine.refused)
        with _worker(engine, setting) as worker:
            worker.ask("prepare", **_files(engine, setting))
    except (EnvironmentFailed, WorkerError) as error:
        about["error"] = str(error)
    return "error" not in about


def _warm(
    group: int,
    engines: Sequence[Contender],
    measures: Sequence[Measure],
    setting: Setting,
    found: Found,
) -> None:
    """One pass: engines that stay loaded."""
    vision = any(one.vision for one in measures)
    with ExitStack() as stack:
        workers: dict[str, Worker] = {}
        for engine in engines:
            setting.tell(f"{engine.name}: loading")
            worker = stack.enter_context(_worker(engine, setting))
            try:
                _load(worker, engine, setting, vision, found)
                workers[engine.name] = worker
            except WorkerError as error:
                found.engines[engine.name]["error"] = str(error)

        def ask(engine: Contender, measure: Measure, turn: int) -> dict[str, Any]:
            worker = workers[engine.name]
            told = worker.ask(measure.do, **measure.request(turn, setting.rounds))
            return {**told, "memory": worker.memory()}

        there = [one for one in engines if one.name in workers]
        for measure in measures:
            _in_turns(group, measure, there, ask, setting, found)


def _fresh(setting: Setting, found: Found) -> Ask:
    """For engines that begin with the question: all from the start of the process counts."""

    def ask(engine: Contender, measure: Measure, turn: int) -> dict[str, Any]:
        started = time.perf_counter()
        with _worker(engine, setting) as worker:
            load = _load(worker, engine, setting, measure.vision, found)
            told = worker.ask(measure.do, **measure.request(turn, setting.rounds))
            seconds = time.perf_counter() - started
            return {**told, "seconds": seconds, "load": load, "memory": worker.memory()}

    return ask


def _in_turns(
    group: int,
    measure: Measure,
    engines: Sequence[Contender],
    ask: Ask,
    setting: Setting,
    found: Found,
) -> None:
    """The rounds of one measure, after one that does not count."""
    figures = {one.name: Figure(measure.name, one.name, group) for one in engines}
    found.figures += figures.values()
    limits: list[dict[str, float]] = []
    began = time.monotonic()
    for turn in range(setting.rounds + 1):
        if turn > 1 and (time.monotonic() - began) * (turn + 1) / turn > setting.seconds:
            setting.tell(f"{measure.name}: another round would take too long")
            break
        setting.tell(f"{measure.name}: round {turn} of {setting.rounds}")
        if turn:
            limits.append(setting.limits())
        for engine in engines:
            figure = figures[engine.name]
            if figure.error is not None:
                continue
            try:
                told = ask(engine, measure, turn)
            except WorkerError as error:
                figure.error = str(error)
            else:
                if turn:
                    figure.add(told)
    found.limits.append({"measure": measure.name, "group": group, "rounds": limits})
    setting.keep(found)


def _worker(engine: Contender, setting: Setting) -> Worker:
    python = engine.python.python(setting.cache / "peers")
    variables = {"OMP_NUM_THREADS": str(setting.threads), **engine.variables}
    if python != Path(sys.executable):  # which has this package, and with it the kernels
        variables["PYTHONPATH"] = str(ROOT / "src")
    log = setting.cache / "comparison" / "logs" / f"{engine.name}.log"
    return Worker(python, engine.module, engine.settings, variables, log)


def _load(worker: Worker, engine: Contender, setting: Setting, vision: bool, found: Found) -> float:
    """How long it takes; what the engine tells of itself is kept."""
    asked = _files(engine, setting)
    told = worker.ask("load", **asked, threads=setting.threads, vision=vision)
    seconds = told.pop("seconds")
    found.engines[engine.name] |= told
    return seconds


def _files(engine: Contender, setting: Setting) -> dict[str, str]:
    place = sha256(str(setting.checkpoint.resolve()).encode()).hexdigest()[:8]
    folder = setting.cache / "comparison" / f"{engine.module.rpartition('.')[2]}-{place}"
    return {"checkpoint": str(setting.checkpoint), "folder": str(folder)}

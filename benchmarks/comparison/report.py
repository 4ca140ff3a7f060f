"""A comparison as a table on the terminal, a file of JSON, and a picture."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks.comparison.contenders import OURS
from benchmarks.comparison.measures import MEASURES, Measure
from benchmarks.comparison.results import Results, middle

COLUMNS = ("", "median", "best", "worst", "× ours", "load s", "peak GB", "PSS GB", "own GB")
EXPLAINED = f"""× ours: the median time divided by that of {OURS} in the same rounds; above 1 is
slower. In brackets: what the machine itself reached between the rounds. Memory: of the process when
the measure had ended; but for those from process start it had run all measures above it too. Peak:
the most it had in memory; PSS: what it then had, its part of what is shared; own: anonymous."""
Cells = tuple[str, ...]


def show(told: Mapping[str, Any], console: Console) -> None:
    """Print the tables."""
    results = Results(told)
    for title, found in tables(results):
        table = Table(title=title, title_justify="left", box=SIMPLE, padding=(0, 1, 0, 0))
        filled = [column for column, cells in enumerate(zip(*found, strict=True)) if any(cells)]
        for column in filled:
            justify = "right" if column else "left"
            table.add_column(COLUMNS[column], justify=justify, no_wrap=True)
        for row in found:
            table.add_row(*(escape(row[column]) for column in filled))
        console.print(table)
    for engine, measures, reason in refusals(results):
        console.print(f"{engine}: {measures}: not measured: {reason}", markup=False)
    console.print(" ".join(EXPLAINED.split()))


def tables(results: Results) -> Iterator[tuple[str, list[Cells]]]:
    """A title and a line for each engine, of each measure and pass."""
    for measure in (MEASURES[name] for name in results.told["asked"]):
        for group in sorted({one["group"] for one in results.told["figures"]}):
            found = [
                line(results, measure, one)
                for engine in results.told["engines"]
                for one in results.figures(measure.name, engine)
                if one["group"] == group
            ]
            if found:
                about = limits(results, measure, group)
                yield f"{measure.title}, in {measure.unit} ({about})", found


def limits(results: Results, measure: Measure, group: int) -> str:
    """What the machine could do in the minutes of a pass."""
    read, small, large = (
        (results.limit(measure.name, group, kind) or 0) / 1e9 for kind in ("read", "int8", "float")
    )
    return f"read {read:.0f} GB/s; products: int8 {small:.0f}, float32 {large:.0f} G/s"


def line(results: Results, measure: Measure, figure: Mapping[str, Any]) -> Cells:
    """What one engine gave."""
    engine, seconds = figure["engine"], figure["seconds"]
    times = results.relative(measure.name, engine)
    memory = (middle(figure, kind) for kind in ("peak", "pss", "anonymous"))
    return (
        engine,
        measure.told(middle(figure)),
        measure.told(min(seconds)),
        measure.told(max(seconds)),
        "" if times is None else f"{times:.2f}",
        f"{middle(figure, 'load'):.2f}" if figure["load"] else "",
        *(f"{one / 1e9:.2f}" if one else "" for one in memory),
    )


def refusals(results: Results) -> Iterator[tuple[str, str, str]]:
    """Engine, measures, reason; what was not measured for the same reason together."""
    for engine in results.told["engines"]:
        reasons: dict[str, list[str]] = {}
        for measure in results.told["asked"]:
            if not results.figures(measure, engine):
                reasons.setdefault(results.reason(measure, engine), []).append(measure)
        for reason, measures in reasons.items():
            yield engine, ", ".join(measures), reason


def write(told: Mapping[str, Any], path: Path) -> None:
    """All that was measured."""
    path.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def chart(path: Path) -> Callable[[Mapping[str, Any]], None]:
    """What will draw into this file; found before hours are spent on something to draw."""
    try:
        figure = import_module("matplotlib.figure").Figure
    except ImportError as error:
        raise SystemExit(
            f'--png needs matplotlib ({error}); run pip install "qwen3-vl[bench]", or leave it out'
        ) from None

    def draw(told: Mapping[str, Any]) -> None:
        results = Results(told)
        measures = [MEASURES[name] for name in told["asked"] if results.figures(name, OURS)]
        drawing = figure(figsize=(9, 1 + 1.6 * len(measures)), layout="constrained")
        axes = drawing.subplots(max(1, len(measures)), squeeze=False)[:, 0]
        for axis, measure in zip(axes, measures, strict=False):
            times = {name: results.relative(measure.name, name) for name in told["engines"]}
            known = {name: time for name, time in times.items() if time is not None}
            colours = ["tab:blue" if name == OURS else "tab:gray" for name in known]
            bars = axis.barh(list(known), list(known.values()), color=colours)
            axis.bar_label(bars, fmt="%.2f", padding=2)
            axis.invert_yaxis()
            axis.set_title(f"{measure.title}: time, {OURS} = 1", fontsize=10)
        drawing.savefig(path, dpi=120)

    return draw

"""A picture of an evaluation: what was lost in each task, and how far the distributions moved."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from qwen3_vl.errors import ConfigError, DependencyError
from qwen3_vl.validation.quality.report import Report
from qwen3_vl.validation.quality.statistics import MARGIN, Verdict
from qwen3_vl.validation.quality.summary import Summary

_COLOURS = {Verdict.NON_INFERIOR: "tab:green", Verdict.INFERIOR: "tab:red"}
_UNDECIDED = "tab:orange"
_LEAST_KL = 1e-6
"""Below it the axis is linear, so that 0 has a place."""


def plotter(path: Path) -> Callable[[Report], None]:
    """What will draw into this file; found before hours are spent on something to draw.

    Raises:
        ConfigError: the file would not be a PNG.
        DependencyError: matplotlib is not installed.
    """
    if path.suffix.lower() != ".png":
        raise ConfigError(f"the plot {path} must be a PNG; give it a name that ends in .png")
    try:
        figure = import_module("matplotlib.figure").Figure
    except ImportError as error:
        raise DependencyError(
            f'a plot needs matplotlib ({error}); run pip install "qwen3-vl[bench]", '
            "or leave the plot out"
        ) from error
    return lambda report: _draw(report, figure, path)


def _draw(report: Report, make_figure: Callable[..., Any], path: Path) -> None:
    scored = [one for one in report.summaries if not one.likelihood]
    nats = [one for one in report.summaries if one.likelihood]
    panels = [one for one in (scored, nats) if one]
    heights = [len(one) + 1 for one in panels]
    size = (11, 2 + 0.4 * sum(heights))
    figure = make_figure(figsize=size, layout="constrained")
    figure.suptitle(f"{report.about.wanted.title}\n{report.verdict.value}")
    rows = figure.subplots(len(panels), 2, squeeze=False, height_ratios=heights)
    for (left, right), summaries in zip(rows, panels, strict=True):
        _losses(left, summaries)
        _distances(right, summaries)
    figure.savefig(path, dpi=120)


def _losses(axes: Any, summaries: Sequence[Summary]) -> None:
    likelihood = summaries[0].likelihood
    scale = 1 if likelihood else 100
    for place, one in enumerate(summaries):
        low, high = scale * one.gain_interval.low, scale * one.gain_interval.high
        colour = _COLOURS.get(one.verdict, _UNDECIDED)
        axes.plot((low, high), (place, place), color=colour, linewidth=2)
        axes.plot(scale * one.gain, place, "o", color=colour)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.axvline(-scale * MARGIN, color="black", linewidth=0.8, linestyle=":")
    axes.set_xlabel("gain, nats a token" if likelihood else "gain, percentage points")
    axes.set_yticks(range(len(summaries)), [one.name for one in summaries])
    axes.set_ylim(len(summaries) - 0.5, -0.5)


def _distances(axes: Any, summaries: Sequence[Summary]) -> None:
    for place, one in enumerate(summaries):
        axes.plot((one.mean_kl, one.kl_99), (place, place), color="tab:blue")
        axes.plot(one.mean_kl, place, "o", color="tab:blue")
        axes.plot(one.kl_99, place, "|", color="tab:blue")
    largest = max(_LEAST_KL, *(max(one.mean_kl, one.kl_99) for one in summaries))
    axes.set_xscale("symlog", linthresh=_LEAST_KL)
    axes.set_xlim(0, 10 ** math.ceil(math.log10(largest) + 0.1))
    axes.set_xlabel("KL, nats: mean and 99th percentile")
    axes.set_yticks(range(len(summaries)), [""] * len(summaries))
    axes.set_ylim(len(summaries) - 0.5, -0.5)

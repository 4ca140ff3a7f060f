"""What an evaluation found: for people as tables, for programs as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any

from rich.markup import escape
from rich.table import Table

from qwen3_vl.validation.quality.about import About
from qwen3_vl.validation.quality.evaluate import Record
from qwen3_vl.validation.quality.statistics import Interval, Verdict
from qwen3_vl.validation.quality.summary import Performance, Summary, summarise, whole

FORMAT = 1
"""Of the JSON. It changes when a program that reads it has to."""
_COLOURS = {Verdict.NON_INFERIOR: "green", Verdict.INFERIOR: "red"}


@dataclass(frozen=True)
class Report:
    """An evaluation and what follows from it."""

    about: About
    records: tuple[Record, ...]
    summaries: tuple[Summary, ...]
    verdict: Verdict

    @classmethod
    def of(cls, about: About, records: Sequence[Record]) -> Report:
        """Draw the conclusions."""
        summaries = tuple(summarise(records))
        return cls(about, tuple(records), summaries, whole(summaries))

    @property
    def weights(self) -> float:
        """The bytes of the weights, as a share of those of the model compared with."""
        return self.records[0].model.weights / self.records[0].against.weights

    def to_json(self) -> str:
        """All of it, item by item too."""
        data = {"format": FORMAT} | asdict(self) | {"weights": self.weights}
        return json.dumps(as_json(data), ensure_ascii=False) + "\n"

    def tables(self) -> tuple[Table, Table]:
        """What became of the answers; and how close the models are, at which price."""
        title = escape(self.about.wanted.title)
        answers = Table("task", "items", "against", "recipe", "difference", "verdict", title=title)
        closeness = Table(
            "task", "KL", "KL 99 %", "top-1", "diverged", "at", "time", "peak", "end",
            title="token by token; then time and cache, as a share of the other's",
        )  # fmt: skip
        for table in (answers, closeness):
            for column in table.columns[1:]:
                column.justify = "right"
            table.columns[0].no_wrap = True
        answers.columns[-1].justify = "left"
        for one in self.summaries:
            answers.add_row(*_answers(one))
            closeness.add_row(*_closeness(one))
        return answers, closeness


def _answers(one: Summary) -> tuple[str, ...]:
    colour = _COLOURS.get(one.verdict, "yellow")
    verdict = f"[{colour}]{one.verdict.value}"
    both = (_performance(one.against), _performance(one.model))
    if one.likelihood:
        gain = f"{-one.gain:+.3f}\n{_range(one.gain_interval, -1, '+.3f')}"
    else:
        gain = f"{100 * one.gain:+.1f} pp\n{_range(one.gain_interval, 100, '+.1f')}"
    return escape(one.name), f"{one.items:,}", *both, gain, verdict


def _performance(one: Performance) -> str:
    if one.interval is None:
        return f"{one.mean:.3f}\nnats"
    return f"{100 * one.mean:.1f} %\n{_range(one.interval, 100, '.1f')}"


def _range(interval: Interval, scale: float, form: str) -> str:
    """Both ends, the lower one first also where the sign is turned."""
    low, high = sorted((scale * interval.low, scale * interval.high))
    return f"{low:{form}} … {high:{form}}"


def _closeness(one: Summary) -> tuple[str, ...]:
    return (
        escape(one.name),
        f"{one.mean_kl:.2g}",
        f"{one.kl_99:.2g}",
        f"{one.agreement:.2%}",
        "-" if one.likelihood else f"{one.diverged:.1%}",
        "-" if one.first_divergence is None else f"{one.first_divergence:g}",
        f"{one.time:.2f}",
        f"{one.peak_cache:.2f}",
        f"{one.final_cache:.2f}",
    )


def as_json(value: Any) -> Any:
    """As JSON has it, with six digits of a number that was measured."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, dict):
        return {key: as_json(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_json(one) for one in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value

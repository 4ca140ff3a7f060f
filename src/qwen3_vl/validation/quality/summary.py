"""Records to numbers: what a recipe did to each task, and to all of them."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from qwen3_vl.validation.quality.evaluate import Answered, Record
from qwen3_vl.validation.quality.statistics import (
    FEWEST,
    Interval,
    Verdict,
    bootstrap,
    fewest_answers,
    judge,
    mcnemar,
    percentile,
    wilson,
)

ALL_ANSWERS = "all answers"
ALL_LIKELIHOODS = "all likelihoods"
POWER = 0.5
"""Where the model compared with is right less often than this, there is too little to lose."""


@dataclass(frozen=True)
class Performance:
    """How good a model is at a task."""

    mean: float
    """The share of right answers; judged by likelihood, the nats a token: less is better."""
    interval: Interval | None
    """Of a share of right answers."""


@dataclass(frozen=True)
class Summary:
    """What the items of one task say, or those of several tasks."""

    name: str
    likelihood: bool
    """Whether it is judged by likelihood, and not by right answers."""
    items: int
    model: Performance
    against: Performance
    gain: float
    """How much better the model is than the one compared with; below zero, how much worse."""
    gain_interval: Interval
    p_value: float
    """Of the exact test that neither model is better."""
    verdict: Verdict
    mean_kl: float
    """Over all tokens."""
    kl_99: float
    """The 99th percentile over all tokens."""
    agreement: float
    """The share of all tokens at which both find the same token likeliest."""
    diverged: float
    """The share of greedy answers that differ."""
    first_divergence: float | None
    """The median token at which those that differ do so first; None if all are equal."""
    time: float
    """The median over the items of the model's time, as a share of the other's."""
    peak_cache: float
    """The most that the cache took, as a share of the same of the other model."""
    final_cache: float
    """What the cache took at the end, likewise."""


def summarise(records: Sequence[Record]) -> list[Summary]:
    """A summary for each task, in the order in which they came, then of all tasks of a kind."""
    tasks: dict[str, list[Record]] = {}
    for record in records:
        tasks.setdefault(record.task, []).append(record)
    summaries = [_summary(task, own, len(tasks)) for task, own in tasks.items()]
    for name, likelihood in ((ALL_ANSWERS, False), (ALL_LIKELIHOODS, True)):
        own = [record for record in records if _by_likelihood(record) == likelihood]
        if own:
            summaries.append(_summary(name, own))
    return summaries


def whole(summaries: Sequence[Summary]) -> Verdict:
    """One word for the recipe: a loss in any task is a loss, however well the others went."""
    if any(one.verdict is Verdict.INFERIOR for one in summaries):
        return Verdict.INFERIOR
    pooled = [one.verdict for one in summaries if one.name in (ALL_ANSWERS, ALL_LIKELIHOODS)]
    if Verdict.UNDECIDED in pooled:
        return Verdict.UNDECIDED
    return Verdict.NO_POWER if Verdict.NO_POWER in pooled else Verdict.NON_INFERIOR


def _by_likelihood(record: Record) -> bool:
    return record.kind == "likelihood"


def _summary(name: str, records: Sequence[Record], tests: int = 1) -> Summary:
    likelihood = _by_likelihood(records[0])
    against = _performance([record.against for record in records])
    gains = [record.gain for record in records]
    losses, wins = (sum(sign * gain > 0 for gain in gains) for sign in (-1, 1))
    kl = [one for record in records for one in record.kl]
    agreeing = sum(record.agreement * len(record.kl) for record in records)
    divergences = [r.first_divergence for r in records if r.first_divergence is not None]
    return Summary(
        name=name,
        likelihood=likelihood,
        items=len(records),
        model=_performance([record.model for record in records]),
        against=against,
        gain=statistics.fmean(gains),
        gain_interval=bootstrap(gains),
        p_value=mcnemar(losses, wins),
        verdict=_verdict(gains, likelihood, against, tests),
        mean_kl=statistics.fmean(kl),
        kl_99=percentile(kl, 0.99),
        agreement=agreeing / len(kl),
        diverged=len(divergences) / len(records),
        first_divergence=statistics.median(divergences) if divergences else None,
        time=statistics.median(r.model.seconds / r.against.seconds for r in records),
        peak_cache=max(r.model.peak_cache for r in records)
        / max(r.against.peak_cache for r in records),
        final_cache=sum(r.model.final_cache for r in records)
        / sum(r.against.final_cache for r in records),
    )


def _performance(answers: Sequence[Answered]) -> Performance:
    scores = [one.score for one in answers if one.score is not None]
    if scores:
        return Performance(statistics.fmean(scores), wilson(sum(scores), len(scores)))
    return Performance(statistics.fmean(one.nll for one in answers if one.nll is not None), None)


def _verdict(gains: Sequence[float], likelihood: bool, against: Performance, tests: int) -> Verdict:
    verdict = judge(gains, FEWEST if likelihood else fewest_answers(), tests=tests)
    if verdict is not Verdict.INFERIOR and not likelihood and against.mean < POWER:
        return Verdict.NO_POWER
    return verdict

"""What few or many items can tell: intervals, a paired test, and when nothing was lost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from statistics import NormalDist

import numpy as np

CONFIDENCE = 0.95
MARGIN = 0.01
"""What may be lost and still be called nothing: a hundredth of the items, or of a nat a token."""
FEWEST = 30
"""Measured numbers below which no bootstrap says that nothing was lost."""
_DRAWS = 10_000
_AT_ONCE = 4_000_000
"""Numbers drawn at once: what keeps the memory small."""


class Verdict(Enum):
    """What the items say of a recipe."""

    NON_INFERIOR = "non-inferior"
    INFERIOR = "inferior"
    UNDECIDED = "undecided: too few items"
    NO_POWER = "undecided: the other fails too"


@dataclass(frozen=True)
class Interval:
    """Where the true value lies, as far as the items tell."""

    low: float
    high: float


def wilson(successes: float, count: int, confidence: float = CONFIDENCE) -> Interval:
    """The interval of a share, also near 0 and 1 (Wilson 1927)."""
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share, spread = successes / count, z * z / count
    middle = share + spread / 2
    width = math.sqrt(spread * (share * (1 - share) + spread / 4))
    low, high = ((middle + sign * width) / (1 + spread) for sign in (-1, 1))
    return Interval(max(0.0, low), min(1.0, high))


def mcnemar(lost: int, won: int) -> float:
    """How likely a split at least as uneven is, if neither model is better: exact, two-sided.

    `lost` items only the other model got right, `won` only this one. Of numbers that were measured
    it is the sign test: the items that got worse, and those that got better.
    """
    pairs = lost + won
    tail = sum(math.comb(pairs, k) for k in range(min(lost, won) + 1))
    return min(1.0, 2 * tail / 2**pairs)


def bootstrap(
    differences: Sequence[float], confidence: float = CONFIDENCE, seed: int = 0
) -> Interval:
    """The two-sided interval of the mean difference: percentiles over items drawn anew."""
    data = np.asarray(differences, dtype=np.float64)
    generator = np.random.default_rng(seed)
    rows = max(1, _AT_ONCE // len(data))
    means = [
        data[generator.integers(len(data), size=(min(rows, _DRAWS - done), len(data)))].mean(axis=1)
        for done in range(0, _DRAWS, rows)
    ]
    drawn = np.concatenate(means).tolist()
    tail = (1 - confidence) / 2
    return Interval(percentile(drawn, tail), percentile(drawn, 1 - tail))


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which this share of the values lies; between two of them, in proportion."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def non_inferior(differences: Sequence[float], margin: float = MARGIN, seed: int = 0) -> bool:
    """Whether less than `margin` is lost: by the one-sided bootstrap interval of 95 %.

    A difference is positive where the recipe is better: its score less that of the other model,
    or the other's surprise less its own.
    """
    return _one_sided(differences, seed).low > -margin


def judge(
    differences: Sequence[float], fewest: int, margin: float = MARGIN, tests: int = 1
) -> Verdict:
    """What paired differences say; nothing good of fewer than `fewest` items.

    Where this is one of so many `tests`, chance has as many chances, and is excluded accordingly
    (Bonferroni).
    """
    interval = _one_sided(differences)
    lost, won = (sum(sign * one > 0 for one in differences) for sign in (-1, 1))
    # A bootstrap of a few items cannot see chance; the exact test can.
    if interval.high < -margin and mcnemar(lost, won) < (1 - CONFIDENCE) / tests:
        return Verdict.INFERIOR
    if len(differences) >= fewest and interval.low > -margin:
        return Verdict.NON_INFERIOR
    return Verdict.UNDECIDED


def fewest_answers(margin: float = MARGIN) -> int:
    """How many right or wrong answers it takes to exclude a loss of `margin` that none has shown.

    If so many more were wrong, one would have been among them with 95 %. A bootstrap cannot know:
    what it has not seen it does not draw.
    """
    return math.ceil(math.log(1 - CONFIDENCE) / math.log(1 - margin))


def _one_sided(differences: Sequence[float], seed: int = 0) -> Interval:
    """Both one-sided bounds."""
    return bootstrap(differences, 2 * CONFIDENCE - 1, seed)

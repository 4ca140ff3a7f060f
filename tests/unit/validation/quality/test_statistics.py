"""Against values that are known, or can be counted."""

from __future__ import annotations

import math

import pytest

from qwen3_vl.validation.quality.statistics import (
    FEWEST,
    Verdict,
    bootstrap,
    fewest_answers,
    judge,
    mcnemar,
    non_inferior,
    percentile,
    wilson,
)


@pytest.mark.parametrize(
    ("successes", "count", "low", "high"),
    [  # statsmodels.stats.proportion.proportion_confint(…, method="wilson")
        (81, 263, 0.2553, 0.3662),  # Newcombe 1998, table I
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson(successes: int, count: int, low: float, high: float) -> None:
    interval = wilson(successes, count)
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=5e-5)


def test_wilson_is_symmetric_and_stays_between_0_and_1() -> None:
    all_right, all_wrong = wilson(10, 10), wilson(0, 10)
    assert (all_right.high, all_wrong.low) == (1.0, 0.0)
    assert all_right.low == pytest.approx(1 - all_wrong.high)


@pytest.mark.parametrize(
    ("lost", "won", "p"),
    [
        (0, 0, 1.0),
        (5, 0, 2 / 2**5),
        (0, 5, 2 / 2**5),
        (3, 3, 1.0),
        (1, 9, 2 * (1 + 10) / 2**10),
        (2, 8, 2 * (1 + 10 + 45) / 2**10),
    ],
)
def test_mcnemar(lost: int, won: int, p: float) -> None:
    assert mcnemar(lost, won) == pytest.approx(p)


def test_mcnemar_of_many_items_is_near_the_normal_one() -> None:
    z = (1100 - 900 - 1) / math.sqrt(2000)  # with the correction for continuity
    assert mcnemar(1100, 900) == pytest.approx(math.erfc(z / math.sqrt(2)), rel=0.05)


def test_percentile() -> None:
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2
    assert percentile([1.0, 2.0, 3.0, 4.0], 0.5) == 2.5
    assert percentile([float(one) for one in range(101)], 0.99) == 99
    assert percentile([7.0], 0.99) == 7
    assert percentile([1.0, 2.0], 1.0) == 2


def test_bootstrap_of_many_items_is_the_normal_interval() -> None:
    differences = [-1.0] * 60 + [0.0] * 900 + [1.0] * 40
    spread = math.sqrt((100 - 1000 * 0.02**2) / 1000) / math.sqrt(1000)
    interval = bootstrap(differences)
    assert interval.low == pytest.approx(-0.02 - 1.96 * spread, abs=0.001)
    assert interval.high == pytest.approx(-0.02 + 1.96 * spread, abs=0.001)
    assert bootstrap(differences) == interval
    uneven = [math.sin(one) for one in range(50)]
    assert bootstrap(uneven, seed=1) != bootstrap(uneven, seed=2)


def test_bootstrap_draws_as_often_when_it_draws_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    differences = [0.1 * one for one in range(7)]
    whole = bootstrap(differences)
    monkeypatch.setattr("qwen3_vl.validation.quality.statistics._AT_ONCE", 7 * 999)
    assert bootstrap(differences) == whole


def test_non_inferior_asks_for_a_one_sided_bound_above_the_margin() -> None:
    assert non_inferior([0.0] * 10)
    assert not non_inferior([-1.0] * 30 + [0.0] * 970)  # 3 % are lost
    # Of 1000 items 4 lost: the bound is about −0.4 − 1.645 · 0.2 = −0.73 %.
    few_lost = [-1.0] * 4 + [0.0] * 996
    assert non_inferior(few_lost)
    assert not non_inferior(few_lost, margin=0.005)


def test_fewest_answers_is_the_rule_of_three() -> None:
    assert fewest_answers() == 299
    assert (1 - 0.01) ** 299 < 0.05 < (1 - 0.01) ** 298


@pytest.mark.parametrize(
    ("differences", "verdict"),
    [
        ([0.0] * 298, Verdict.UNDECIDED),
        ([0.0] * 299, Verdict.NON_INFERIOR),
        ([-1.0] * 5, Verdict.UNDECIDED),  # 5 of 5 lost could be chance: p is 1 / 16
        ([-1.0] * 6, Verdict.INFERIOR),
        ([-1.0] * 12 + [0.0] * 988, Verdict.UNDECIDED),
        ([-1.0] * 40 + [0.0] * 960, Verdict.INFERIOR),
        ([1.0] * 40 + [0.0] * 960, Verdict.NON_INFERIOR),
    ],
)
def test_verdicts(differences: list[float], verdict: Verdict) -> None:
    assert judge(differences, fewest_answers()) is verdict


def test_one_of_many_tests_must_exclude_more_chances() -> None:
    assert judge([-1.0] * 6, 299, tests=2) is Verdict.UNDECIDED  # p is 1 / 32
    assert judge([-1.0] * 7, 299, tests=2) is Verdict.INFERIOR


def test_verdicts_of_likelihoods() -> None:
    small = [0.002 * (-1) ** one for one in range(FEWEST)]
    assert judge(small, FEWEST) is Verdict.NON_INFERIOR
    assert judge(small[1:], FEWEST) is Verdict.UNDECIDED
    assert judge([one - 0.05 for one in small], FEWEST) is Verdict.INFERIOR

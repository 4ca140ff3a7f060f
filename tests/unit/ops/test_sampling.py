"""Penalties, filters and the draw: the same choices as transformers, whatever the logits."""

from __future__ import annotations

import math

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from qwen3_vl.ops.sampling import Filters, draw, narrow, penalise, token_at

NEVER = float("-inf")

seeds = st.integers(0, 999)
sizes = st.integers(2, 40)


def random_logits(size: int, seed: int):
    return torch.randn(size, generator=torch.Generator().manual_seed(seed)) * 3


def by_transformers(logits, *processors, ids=()):
    scores, ids = logits.unsqueeze(0), torch.tensor([ids], dtype=torch.long)
    for processor in processors:
        scores = processor(ids, scores)
    return scores[0]


def narrowed(logits, **filters):
    """All logits, minus infinity where a token must not be drawn."""
    left = narrow(logits, Filters(**filters))
    if left.tokens is None:
        return left.logits
    return torch.full_like(logits, NEVER).index_copy(0, left.tokens, left.logits)


def check_same_odds(actual, expected):
    assert torch.equal(actual > NEVER, expected > NEVER)
    torch.testing.assert_close(actual.log_softmax(0), expected.log_softmax(0), rtol=1e-5, atol=2e-5)


@given(seed=seeds, size=sizes, temperature=st.floats(0.05, 5))
@settings(deadline=None)
def test_temperature(seed, size, temperature):
    logits = random_logits(size, seed)
    expected = by_transformers(logits, transformers.TemperatureLogitsWarper(temperature))
    check_same_odds(narrowed(logits, temperature=temperature), expected)


@given(seed=seeds, size=sizes, top_k=st.integers(1, 60))
@settings(deadline=None)
def test_top_k(seed, size, top_k):
    logits = random_logits(size, seed).round()  # so that there are ties
    expected = by_transformers(logits, transformers.TopKLogitsWarper(top_k))
    assert torch.equal(narrowed(logits, top_k=top_k), expected)


@given(seed=seeds, size=sizes, top_p=st.floats(0.01, 0.99))
@settings(deadline=None)
def test_top_p(seed, size, top_p):
    logits = random_logits(size, seed)
    expected = by_transformers(logits, transformers.TopPLogitsWarper(top_p))
    assert torch.equal(narrowed(logits, top_p=top_p), expected)


@given(seed=seeds, size=sizes, min_p=st.floats(0.001, 1))
@settings(deadline=None)
def test_min_p(seed, size, min_p):
    logits = random_logits(size, seed)
    expected = by_transformers(logits, transformers.MinPLogitsWarper(min_p))
    assert torch.equal(narrowed(logits, min_p=min_p), expected)


@given(seed=seeds, temperature=st.floats(0.3, 3), top_k=st.integers(1, 30), top_p=st.floats(0.1, 1))
@settings(deadline=None)
def test_all_filters_one_after_the_other(seed, temperature, top_k, top_p):
    logits = random_logits(30, seed)
    expected = by_transformers(
        logits,
        transformers.TemperatureLogitsWarper(temperature),
        transformers.TopKLogitsWarper(top_k),
        transformers.TopPLogitsWarper(top_p),
        transformers.MinPLogitsWarper(0.05),
    )
    actual = narrowed(logits, temperature=temperature, top_k=top_k, top_p=top_p, min_p=0.05)
    check_same_odds(actual, expected)


@given(
    seed=seeds,
    repetition=st.floats(0.5, 3),
    prompt=st.lists(st.integers(0, 9), max_size=6),
    answer=st.lists(st.integers(0, 9), max_size=6),
)
@settings(deadline=None)
def test_repetition(seed, repetition, prompt, answer):
    logits = random_logits(10, seed)
    expected = by_transformers(
        logits,
        transformers.RepetitionPenaltyLogitsProcessor(repetition),
        ids=prompt + answer,
    )
    actual = penalise(
        logits,
        torch.tensor(prompt, dtype=torch.long),
        answer,
        repetition=repetition,
    )
    torch.testing.assert_close(actual, expected)


def test_presence_and_frequency_count_the_answer_only():
    prompt = torch.tensor([0, 1])
    actual = penalise(torch.zeros(4), prompt, [1, 2, 2], presence=0.5, frequency=0.25)
    torch.testing.assert_close(actual, torch.tensor([0, -0.75, -1.0, 0]))


def test_neutral_settings_change_nothing_and_no_input_is_written():
    logits = random_logits(20, seed=1)
    before, some = logits.clone(), torch.tensor([1, 2])
    assert torch.equal(penalise(logits, some, [1, 2]), before)
    assert torch.equal(narrowed(logits), before)
    penalise(logits, some, [1, 2], repetition=2.0, presence=1.0)
    narrowed(logits, temperature=0.5, top_k=3, top_p=0.5, min_p=0.5)
    assert torch.equal(logits, before)


@given(seed=seeds, top_p=st.floats(1e-9, 1e-3))
@settings(deadline=None)
def test_the_likeliest_token_always_stays(seed, top_p):
    logits = random_logits(12, seed)
    kept = narrowed(logits, top_p=top_p, min_p=1.0) > NEVER
    assert kept.nonzero().flatten().tolist() == [int(logits.argmax())]


@pytest.mark.parametrize("temperature", [5e-324, 1e-45, 1e-38, 1e-30])
@pytest.mark.parametrize("top_k", [0, 3])
def test_the_smallest_temperature_leaves_the_best_token(temperature, top_k):
    logits = random_logits(12, seed=4)
    odds = narrowed(logits, temperature=temperature, top_k=top_k, top_p=0.9).softmax(dim=0)
    assert odds[logits.argmax()] == 1.0


def test_the_other_filters_look_at_what_top_k_left():
    logits = random_logits(100_000, seed=4)
    left = narrow(logits, Filters(temperature=0.7, top_k=7, top_p=0.9, min_p=0.01))
    assert left.tokens is not None
    assert left.tokens.tolist() == logits.topk(len(left.tokens)).indices.tolist()
    assert 1 < len(left.tokens) <= 7


@pytest.mark.parametrize(("spread", "top_p"), [(20.0, 0.5), (3.0, 0.3), (3.0, 0.95), (0.1, 0.9)])
def test_top_p_of_a_long_vocabulary_looks_at_as_many_as_it_needs(spread, top_p):
    """Sums of many small odds differ in the last bits: so may the last few of thousands."""
    logits = spread * random_logits(20_000, seed=5)
    expected = by_transformers(logits, transformers.TopPLogitsWarper(top_p)) > NEVER
    left = narrow(logits, Filters(top_p=top_p))
    assert left.tokens is not None
    assert abs(len(left.tokens) - int(expected.sum())) <= 1e-4 * len(left.tokens)
    assert torch.equal(left.logits, logits.sort(descending=True).values[: len(left.tokens)])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("filters", [Filters(), Filters(top_k=4, top_p=0.999, min_p=0.01)])
def test_draws_follow_the_odds(dtype, filters):
    """Of points that lie evenly each word gets its share, but for one at either end."""
    odds, points = torch.tensor([0.0, 0.1, 0.2, 0.7, 0.0], dtype=dtype), 1000
    drawn = [draw(odds.log(), filters, (i + 0.5) / points) for i in range(points)]
    found = torch.bincount(torch.tensor(drawn), minlength=len(odds))
    assert ((found - odds * points).abs() <= 1).all()


@pytest.mark.usefixtures("variant")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("point", [2**-53, 1.0])
def test_the_ends_of_a_draw_fall_to_what_may_be_drawn(point, dtype):
    logits = torch.tensor([0.0, 0.5, 0.5, 0.0], dtype=dtype).log()
    expected = 2 if point == 1 else 1
    for filters in (Filters(), Filters(top_k=2), Filters(top_p=0.9), Filters(min_p=0.5)):
        assert draw(logits, filters, point) == expected


FILTERS = [
    Filters(),
    Filters(temperature=0.3),
    Filters(top_k=1),
    Filters(top_k=20, temperature=0.7, top_p=0.8),
    Filters(top_k=3000, temperature=1.3),
    Filters(top_k=10**9, min_p=0.02),
    Filters(top_p=0.6),
    Filters(temperature=2.0, top_p=0.9),
    Filters(top_p=1e-9),
    Filters(min_p=0.1),
    Filters(temperature=0.5, top_p=0.95, min_p=0.05),
]
"""Which of a draw's ways each takes: all words, the first few, those of a share, all but some."""


@pytest.mark.usefixtures("variant")
@pytest.mark.parametrize("filters", FILTERS, ids=str)
@pytest.mark.parametrize(("size", "spread"), [(1, 1.0), (70, 2.0), (5003, 2.0), (40_000, 3.0)])
def test_kernels_draw_what_the_meaning_in_float64_says(size, spread, filters):
    """Up to the rounding of odds, which moves where one word ends and the next begins.

    A distance of x bits to the likeliest is rounded by x · 3 · 2⁻²⁴ at most (subtraction, factor,
    product), its power by 2 · 10⁻⁷, so a share p by p · (x · ln 2 · 3 · 2⁻²⁴ + 2 · 10⁻⁷); what ends
    after all of them by the sum, twice for the total. No border of a filter is that near.
    """
    logits = spread * random_logits(size, seed=size)
    left = narrow(logits.double(), filters)
    odds = left.logits.softmax(0)
    away = (odds.max() / odds).log2()
    slack = 2 * float((odds * (away * math.log(2) * 3 * 2**-24 + 2e-7)).sum())
    for step in range(64):
        point = (step + 0.5) / 64
        near = {token_at(left, point + by) for by in (-slack, 0, slack)}
        assert draw(logits, filters, point) in near


@pytest.mark.usefixtures("variant")
def test_equal_words_stay_together_when_the_first_are_kept():
    logits = torch.zeros(10_000).index_fill(0, torch.arange(0, 10_000, 100), 5.0)
    drawn = {draw(logits, Filters(top_k=2), (i + 0.5) / 100) for i in range(100)}
    assert drawn == set(range(0, 10_000, 100))


@pytest.mark.usefixtures("variant")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("odd", [float("nan"), float("inf")])
def test_what_is_no_finite_number_is_the_likeliest(odd, dtype):
    logits = random_logits(5000, seed=2).to(dtype).index_fill(0, torch.tensor([4321]), odd)
    for filters in (Filters(), Filters(top_k=5), Filters(top_p=0.5)):
        assert draw(logits, filters, 0.5) == 4321
    nothing = torch.full((5000,), NEVER, dtype=dtype)
    assert draw(nothing, Filters(top_k=5), 0.5) == 0

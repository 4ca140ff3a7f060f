"""Penalties, filters and the draw: the same choices as transformers, whatever the logits."""

from __future__ import annotations

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from qwen3_vl.ops.sampling import Candidates, draw, narrow, penalise

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
    left = narrow(logits, **filters)
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
        torch.tensor(answer, dtype=torch.long),
        repetition=repetition,
    )
    torch.testing.assert_close(actual, expected)


def test_presence_and_frequency_count_the_answer_only():
    prompt, answer = torch.tensor([0, 1]), torch.tensor([1, 2, 2])
    actual = penalise(torch.zeros(4), prompt, answer, presence=0.5, frequency=0.25)
    torch.testing.assert_close(actual, torch.tensor([0, -0.75, -1.0, 0]))


def test_neutral_settings_change_nothing_and_no_input_is_written():
    logits = random_logits(20, seed=1)
    before, some = logits.clone(), torch.tensor([1, 2])
    assert torch.equal(penalise(logits, some, some), before)
    assert torch.equal(narrowed(logits), before)
    penalise(logits, some, some, repetition=2.0, presence=1.0)
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
    left = narrow(logits, temperature=0.7, top_k=7, top_p=0.9, min_p=0.01)
    assert left.tokens is not None
    assert left.tokens.tolist() == logits.topk(len(left.tokens)).indices.tolist()
    assert 1 < len(left.tokens) <= 7


@pytest.mark.parametrize(("spread", "top_p"), [(20.0, 0.5), (3.0, 0.3), (3.0, 0.95), (0.1, 0.9)])
def test_top_p_of_a_long_vocabulary_looks_at_as_many_as_it_needs(spread, top_p):
    """Sums of many small odds differ in the last bits: so may the last few of thousands."""
    logits = spread * random_logits(20_000, seed=5)
    expected = by_transformers(logits, transformers.TopPLogitsWarper(top_p)) > NEVER
    left = narrow(logits, top_p=top_p)
    assert left.tokens is not None
    assert abs(len(left.tokens) - int(expected.sum())) <= 1e-4 * len(left.tokens)
    assert torch.equal(left.logits, logits.sort(descending=True).values[: len(left.tokens)])


def frequencies(candidates: Candidates, size: int, times: int = 4000):
    generator = torch.Generator().manual_seed(0)
    drawn = torch.stack([draw(candidates, generator) for _ in range(times)])
    return torch.bincount(drawn, minlength=size) / times


@pytest.mark.parametrize("tokens", [None, [5, 0, 2, 7, 3]])
def test_draws_follow_the_odds(tokens):
    odds = torch.tensor([0.0, 0.1, 0.2, 0.7, 0.0])
    ids = None if tokens is None else torch.tensor(tokens)
    found = frequencies(Candidates(odds.log(), ids), size=8)[:8]
    expected = torch.zeros(8).index_copy(0, torch.arange(5) if ids is None else ids, odds)
    deviation = (expected * (1 - expected) / 4000).sqrt()
    assert ((found - expected).abs() <= 4 * deviation).all()


@pytest.mark.parametrize("drawn", [0.0, 1 - 2**-53])
def test_the_ends_of_a_draw_fall_to_what_may_be_drawn(drawn, monkeypatch):
    monkeypatch.setattr(torch, "rand", lambda *_, **__: torch.tensor([drawn], dtype=torch.float64))
    candidates = Candidates(torch.tensor([0.0, 0.5, 0.5, 0.0]).log())
    assert int(draw(candidates, torch.Generator())) == (2 if drawn == 0 else 1)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_draw_follows_from_the_seed(seed):
    candidates = narrow(random_logits(50, seed=9), top_k=20)
    first, second = (draw(candidates, torch.Generator().manual_seed(seed)) for _ in range(2))
    assert first == second

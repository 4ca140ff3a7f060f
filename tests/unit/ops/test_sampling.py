"""Penalties, filters and the draw: the same choices as transformers, whatever the logits."""

from __future__ import annotations

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from qwen3_vl.ops.sampling import draw, narrow, penalise

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


def check_same_odds(actual, expected):
    assert torch.equal(actual > NEVER, expected > NEVER)
    torch.testing.assert_close(actual.log_softmax(0), expected.log_softmax(0), rtol=1e-5, atol=2e-5)


@given(seed=seeds, size=sizes, temperature=st.floats(0.05, 5))
@settings(deadline=None)
def test_temperature(seed, size, temperature):
    logits = random_logits(size, seed)
    expected = by_transformers(logits, transformers.TemperatureLogitsWarper(temperature))
    check_same_odds(narrow(logits, temperature=temperature), expected)


@given(seed=seeds, size=sizes, top_k=st.integers(1, 60))
@settings(deadline=None)
def test_top_k(seed, size, top_k):
    logits = random_logits(size, seed).round()  # so that there are ties
    expected = by_transformers(logits, transformers.TopKLogitsWarper(top_k))
    assert torch.equal(narrow(logits, top_k=top_k), expected)


@given(seed=seeds, size=sizes, top_p=st.floats(0.01, 0.99))
@settings(deadline=None)
def test_top_p(seed, size, top_p):
    logits = random_logits(size, seed)
    expected = by_transformers(logits, transformers.TopPLogitsWarper(top_p))
    assert torch.equal(narrow(logits, top_p=top_p), expected)


@given(seed=seeds, size=sizes, min_p=st.floats(0.001, 1))
@settings(deadline=None)
def test_min_p(seed, size, min_p):
    logits = random_logits(size, seed)
    expected = by_transformers(logits, transformers.MinPLogitsWarper(min_p))
    assert torch.equal(narrow(logits, min_p=min_p), expected)


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
    actual = narrow(logits, temperature=temperature, top_k=top_k, top_p=top_p, min_p=0.05)
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
    assert torch.equal(narrow(logits), before)
    penalise(logits, some, some, repetition=2.0, presence=1.0)
    narrow(logits, temperature=0.5, top_k=3, top_p=0.5, min_p=0.5)
    assert torch.equal(logits, before)


@given(seed=seeds, top_p=st.floats(1e-9, 1e-3))
@settings(deadline=None)
def test_the_likeliest_token_always_stays(seed, top_p):
    logits = random_logits(12, seed)
    kept = narrow(logits, top_p=top_p, min_p=1.0) > NEVER
    assert kept.nonzero().flatten().tolist() == [int(logits.argmax())]


@pytest.mark.parametrize("temperature", [5e-324, 1e-45, 1e-38, 1e-30])
@pytest.mark.parametrize("top_k", [0, 3])
def test_the_smallest_temperature_leaves_the_best_token(temperature, top_k):
    logits = random_logits(12, seed=4)
    odds = narrow(logits, temperature=temperature, top_k=top_k, top_p=0.9).softmax(dim=0)
    assert odds[logits.argmax()] == 1.0


def test_the_other_filters_work_on_what_top_k_left(monkeypatch):
    sizes, sort = [], torch.Tensor.sort
    monkeypatch.setattr(torch.Tensor, "sort", lambda x: sizes.append(len(x)) or sort(x))
    narrow(random_logits(1000, seed=4), top_k=7, top_p=0.9)
    assert sizes == [7]


def test_draws_follow_the_odds():
    logits = torch.tensor([0.1, 0.2, 0.7, 0.0]).log()
    generator = torch.Generator().manual_seed(0)
    count, times = torch.zeros(4), 4000
    for _ in range(times):
        count[draw(logits, generator)] += 1
    assert count[3] == 0
    deviation = (logits.exp() * (1 - logits.exp()) / times).sqrt()
    assert ((count / times - logits.exp()).abs() <= 4 * deviation).all()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_draw_follows_from_the_seed(seed):
    logits = random_logits(50, seed=9)
    first, second = (draw(logits, torch.Generator().manual_seed(seed)) for _ in range(2))
    assert first == second

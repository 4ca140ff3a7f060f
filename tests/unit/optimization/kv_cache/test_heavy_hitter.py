"""heavy_hitter: sinks, recent tokens, and those that the latest queries looked at most."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from qwen3_vl.errors import ConfigError
from qwen3_vl.models.cache import DenseCache
from qwen3_vl.models.generation import EVICT_EVERY
from qwen3_vl.optimization.kv_cache.heavy_hitter import HeavyHitter
from qwen3_vl.optimization.kv_cache.sliding_window import SlidingWindow
from qwen3_vl.seams import PLAIN, Retain, Seams
from qwen3_vl.testing import Bench, tolerance
from tests.support.bounds import check_logits
from tests.unit.optimization.kv_cache.test_sliding_window import (
    DIM,
    HEADS,
    KV_HEADS,
    TEXT,
    Masked,
    Rule,
    Watch,
    changes,
    feed,
    loaded,
    logits_in_passes,
    random,
    tagged,
)


def small(folder: Path) -> dict[str, Any]:  # noqa: ARG001
    """Settings with which it has something to do on short prompts."""
    return {"keep": 16, "recent": 6, "observed": 4}


def worth(q: Tensor, k: Tensor, held: list[int], head: int, observed: int) -> dict[int, float]:
    """The attention that each held token gets from the latest queries, one after the other."""
    group = q.shape[1] // k.shape[1]
    total = dict.fromkeys(held, 0.0)
    for place in range(len(q) - observed, len(q)):
        seen = [token for token in held if token <= place]
        for query in q[place, head * group : (head + 1) * group].double():
            scores = k[seen, head].double() @ query * query.numel() ** -0.5
            for token, share in zip(seen, scores.softmax(dim=0).tolist(), strict=True):
                total[token] += share
    return total


def rule_of(technique: HeavyHitter) -> Rule:
    """What the technique says of itself, token by token."""

    def stay(q: Tensor, k: Tensor, held: Tensor) -> Tensor:
        stays = held.clone()
        for head, row in enumerate(held):
            own = row.nonzero().flatten().tolist()
            middle = own[technique.sinks : len(own) - technique.recent]
            places = technique.keep - technique.sinks - technique.recent
            value = worth(q, k, own, head, technique.observed)
            stays[head, sorted(middle, key=value.__getitem__)[: max(0, len(middle) - places)]] = 0
        return stays

    return stay


@pytest.mark.parametrize("prompt", [2, 3, 5], ids=["text", "two pictures", "one picture"])
@pytest.mark.parametrize(
    "technique",
    [HeavyHitter(16, 4, 6, 4), HeavyHitter(12, 0, 1, 1), HeavyHitter(30, 2, 20, 20)],
    ids=str,
)
def test_the_logits_are_those_of_dense_attention_with_a_mask(
    bench: Bench, technique: HeavyHitter, prompt: int
) -> None:
    masked = Masked(rule_of(technique))
    dense = loaded(bench, mixer=masked)
    expected = logits_in_passes(dense, bench.prompts[prompt], evict=masked.evict)
    actual = logits_in_passes(loaded(bench, retain=[technique]), bench.prompts[prompt])
    check_logits(actual, expected, bench.config)


@settings(deadline=None, max_examples=40)
@given(
    passes=st.lists(st.integers(1, 12), min_size=1, max_size=7),
    sinks=st.integers(0, 3),
    recent=st.integers(1, 6),
    asked=st.integers(1, 6),
    heavy=st.integers(1, 5),
)
def test_every_head_holds_what_the_rule_names_after_every_eviction(
    passes, sinks, recent, asked, heavy
) -> None:
    observed = min(asked, recent)
    technique = HeavyHitter(sinks + recent + heavy, sinks, recent, observed)
    watch = Watch()
    cache = DenseCache(TEXT, 1, Seams(mixer=watch, retain=(technique,)))
    queries, keys, _ = random(sum(passes) + 1)
    before = [list[int]() for _ in range(KV_HEADS)]
    count = 0
    for size in (*passes, 1):
        new = slice(count, count + size)
        feed(cache, queries[new], keys[new], tagged(count, size))
        for head, old in enumerate(before):
            held = watch.v[:, head, 0].int().tolist()
            assert held[len(held) - size :] == list(range(count, count + size))
            kept = held[: len(held) - size]
            check_kept(kept, old, technique, queries[:count], keys, head)
            before[head] = held
        cache.evict()
        count += size


def check_kept(
    kept: list[int], old: list[int], technique: HeavyHitter, q: Tensor, k: Tensor, head: int
) -> None:
    """Of the tokens `old` those that had to stay did."""
    assert len(kept) == min(len(old), technique.keep)
    assert kept == [token for token in old if token in set(kept)], "the order has changed"
    if kept == old:
        return
    assert set(old[: technique.sinks] + old[len(old) - technique.recent :]) <= set(kept)
    value = worth(q, k, old, head, technique.observed)
    middle = old[technique.sinks : len(old) - technique.recent]
    chosen = min(value[token] for token in middle if token in kept)
    dropped = max(value[token] for token in middle if token not in kept)
    # Two of nearly the same worth may change places: a score is a sum in float32, whose error
    # moves a share by as much.
    largest_score = q.norm(dim=-1).max() * k.norm(dim=-1).max() * DIM**-0.5
    magnitude = dropped * (1 + 2 * largest_score)
    assert chosen >= dropped - float(tolerance(magnitude, DIM + len(old), torch.float32))


def test_a_place_for_every_token_changes_no_bit_and_one_less_does(bench: Bench) -> None:
    prompt = bench.prompts[3]
    before_last = prompt.input_ids.numel() + 5 + 1
    expected = logits_in_passes(bench.load(), prompt, (5, 1, 3))
    enough = bench.load(HeavyHitter(before_last, 4, 6, 4))
    assert torch.equal(logits_in_passes(enough, prompt, (5, 1, 3)), expected)
    short = bench.load(HeavyHitter(before_last - 1, 4, 6, 4))
    changed = (logits_in_passes(short, prompt, (5, 1, 3)) != expected).any(dim=1)
    assert not changed[:6].any()
    assert changed[6:].all()


def test_the_more_is_kept_the_nearer_the_plain_model(bench: Bench) -> None:
    errors = changes(bench, *(HeavyHitter(keep, 0, 2, 2) for keep in (3, 12, 36, 200)))
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 0.5, "an answer without a past should be another one"
    assert errors[-1] == 0


def test_answers_change_where_little_is_kept(bench: Bench) -> None:
    little = bench.load(HeavyHitter(3, 0, 2, 2))
    assert bench.tokens(little, count=8) != bench.tokens(bench.load(), count=8)


def test_a_token_that_only_a_later_query_wants_is_lost() -> None:
    """As its docstring warns: the first question decides what is left for the second."""
    q, k, v = random(61)
    first, second = torch.eye(DIM)[:2] * 8
    k[20], k[30], v[20], v[30] = first, second, 100.0, 200.0
    q[40:60], q[60] = first, second
    lost, exact = (
        DenseCache(TEXT, 1, seams) for seams in (Seams(retain=(HeavyHitter(20, 2, 8, 8),)), PLAIN)
    )
    out = []
    for cache in (lost, exact):
        feed(cache, q[:59], k[:59], v[:59])
        cache.evict()
        out += [feed(cache, q[59:60], k[59:60], v[59:60]), feed(cache, q[60:], k[60:], v[60:])]
    first_kept, second_lost, first_exact, second_exact = out
    assert (first_exact > 90).all()
    assert (first_kept > 90).all()
    assert (second_exact > 190).all()
    assert (second_lost < 110).all()


def peaked() -> tuple[Tensor, Tensor, int]:
    """Queries that all look for the same few keys of each head, and where they begin to do so."""
    tokens, heavy, first = 200, 10, 160
    generator = torch.Generator().manual_seed(3)
    q, k, _ = random(tokens)
    for head in range(KV_HEADS):
        wanted = torch.randn(DIM, generator=generator)
        wanted *= 4 / wanted.norm()
        places = torch.randperm(first - 20, generator=generator)[:heavy]
        k[places, head] += wanted
        group = HEADS // KV_HEADS
        q[first:, head * group : (head + 1) * group] += wanted.view(1, 1, -1)
    return q, k, first


def held_after(retain: Retain, q: Tensor, k: Tensor, count: int) -> Tensor:
    """The tokens [held, kv_heads] that are left of so many, with the next one behind them."""
    watch = Watch()
    cache = DenseCache(TEXT, 1, Seams(mixer=watch, retain=(retain,)))
    feed(cache, q[:count], k[:count], tagged(0, count))
    cache.evict()
    feed(cache, q[count : count + 1], k[count : count + 1], tagged(count, 1))
    return watch.v[:, :, 0].long()


def mass(q: Tensor, k: Tensor, held: Tensor, count: int) -> float:
    """The share of the attention of later queries that falls on held ones of `count` tokens."""
    k = k[:count].repeat_interleave(HEADS // KV_HEADS, dim=1)
    shares = torch.einsum("qhd,khd->hqk", q, k).mul(DIM**-0.5).softmax(dim=-1)
    held = held.repeat_interleave(HEADS // KV_HEADS, dim=1)
    return float(
        torch.stack([shares[h][:, held[:, h]].sum(-1).mean() for h in range(HEADS)]).mean()
    )


class Random:
    """The null: sinks and recent tokens, and of the others any."""

    observed = 0

    def __init__(self, like: HeavyHitter, seed: int) -> None:
        self._like = like
        self._generator = torch.Generator().manual_seed(seed)
        self.kept = like.kept

    def score(self, k: Tensor, v: Tensor, queries: Tensor) -> Tensor:  # noqa: ARG002
        value = torch.rand(k.shape[1], len(k), generator=self._generator)
        value[:, : self._like.sinks] = value[:, len(k) - self._like.recent :] = float("inf")
        return value


def test_it_keeps_more_attention_than_chance_or_age_at_the_same_budget() -> None:
    q, k, first = peaked()
    count = first + 20
    technique = HeavyHitter(keep=40, sinks=4, recent=20, observed=16)

    def kept(retain: Retain) -> float:
        held = held_after(retain, q, k, count)
        assert len(held) == technique.keep + 1
        return mass(q[count:], k, held[:-1], count)

    chosen = kept(technique)
    chance = [kept(Random(technique, seed)) for seed in range(20)]
    assert chosen > 0.7
    assert max(chance) < chosen - 0.2
    assert kept(SlidingWindow(window=36, sinks=4)) < chosen - 0.2


def test_the_loop_evicts_after_the_prompt_and_then_now_and_then(bench: Bench) -> None:
    watch, prompt = Watch(), bench.prompts[4]
    model = loaded(bench, mixer=watch, retain=[HeavyHitter(16, 4, 6, 4)])
    model.generate(**vars(prompt), max_new_tokens=2 * EVICT_EVERY + 3, do_sample=False)
    held = watch.counts[:: TEXT.num_hidden_layers]
    assert held[0] == prompt.input_ids.numel()
    assert held[1 : EVICT_EVERY + 1] == list(range(16 + 1, 16 + EVICT_EVERY + 1))
    assert held[EVICT_EVERY + 1 :] == [*held[1 : EVICT_EVERY + 1], 16 + 1, 16 + 2]


def test_memory_stops_growing() -> None:
    technique = HeavyHitter(keep=64, sinks=4, recent=8, observed=8)
    cache = DenseCache(TEXT, 1, Seams(retain=(technique,)))
    sizes: list[int] = []
    for step in range(20 * EVICT_EVERY):
        feed(cache, *random(1, seed=step))
        if step % EVICT_EVERY == 0:
            cache.evict()
        sizes.append(cache.nbytes)
    assert max(sizes[len(sizes) // 2 :]) == max(sizes[: len(sizes) // 2])
    # Room doubles when it is full.
    assert max(sizes) <= 2 * (64 + EVICT_EVERY) * 2 * KV_HEADS * DIM * 4


@pytest.mark.parametrize(
    ("settings", "cause"),
    [
        ({"observed": 0}, "observed must be 1"),
        ({"observed": 129}, "observed must be 1"),
        ({"sinks": -1}, "sinks at least 0"),
        ({"keep": 132}, r"keep \(132\) must be more than sinks and recent together \(132\)"),
    ],
    ids=str,
)
def test_settings_that_leave_no_place_are_refused(settings: dict[str, int], cause: str) -> None:
    with pytest.raises(ConfigError, match=cause):
        HeavyHitter(**settings)

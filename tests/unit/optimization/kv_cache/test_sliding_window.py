"""sliding_window: the first tokens and the latest ones are held, and nothing else is seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from qwen3_vl.errors import ConfigError
from qwen3_vl.models.cache import DenseCache
from qwen3_vl.models.generation import EVICT_EVERY
from qwen3_vl.models.qwen3_vl import Qwen3VLForConditionalGeneration
from qwen3_vl.ops.attention import attention
from qwen3_vl.optimization.kv_cache.sliding_window import SlidingWindow
from qwen3_vl.plan import Optimization
from qwen3_vl.seams import PLAIN, Mixer, Retain, Seams
from qwen3_vl.testing import Bench, Prompt, tiny_config
from tests.support.bounds import check_logits

TEXT = tiny_config().text_config
HEADS, KV_HEADS, DIM = 4, 2, 8

Rule = Callable[[Tensor, Tensor, Tensor], Tensor]
"""All queries and keys there ever were, and which are held [kv_heads, tokens]: which stay."""


def small(folder: Path) -> dict[str, Any]:  # noqa: ARG001
    """Settings with which it has something to do on short prompts."""
    return {"window": 12}


class Watch:
    """Plain attention that notes the keys and values it is given, and how many at each call."""

    def __init__(self) -> None:
        self.k = self.v = torch.empty(0)
        self.counts: list[int] = []

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, *, causal: bool) -> Tensor:
        if causal:
            self.k, self.v = k.clone(), v.clone()
            self.counts.append(len(k))
        return attention(q, k, v, causal=causal)


class Masked:
    """Dense attention over all tokens there ever were, where a mask hides those that must go."""

    def __init__(self, rule: Rule) -> None:
        self._rule = rule
        self._layers = TEXT.num_hidden_layers
        self._calls = 0
        self._queries = [torch.empty(0)] * self._layers
        self._keys = [torch.empty(0)] * self._layers
        self._held = [torch.empty(TEXT.num_key_value_heads, 0, dtype=torch.bool)] * self._layers

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, *, causal: bool) -> Tensor:
        if not causal:
            return attention(q, k, v, causal=False)
        layer = self._calls % self._layers
        self._calls += 1
        self._queries[layer] = torch.cat((self._queries[layer].view(-1, *q.shape[1:]), q))
        self._keys[layer] = k.clone()
        held = self._held[layer] = F.pad(self._held[layer], (0, len(q)), value=True)
        order = torch.ones(len(q), len(k), dtype=torch.bool).tril(len(k) - len(q))
        group = q.shape[1] // k.shape[1]
        mask = (held.unsqueeze(1) & order).repeat_interleave(group, dim=0)
        k, v = (x.repeat_interleave(group, dim=1) for x in (k, v))
        q, k, v = (x.double().transpose(0, 1) for x in (q, k, v))
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return out.transpose(0, 1).float()

    def evict(self) -> None:
        for layer, held in enumerate(self._held):
            self._held[layer] = self._rule(self._queries[layer], self._keys[layer], held)


def feed(cache: DenseCache, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attend with new tokens in the first layer."""
    out = cache.view([len(q)]).attend(0, q, k, v)
    cache.advance([len(q)], [0])
    return out


def random(tokens: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values of so many tokens."""
    generator = torch.Generator().manual_seed(seed)
    heads = (HEADS, KV_HEADS, KV_HEADS)
    q, k, v = (torch.randn(tokens, count, DIM, generator=generator) for count in heads)
    return q, k, v


def tagged(first: int, count: int) -> Tensor:
    """Values that are their token's number in every element."""
    numbers = torch.arange(first, first + count, dtype=torch.float32)
    return numbers.view(-1, 1, 1).repeat(1, KV_HEADS, DIM)


def loaded(bench: Bench, *, mixer: Mixer = attention, retain: Sequence[Retain] = ()) -> Any:
    """The model, in which a test computes attention and techniques evict."""
    seams = Seams(mixer=mixer, retain=tuple(retain))
    return Qwen3VLForConditionalGeneration.from_pretrained(bench.folder, seams=seams)


@torch.inference_mode()
def logits_in_passes(
    model: Qwen3VLForConditionalGeneration,
    prompt: Prompt,
    sizes: Sequence[int] = (5, 1, 1, 20, 1, 9),
    evict: Callable[[], None] = lambda: None,
) -> Tensor:
    """The logits of random text after a prompt, in passes with an eviction before each."""
    cache = DenseCache(model.config.text_config, 1, model.seams)
    model(**vars(prompt), past_key_values=cache)
    text = torch.randint(0, 300, (1, sum(sizes)), generator=torch.Generator().manual_seed(7))
    parts = []
    for piece in text.split(list(sizes), dim=1):
        cache.evict()
        evict()
        parts.append(model(piece, past_key_values=cache).logits[0])
    return torch.cat(parts)


def changes(bench: Bench, *techniques: Optimization) -> list[float]:
    """By how much each changes the logits after the prompts: a share of their root mean square."""
    models = [bench.load(), *map(bench.load, techniques)]
    expected, *others = (
        torch.cat([logits_in_passes(model, prompt) for prompt in bench.prompts[:4]])
        for model in models
    )
    size = expected.square().mean().sqrt()
    return [float((actual - expected).square().mean().sqrt() / size) for actual in others]


@settings(deadline=None, max_examples=60)
@given(
    passes=st.lists(st.integers(1, 9), min_size=1, max_size=8),
    window=st.integers(1, 12),
    sinks=st.integers(0, 3),
)
def test_after_every_eviction_sinks_and_window_are_held(passes, window, sinks) -> None:
    watch = Watch()
    cache = DenseCache(TEXT, 1, Seams(mixer=watch, retain=(SlidingWindow(window, sinks),)))
    held: list[int] = []
    count = 0
    for size in (*passes, 1):
        q, k, _ = random(size)
        feed(cache, q, k, tagged(count, size))
        held += range(count, count + size)
        count += size
        expected = torch.tensor(held).view(-1, 1, 1).expand(-1, KV_HEADS, DIM)
        assert torch.equal(watch.v, expected.float())
        cache.evict()
        held = [place for place in range(count) if place < sinks or place >= count - window]


def rule_of(technique: SlidingWindow) -> Rule:
    def stay(q: Tensor, k: Tensor, held: Tensor) -> Tensor:  # noqa: ARG001
        place = torch.arange(len(k))
        return held & ((place < technique.sinks) | (place >= len(k) - technique.window))

    return stay


@pytest.mark.parametrize("settings", [(12, 4), (12, 0), (1, 0), (30, 2)], ids=str)
@pytest.mark.parametrize("prompt", [2, 3, 5], ids=["text", "two pictures", "one picture"])
def test_the_logits_are_those_of_dense_attention_with_a_mask(
    bench: Bench, settings: tuple[int, int], prompt: int
) -> None:
    technique = SlidingWindow(*settings)
    masked = Masked(rule_of(technique))
    dense = loaded(bench, mixer=masked)
    expected = logits_in_passes(dense, bench.prompts[prompt], evict=masked.evict)
    actual = logits_in_passes(loaded(bench, retain=[technique]), bench.prompts[prompt])
    check_logits(actual, expected, bench.config)


def test_a_window_that_just_holds_all_changes_no_bit_and_one_less_does(bench: Bench) -> None:
    prompt = bench.prompts[3]
    before_last = prompt.input_ids.numel() + 5 + 1
    expected = logits_in_passes(bench.load(), prompt, (5, 1, 3))
    for sinks in (0, 4):
        enough = bench.load(SlidingWindow(before_last - sinks, sinks))
        assert torch.equal(logits_in_passes(enough, prompt, (5, 1, 3)), expected)
        short = bench.load(SlidingWindow(before_last - sinks - 1, sinks))
        changed = (logits_in_passes(short, prompt, (5, 1, 3)) != expected).any(dim=1)
        assert not changed[:6].any()
        assert changed[6:].all()


def test_the_wider_the_window_the_nearer_the_plain_model(bench: Bench) -> None:
    errors = changes(bench, *map(SlidingWindow, (1, 8, 32, 200)))
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 0.5, "an answer without a past should be another one"
    assert errors[-1] == 0


def test_answers_change_where_the_window_is_narrow(bench: Bench) -> None:
    narrow = bench.load(SlidingWindow(2, 0))
    assert bench.tokens(narrow, count=8) != bench.tokens(bench.load(), count=8)


@pytest.mark.parametrize("place", [3, 4, 20, 32, 33, 48])
def test_a_needle_is_found_inside_window_and_sinks_alone(place: int) -> None:
    technique = SlidingWindow(window=16, sinks=4)
    cache, plain = (DenseCache(TEXT, 1, s) for s in (Seams(retain=(technique,)), PLAIN))
    q, k, v = random(50)
    v[place] = 100.0
    k[place] = q[-1, 0] = q[-1, 2] = 5.0  # one query head of each key head looks for the needle
    for one in (cache, plain):
        feed(one, q[:-1], k[:-1], v[:-1])
        one.evict()
    found, exact = (feed(one, q[-1:], k[-1:], v[-1:])[0, [0, 2]] for one in (cache, plain))
    assert (exact > 90).all()
    inside = place < 4 or place >= 49 - 16
    assert (found > 90).all() == inside
    assert (found.abs() < 10).all() != inside


def test_the_loop_evicts_after_the_prompt_and_then_now_and_then(bench: Bench) -> None:
    watch, prompt = Watch(), bench.prompts[4]
    model = loaded(bench, mixer=watch, retain=[SlidingWindow(12, 4)])
    steps = 2 * EVICT_EVERY + 3
    model.generate(**vars(prompt), max_new_tokens=steps, do_sample=False)
    held = prompt.input_ids.numel()
    expected = [held]
    for step in range(steps - 1):
        if step % EVICT_EVERY == 0:
            held = min(held, 12 + 4)
        held += 1
        expected.append(held)
    assert watch.counts == [n for n in expected for _ in range(TEXT.num_hidden_layers)]


def test_memory_stops_growing() -> None:
    technique = SlidingWindow(window=60, sinks=4)
    cache, plain = (DenseCache(TEXT, 1, s) for s in (Seams(retain=(technique,)), PLAIN))
    sizes: list[int] = []
    for step in range(20 * EVICT_EVERY):
        for one in (cache, plain):
            feed(one, *random(1))
        if step % EVICT_EVERY == 0:
            cache.evict()
        sizes.append(cache.nbytes)
    token = 2 * KV_HEADS * DIM * 4
    assert plain.nbytes >= 20 * EVICT_EVERY * token
    assert max(sizes[len(sizes) // 2 :]) == max(sizes[: len(sizes) // 2])
    # Room doubles when it is full.
    assert max(sizes) <= 2 * (60 + 4 + EVICT_EVERY) * token


def test_sinks_keep_the_attention_that_rests_on_the_first_tokens() -> None:
    q, k, v = random(60)
    k[0], q[-1] = 3.0, 3.0  # the last query finds nothing, and rests on the first token
    expected = feed(DenseCache(TEXT, 1), q, k, v)[-1:]

    def error(technique: SlidingWindow) -> float:
        cache = DenseCache(TEXT, 1, Seams(retain=(technique,)))
        feed(cache, q[:-1], k[:-1], v[:-1])
        cache.evict()
        return float((feed(cache, q[-1:], k[-1:], v[-1:]) - expected).norm())

    assert error(SlidingWindow(window=15, sinks=1)) < error(SlidingWindow(window=16, sinks=0)) / 10


@pytest.mark.parametrize("settings", [{"window": 0}, {"sinks": -1}], ids=str)
def test_a_window_without_a_token_is_refused(settings: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="window must be at least 1 and sinks at least 0"):
        SlidingWindow(**settings)

"""quantized_kv: old tokens are rounded once, the latest ones are whole, and the bytes fall."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from qwen3_vl.config.recipe import Step
from qwen3_vl.errors import ConfigError, Incompatible
from qwen3_vl.models.cache import DenseCache, PlainStore
from qwen3_vl.ops.attention import attention
from qwen3_vl.optimization.kv_cache.quantized_kv import QuantizedKV
from qwen3_vl.plan import Plan
from qwen3_vl.recipes import build
from qwen3_vl.seams import KVStore, Seams
from qwen3_vl.testing import Bench, check_op, tiny_config, tolerance
from tests.unit.optimization.kv_cache.test_sliding_window import (
    TEXT,
    changes,
    feed,
    loaded,
    logits_in_passes,
)


def small(folder: Path) -> dict[str, Any]:  # noqa: ARG001
    """Settings with which it has something to do on short prompts."""
    return {"residual": 3}


def rounded(x: Tensor, technique: QuantizedKV) -> Tensor:
    """Each group of numbers on a grid of its own, whose ends are its largest number."""
    groups = x.float().unflatten(-1, (-1, technique.group))
    step = groups.abs().amax(dim=-1, keepdim=True) / (2 ** (technique.bits - 1) - 1)
    on_grid = torch.where(step > 0, (groups / step).round() * step, 0.0)
    return on_grid.flatten(-2).to(x.dtype)


def random(tokens: int, heads: int, dim: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    k, v = (torch.randn(tokens, heads, dim, generator=generator) for _ in range(2))
    return k, v


def filled(technique: QuantizedKV, tokens: int, dim: int = 32) -> KVStore:
    """A store of two heads that has taken so many tokens one by one."""
    store = technique.store()
    for k, v in zip(*(x.split(1) for x in random(tokens, 2, dim)), strict=True):
        store.append(k, v)
    return store


@settings(deadline=None, max_examples=60)
@given(
    passes=st.lists(st.integers(1, 9), min_size=1, max_size=8),
    bits=st.sampled_from([4, 8]),
    group=st.sampled_from([2, 6, 12]),
    residual=st.integers(0, 12),
    heads=st.integers(1, 3),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
)
def test_a_pass_sees_rounded_what_was_old_before_it_and_all_else_whole(
    passes, bits, group, residual, heads, dtype
) -> None:
    technique = QuantizedKV(bits, group, residual)
    store = technique.store()
    whole = [x.to(dtype) for x in random(sum(passes), heads, 12)]
    count = 0
    for size in passes:
        old = max(0, count - residual)
        given_back = store.append(*(x[count : count + size] for x in whole))
        count += size
        for actual, x in zip(given_back, whole, strict=True):
            expected = torch.cat((rounded(x[:old], technique), x[old:count]))
            assert torch.equal(actual, expected)
        assert len(store) == count


@pytest.mark.parametrize("technique", [QuantizedKV(8, 32, 3), QuantizedKV(4, 8, 0)], ids=str)
@pytest.mark.parametrize("prompt", [2, 3], ids=["text", "two pictures"])
def test_the_logits_are_those_of_attention_over_rounded_numbers(
    bench: Bench, technique: QuantizedKV, prompt: int
) -> None:
    def mixer(q: Tensor, k: Tensor, v: Tensor, *, causal: bool) -> Tensor:
        if causal:
            old = max(0, len(k) - len(q) - technique.residual)
            k, v = (torch.cat((rounded(x[:old], technique), x[old:])) for x in (k, v))
        return attention(q, k, v, causal=causal)

    expected = logits_in_passes(loaded(bench, mixer=mixer), bench.prompts[prompt])
    actual = logits_in_passes(bench.load(technique), bench.prompts[prompt])
    assert torch.equal(actual, expected)


def test_latest_tokens_that_just_hold_all_change_no_bit_and_one_less_does(bench: Bench) -> None:
    prompt = bench.prompts[3]
    before_last = prompt.input_ids.numel() + 5 + 1
    expected = logits_in_passes(bench.load(), prompt, (5, 1, 3))
    enough = bench.load(QuantizedKV(residual=before_last))
    assert torch.equal(logits_in_passes(enough, prompt, (5, 1, 3)), expected)
    short = bench.load(QuantizedKV(residual=before_last - 1))
    changed = (logits_in_passes(short, prompt, (5, 1, 3)) != expected).any(dim=1)
    assert not changed[:6].any()
    assert changed[6:].all()


@pytest.mark.parametrize("bits", [4, 8])
def test_the_error_is_at_most_half_a_step_of_the_grid(bits: int) -> None:
    store = QuantizedKV(bits, 8, 0).store()
    whole = random(50, 2, 32)
    store.append(*whole)
    for actual, x in zip(store.read(), whole, strict=True):
        top = x.unflatten(-1, (-1, 8)).abs().amax(dim=-1, keepdim=True)
        half = (top / (2 ** (bits - 1) - 1) / 2).expand(-1, -1, -1, 8).flatten(-2)
        check_op(actual, x, half.double() + tolerance(x, 1, torch.float32))


@pytest.mark.parametrize(
    "opening",
    [
        [QuantizedKV(4, 32, 0), QuantizedKV(4, 8, 0), QuantizedKV(4, 2, 0)],
        [QuantizedKV(4, 32, 0), QuantizedKV(8, 32, 0)],
        [QuantizedKV(4, 32, 0), QuantizedKV(4, 32, 8), QuantizedKV(4, 32, 32), QuantizedKV(4)],
    ],
    ids=["group", "bits", "residual"],
)
def test_finer_is_nearer_the_plain_model(bench: Bench, opening: list[QuantizedKV]) -> None:
    errors = changes(bench, *opening)
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 2 * errors[-1]


def test_answers_change_where_rounding_is_coarse(bench: Bench) -> None:
    coarse = bench.load(QuantizedKV(4, 32, 0))
    assert bench.tokens(coarse, count=8) != bench.tokens(bench.load(), count=8)


def test_a_large_number_wipes_out_its_group_and_no_other() -> None:
    """What makes keys with outliers hard, and small groups worth their scales."""
    k, v = random(4, 2, 32)
    k[1, 0, 3] = 1000.0
    store = QuantizedKV(4, 16, 0).store()
    store.append(k, v)
    held, _ = store.read()
    assert (held[1, 0, :16].nonzero().flatten() == torch.tensor([3])).all()
    unharmed = torch.ones(4, 2, 32, dtype=torch.bool)
    unharmed[1, 0, :16] = False
    assert torch.equal(held[unharmed], rounded(k, QuantizedKV(4, 16, 0))[unharmed])


@settings(deadline=None, max_examples=40)
@given(
    tokens=st.integers(1, 20),
    residual=st.integers(0, 8),
    bits=st.sampled_from([4, 8]),
    data=st.data(),
)
def test_what_each_head_keeps_is_not_rounded_again(tokens, residual, bits, data) -> None:
    technique = QuantizedKV(bits, 4, residual)
    store = filled(technique, tokens, dim=8)
    before = store.read()
    kept = data.draw(st.integers(1, tokens))
    heads = [sorted(data.draw(st.permutations(range(tokens)))[:kept]) for _ in range(2)]
    index = torch.tensor(heads).T
    store.keep(index)
    assert len(store) == kept
    latest = range(max(0, tokens - residual), tokens)
    all_latest = all(set(latest) <= set(head) for head in heads)
    for actual, x in zip(store.read(), before, strict=True):
        whole = x if all_latest else rounded(x, technique)
        after = torch.cat((x[: latest.start], whole[latest.start :]))
        expected = torch.stack([after[index[:, head], head] for head in range(2)], dim=1)
        assert torch.equal(actual, expected)
    old, new = random(1, 2, 8, seed=5)
    seen, _ = store.append(old, new)
    assert torch.equal(seen[-1:], old)
    assert len(store) == kept + 1


@pytest.mark.parametrize(
    ("bits", "group", "share"), [(8, 32, 0.29), (4, 32, 0.16), (8, 64, 0.27), (4, 64, 0.15)]
)
def test_a_token_takes_the_share_of_float32_that_the_docstring_tells(
    bits: Any, group: int, share: float
) -> None:
    k, v = random(512, 8, 128)
    plain, store = PlainStore(), QuantizedKV(bits, group, residual=0).store()
    plain.append(k, v)
    store.append(k, v)
    assert plain.nbytes == 2 * k.nbytes
    assert store.nbytes == plain.nbytes * (bits / 32 + 1 / group)
    assert store.nbytes < share * plain.nbytes


def test_the_latest_tokens_take_what_they_are() -> None:
    k, v = random(100, 2, 32)
    stores = [QuantizedKV(residual=residual).store() for residual in (0, 40, 100)]
    for store in stores:
        store.append(k, v)
    none, some, all_of_them = (store.nbytes for store in stores)
    assert all_of_them == 2 * k.nbytes
    assert some == 0.6 * none + 0.4 * all_of_them


def test_the_memory_of_a_long_prompt_is_not_held_on_to_for_its_latest_tokens() -> None:
    store = QuantizedKV(residual=3).store()
    seen, _ = store.append(*random(50, 2, 32))
    before, _ = store.read()
    seen.fill_(torch.nan)
    after, _ = store.read()
    assert torch.equal(after, before)


def test_the_cache_of_a_long_answer_is_smaller() -> None:
    caches = [
        DenseCache(TEXT, 1, seams) for seams in (Seams(), Seams(kv_format=QuantizedKV(residual=16)))
    ]
    k, v = random(300, TEXT.num_key_value_heads, TEXT.head_dim)
    q = k.repeat_interleave(2, dim=1)
    for cache in caches:
        for one in zip(*(x.split(1) for x in (q, k, v)), strict=True):
            feed(cache, *one)
    plain, rounded_bytes = (cache.nbytes for cache in caches)
    # Both double their room when it is full, but not at the same moment: twice at most.
    assert rounded_bytes <= 2 * (8 / 32 + 1 / 32) * 2 * k.nbytes + 16 * 2 * k[0].nbytes
    assert rounded_bytes < 0.7 * plain


@pytest.mark.parametrize("settings", [{"group": 0}, {"group": 7}, {"residual": -1}], ids=str)
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="group must be even and at least 2, residual at least 0"):
        QuantizedKV(**settings)


@pytest.mark.parametrize("bits", [2, 16])
def test_other_widths_are_refused_in_a_recipe_and_in_python(bits: Any) -> None:
    with pytest.raises(ConfigError, match=r"quantized_kv: bits is .* 4 or 8"):
        build(Step("quantized_kv", {"bits": bits}))
    with pytest.raises(ConfigError, match=f"bits is {bits}; it can be 4 or 8"):
        QuantizedKV(bits=bits)


def test_a_group_that_does_not_divide_a_head_is_refused_when_the_plan_is_made() -> None:
    with pytest.raises(Incompatible, match="choose a group that divides 32"):
        Plan(tiny_config()).then(QuantizedKV(group=12))

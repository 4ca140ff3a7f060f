"""kv_int8 and kv_bf16: the same answers in any steps and any company, in fewer bytes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from qwen3_vl.errors import Incompatible
from qwen3_vl.models.cache import DenseCache
from qwen3_vl.models.qwen3_vl import Qwen3VLForConditionalGeneration
from qwen3_vl.ops import native
from qwen3_vl.optimization.attention.memory_efficient_attention import MemoryEfficientAttention
from qwen3_vl.optimization.kv_cache.kv_bf16 import KvBf16
from qwen3_vl.optimization.kv_cache.kv_int8 import KvInt8
from qwen3_vl.optimization.kv_cache.sliding_window import SlidingWindow
from qwen3_vl.plan import Optimization, Plan
from qwen3_vl.testing import Bench, tiny_config

TEXT = tiny_config().text_config

BOTH = [KvInt8(), KvBf16()]


def feed(model: Qwen3VLForConditionalGeneration, cache: DenseCache, ids: Tensor) -> Tensor:
    with torch.inference_mode():
        return model(ids, past_key_values=cache).logits


@pytest.mark.parametrize(("technique", "most"), [(KvInt8(), 0.03), (KvBf16(), 0.01)])
def test_rounding_moves_logits_little_but_moves_them(
    bench: Bench, technique: Optimization, most: float
) -> None:
    plain, changed = bench.logits(bench.load()), bench.logits(bench.load(technique))
    error = (changed - plain).square().mean().sqrt() / plain.square().mean().sqrt()
    assert 0 < error < most


@pytest.mark.parametrize("technique", BOTH, ids=type)
def test_steps_give_what_one_pass_gives(bench: Bench, technique: Optimization) -> None:
    """Up to the sums of products: their order depends on how many tokens come at once."""
    model = bench.load(technique)
    ids = torch.arange(1, 60).unsqueeze(0)
    whole, parts = (DenseCache(TEXT, 1, model.seams) for _ in range(2))
    at_once = feed(model, whole, ids)
    in_steps = torch.cat([feed(model, parts, part) for part in ids.split(7, dim=1)], dim=1)
    assert whole.nbytes == parts.nbytes
    spread = at_once.square().mean().sqrt()
    assert (in_steps - at_once).square().mean().sqrt() < 0.02 * spread


@pytest.mark.parametrize("technique", BOTH, ids=type)
def test_with_other_attention_the_restored_keys_are_seen(
    bench: Bench, technique: Optimization
) -> None:
    """Without kernels over pages queries are not rounded, and nothing else differs."""
    in_pages = bench.logits(bench.load(technique))
    apart = bench.logits(bench.load(technique, MemoryEfficientAttention()))
    error = (in_pages - apart).square().mean().sqrt() / apart.square().mean().sqrt()
    assert error < 0.02


def test_a_window_holds_its_tokens_in_pages(bench: Bench) -> None:
    window = SlidingWindow(window=40)
    small = bench.load(KvInt8(), window)
    cache = DenseCache(small.config.text_config, 1, small.seams)
    feed(small, cache, torch.arange(1, 100).unsqueeze(0))
    before = cache.nbytes
    cache.evict()
    assert cache.nbytes < before
    assert len(bench.tokens(small, count=8)) == len(bench.prompts)


def test_without_kernels_the_meaning_serves(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    model = bench.load(KvBf16())
    with_kernels = bench.logits(model)
    monkeypatch.setattr(native, "kernels_for", lambda *_: None)
    torch.testing.assert_close(bench.logits(model), with_kernels, rtol=0, atol=0.05)


@pytest.mark.parametrize(("technique", "name"), [(KvInt8(), "kv_int8"), (KvBf16(), "kv_bf16")])
def test_a_gpu_is_refused(technique: Optimization, name: str) -> None:
    plan = Plan(tiny_config(), torch.device("cuda"))
    with pytest.raises(Incompatible, match=f"{name}: its pages are for the CPU"):
        plan.then(technique)

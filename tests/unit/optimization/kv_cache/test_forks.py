"""A forked cache goes on as one that has seen the whole text, whatever form its keys have."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from qwen3_vl.errors import InputError
from qwen3_vl.models.cache import DenseCache
from qwen3_vl.models.qwen3_vl import Qwen3VLForConditionalGeneration
from qwen3_vl.optimization.kv_cache.heavy_hitter import HeavyHitter
from qwen3_vl.optimization.kv_cache.kv_bf16 import KvBf16
from qwen3_vl.optimization.kv_cache.kv_int8 import KvInt8
from qwen3_vl.optimization.kv_cache.quantized_kv import QuantizedKV
from qwen3_vl.plan import Optimization
from qwen3_vl.testing import Bench

FORMS: list[tuple[Optimization, ...]] = [
    (),
    (QuantizedKV(group=16, residual=8),),
    (KvInt8(),),
    (KvBf16(),),
    (HeavyHitter(30, 2, 8, 8),),
]
every_form = pytest.mark.parametrize(
    "form", FORMS, ids=lambda form: type(form[0]).__name__ if form else "plain"
)
BEGINNING, ENDS = torch.arange(1, 41).unsqueeze(0), torch.tensor([[50, 51, 52], [60, 61, 62]])


def empty(model: Qwen3VLForConditionalGeneration, sequences: int = 1) -> DenseCache:
    return DenseCache(model.config.text_config, sequences, model.seams)


def feed(model: Qwen3VLForConditionalGeneration, cache: DenseCache, ids: Tensor) -> Tensor:
    with torch.inference_mode():
        steps = [model(part, past_key_values=cache).logits for part in ids.split(1, dim=1)]
        return torch.cat(steps, dim=1)


def begun(model: Qwen3VLForConditionalGeneration, sequences: int = 1) -> DenseCache:
    cache = empty(model, sequences)
    with torch.inference_mode():
        model(BEGINNING.expand(sequences, -1), past_key_values=cache)
    cache.evict()
    return cache


@every_form
def test_both_go_on_as_if_each_had_read_it_all(
    bench: Bench, form: tuple[Optimization, ...]
) -> None:
    model = bench.load(*form)
    cache = begun(model)
    forked = cache.fork([0, 0])
    assert torch.equal(feed(model, forked, ENDS), feed(model, begun(model, 2), ENDS))
    assert forked.lengths == [43, 43]
    assert cache.lengths == [40]
    # What came to the forks has not come to the one that they go on from.
    assert torch.equal(feed(model, cache, ENDS[:1]), feed(model, begun(model), ENDS[:1]))


@every_form
def test_sequences_are_chosen_and_ordered(bench: Bench, form: tuple[Optimization, ...]) -> None:
    model = bench.load(*form)
    cache = begun(model, 2)
    with_ends = feed(model, cache, ENDS)
    swapped = cache.fork([1, 0, 1])
    assert swapped.positions == [43, 43, 43]
    next_ids = torch.tensor([[7]])
    once, thrice = (
        feed(model, one, next_ids.expand(len(one.lengths), 1)) for one in (cache, swapped)
    )
    assert not torch.equal(with_ends[0], with_ends[1])
    torch.testing.assert_close(thrice, once[[1, 0, 1]])


@pytest.mark.parametrize("form", [KvInt8(), KvBf16()], ids=["KvInt8", "KvBf16"])
def test_pages_are_shared(bench: Bench, form: Optimization) -> None:
    model = bench.load(form)
    cache = begun(model)
    before = cache.nbytes
    forked = cache.fork([0] * 8)
    assert cache.nbytes + forked.nbytes < 1.1 * before  # of the tables each has its own


def test_what_cannot_be_forked_is_told(bench: Bench) -> None:
    model = bench.load()
    cache = empty(model)
    model(BEGINNING, past_key_values=cache)
    with pytest.raises(InputError, match=r"filled with gradients.*inference_mode"):
        cache.fork([0])
    for wrong in (1, -1):
        with pytest.raises(InputError, match=f"no sequence {wrong}; the cache holds 1"):
            empty(model).fork([wrong])
    cache = empty(model)
    cache.view([1])
    with pytest.raises(InputError, match="broken off"):
        cache.fork([0])

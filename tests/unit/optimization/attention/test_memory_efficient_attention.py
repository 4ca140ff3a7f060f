"""memory_efficient_attention: the numbers of dense attention, and no tensor beyond a tile."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from qwen3_vl.errors import ConfigError
from qwen3_vl.models.qwen3_vl import Qwen3VLForConditionalGeneration
from qwen3_vl.ops.attention import meaning
from qwen3_vl.optimization.attention.memory_efficient_attention import MemoryEfficientAttention
from qwen3_vl.seams import Seams
from qwen3_vl.testing import Bench, Prompt
from tests.support.bounds import check_attention, check_logits


def small(folder: Path) -> dict[str, Any]:  # noqa: ARG001
    """Settings with which it has something to do on short prompts."""
    return {"query_chunk": 5, "key_chunk": 7}


class Meter(TorchDispatchMode):
    """Notes which operations run, and the bytes of the largest tensor that one makes anew."""

    def __init__(self) -> None:
        super().__init__()
        self.largest = 0
        self.ran: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        given = {memory(x) for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)}
        made = [x for x in tree_leaves(out) if isinstance(x, Tensor) and memory(x) not in given]
        self.largest = max([self.largest, *(x.untyped_storage().nbytes() for x in made)])
        self.ran.append(func.overloadpacket.__name__)
        return out


def memory(x: Tensor) -> int:
    """Where the memory is that a tensor looks at."""
    return x.untyped_storage().data_ptr()


def metered(run: Callable[[], object]) -> Meter:
    with torch.no_grad(), Meter() as meter:
        run()
    return meter


def random(queries: int, keys: int, heads: int, kv_heads: int, dim: int) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(queries * keys + dim)
    shapes = ((queries, heads, dim), (keys, kv_heads, dim), (keys, kv_heads, dim))
    return tuple(torch.randn(shape, generator=generator) for shape in shapes)


@pytest.mark.parametrize("tile", [(3, 2), (5, 7), (16, 3), (1000, 1000)], ids=str)
def test_the_logits_are_those_of_dense_attention(bench: Bench, tile: tuple[int, int]) -> None:
    expected = bench.logits(bench.load())
    actual = bench.logits(bench.load(MemoryEfficientAttention(*tile)))
    check_logits(actual, expected, bench.config)
    assert not torch.equal(actual, expected), "it did not run"


@settings(deadline=None, max_examples=40)
@given(
    queries=st.integers(1, 15),
    past=st.integers(0, 15),
    kv_heads=st.integers(1, 2),
    group=st.integers(1, 3),
    dim=st.integers(1, 9),
    tile=st.tuples(st.integers(1, 8), st.integers(1, 8)),
    causal=st.booleans(),
)
def test_any_shape_and_tile_gives_the_full_softmax_and_stores_one_tile(
    queries, past, kv_heads, group, dim, tile, causal
) -> None:
    heads, keys = kv_heads * group, queries + past
    q, k, v = random(queries, keys, heads, kv_heads, dim)
    mixer = MemoryEfficientAttention(*tile)
    check_attention(mixer(q, k, v, causal=causal), q, k, v, causal=causal)
    rows, columns = min(tile[0], queries), min(tile[1], keys)
    tensors = {
        "result": queries * heads * dim,
        "scores of a tile": rows * heads * columns,
        "keys of a tile": columns * kv_heads * dim,
        "places of a tile, in int64": 2 * max(rows, columns),
    }
    meter = metered(lambda: mixer(q, k, v, causal=causal))
    assert meter.largest <= 4 * max(tensors.values())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_is_added_up_in_float32(dtype: torch.dtype) -> None:
    q, k, v = (x.to(dtype) for x in random(9, 33, 4, 2, 16))
    actual = MemoryEfficientAttention(4, 5)(q, k, v, causal=True)
    assert actual.dtype == dtype
    check_attention(actual, q, k, v, causal=True)


def test_scores_that_overflow_an_exponential_do_not_harm() -> None:
    q, k, v = random(6, 20, 2, 2, 8)
    actual = MemoryEfficientAttention(2, 3)(1000 * q, k, v, causal=True)
    check_attention(actual, 1000 * q, k, v, causal=True)


def test_twice_the_tokens_need_twice_the_memory_and_not_four_times_as_much() -> None:
    def largest(tokens: int, mixer: Any) -> int:
        q, k, v = random(tokens, tokens, 4, 2, 8)
        return metered(lambda: mixer(q, k, v, causal=True)).largest

    assert largest(256, meaning) == 4 * largest(128, meaning)
    tiles = MemoryEfficientAttention(16, 16)
    assert largest(256, tiles) == 2 * largest(128, tiles)


def test_no_layer_of_text_or_vision_stores_all_scores(bench: Bench) -> None:
    grid = torch.tensor([[1, 16, 16]])
    picture = torch.full((64,), bench.config.image_token_id)
    ids = torch.cat((torch.arange(200), picture)).unsqueeze(0)
    pixels = torch.randn(256, bench.config.vision_config.patch_dim)
    prompt = Prompt(ids, pixels, grid)
    # Float32 scores of each head; in the vision tower every patch looks at every patch.
    text = 4 * bench.config.text_config.num_attention_heads * ids.numel() ** 2
    vision = 4 * bench.config.vision_config.num_heads * len(pixels) ** 2

    def largest(mixer: Any) -> int:
        seams = Seams(mixer=mixer)
        model = Qwen3VLForConditionalGeneration.from_pretrained(bench.folder, seams=seams)
        return metered(lambda: model.model(**vars(prompt))).largest

    assert largest(meaning) >= max(text, vision)
    assert largest(MemoryEfficientAttention(32, 32)) < min(text, vision) / 2


def test_gradients_are_those_of_the_full_softmax() -> None:
    inputs = random(5, 9, 4, 2, 6)
    gradients = []
    for mixer in (MemoryEfficientAttention(2, 4), meaning):
        leaves = [x.double().requires_grad_() for x in inputs]
        mixer(*leaves, causal=True).square().sum().backward()
        gradients.append([leaf.grad for leaf in leaves])
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("tile", [{"query_chunk": 0}, {"key_chunk": 0}], ids=str)
def test_a_tile_without_a_row_or_column_is_refused(tile: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="must be at least 1"):
        MemoryEfficientAttention(**tile)

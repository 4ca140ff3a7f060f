"""block_attention: any choice of blocks against a mask over all keys, in float64."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from qwen3_vl.ops.attention import attention
from qwen3_vl.ops.block_attention import block_attention, meaning
from qwen3_vl.ops.chunked_attention import chunked_attention
from tests.support.bounds import check_weighted


def random(queries: int, keys: int, kv_heads: int, group: int, seed: int) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    shapes = ((queries, kv_heads * group, 8), (keys, kv_heads, 8), (keys, kv_heads, 8))
    return tuple(torch.randn(shape, generator=generator) for shape in shapes)


def any_blocks(queries: int, keys: int, kv_heads: int, block: int, share: float) -> Tensor:
    count, first = -(-keys // block), (keys - queries) // block
    generator = torch.Generator().manual_seed(keys)
    return torch.rand(kv_heads, count - first, count, generator=generator) < share


@settings(deadline=None, max_examples=100)
@given(
    queries=st.integers(1, 20),
    past=st.integers(0, 20),
    kv_heads=st.integers(1, 3),
    group=st.integers(1, 3),
    block=st.integers(1, 9),
    share=st.sampled_from([0.0, 0.3, 0.7, 1.0]),
    seed=st.integers(0, 99),
)
def test_any_choice(queries, past, kv_heads, group, block, share, seed) -> None:
    keys = queries + past
    q, k, v = random(queries, keys, kv_heads, group, seed)
    chosen = any_blocks(queries, keys, kv_heads, block, share)
    q64, k64, v64 = (x.double() for x in (q, k, v))
    exact = meaning(q64, k64, v64, chosen, block)
    weighted = meaning(q64, k64, v64.abs(), chosen, block)
    actual = block_attention(q, k, v, chosen, block, attention)
    check_weighted(actual, exact, weighted, q64, k64)


def test_all_earlier_blocks_are_plain_attention_to_the_bit() -> None:
    q, k, v = random(9, 14, 2, 2, 0)
    chosen = any_blocks(9, 14, 2, 4, 0.0)
    for row, own in enumerate(range(1, 4)):
        chosen[:, row, :own] = True  # nothing is said of its own block and of later ones
    expected = attention(q, k, v, causal=True)
    assert torch.equal(block_attention(q, k, v, chosen, 4, attention), expected)


def test_what_is_not_chosen_has_no_influence() -> None:
    q, k, v = random(4, 16, 1, 1, 1)
    chosen = torch.tensor([[[True, False, False, False]]])
    before = block_attention(q, k, v, chosen, 4, attention)
    k[4:12], v[4:12] = 100.0, -100.0
    assert torch.equal(block_attention(q, k, v, chosen, 4, attention), before)
    v[0] += 1
    assert (block_attention(q, k, v, chosen, 4, attention) != before).any(dim=-1).all()


@pytest.mark.parametrize("queries", [1, 11])
def test_any_kernel_computes_what_is_left(queries: int) -> None:
    q, k, v = random(queries, 21, 2, 2, 2)
    chosen = any_blocks(queries, 21, 2, 4, 0.5)

    def tiles(q: Tensor, k: Tensor, v: Tensor, *, causal: bool) -> Tensor:
        return chunked_attention(q, k, v, causal=causal, query_chunk=2, key_chunk=3)[0]

    one, other = (block_attention(q, k, v, chosen, 4, kernel) for kernel in (attention, tiles))
    torch.testing.assert_close(one, other)

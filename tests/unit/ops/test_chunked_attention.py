from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qwen3_vl.ops.attention import meaning
from qwen3_vl.ops.chunked_attention import chunked_attention, merge
from qwen3_vl.testing import check_op, tolerance


def inputs(queries: int, keys: int, heads: int, group: int, dim: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(queries * keys + dim)
    shapes = ((queries, heads * group, dim), (keys, heads, dim), (keys, heads, dim))
    return [torch.randn(shape, generator=generator) for shape in shapes]


@settings(deadline=None, max_examples=60)
@given(
    queries=st.integers(1, 12),
    past=st.integers(0, 9),
    heads=st.integers(1, 2),
    group=st.integers(1, 3),
    chunks=st.tuples(st.integers(1, 8), st.integers(1, 8)),
    causal=st.booleans(),
)
def test_tiles_give_what_the_formula_gives(queries, past, heads, group, chunks, causal) -> None:
    q, k, v = inputs(queries, queries + past, heads, group, 8)
    out, _ = chunked_attention(q, k, v, causal=causal, query_chunk=chunks[0], key_chunk=chunks[1])
    exact = meaning(q.double(), k.double(), v.double(), causal=causal)
    spread = v.double().abs().amax(dim=(0, 1)).expand_as(exact)
    # A score is a sum of `dim` products; its error is that of a weight, by which values are mixed.
    check_op(out, exact, tolerance(spread * (1 + q.abs().max() * 8), len(k) + 8, torch.float32))


@pytest.mark.parametrize("cut", [1, 5, 11])
def test_results_over_two_sets_of_keys_merge_into_the_one_over_both(cut: int) -> None:
    q, k, v = inputs(4, 12, 2, 2, 8)
    tile = {"causal": False, "query_chunk": 3, "key_chunk": 4}
    whole, whole_lse = chunked_attention(q, k, v, **tile)
    one = chunked_attention(q, k[:cut], v[:cut], **tile)
    other = chunked_attention(q, k[cut:], v[cut:], **tile)
    merged, lse = merge(*one, *other)
    torch.testing.assert_close(merged, whole)
    torch.testing.assert_close(lse, whole_lse)

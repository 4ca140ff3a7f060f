"""attention: every shape against its meaning in float64."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from qwen3_vl.ops.attention import attention, meaning
from tests.support.bounds import check_attention


def random(queries: int, keys: int, heads: int, kv_heads: int, dim: int, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    shapes = ((queries, heads, dim), (keys, kv_heads, dim), (keys, kv_heads, dim))
    return tuple(torch.randn(shape, generator=generator) for shape in shapes)


def check(q: Tensor, k: Tensor, v: Tensor, *, causal: bool) -> None:
    check_attention(attention(q, k, v, causal=causal), q, k, v, causal=causal)


@given(
    queries=st.integers(1, 9),
    more_keys=st.integers(0, 9),
    kv_heads=st.integers(1, 3),
    group=st.integers(1, 4),
    dim=st.integers(1, 17),
    causal=st.booleans(),
    seed=st.integers(0, 99),
)
@settings(deadline=None, max_examples=200)
def test_any_shape(queries, more_keys, kv_heads, group, dim, causal, seed):
    check(
        *random(queries, queries + more_keys, kv_heads * group, kv_heads, dim, seed),
        causal=causal,
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("queries", [1, 5])
def test_half_precision(dtype, queries):
    q, k, v = (x.to(dtype) for x in random(queries, 33, 4, 2, 16))
    assert attention(q, k, v, causal=True).dtype == dtype
    check(q, k, v, causal=True)


@pytest.mark.parametrize(("queries", "keys"), [(1, 300), (300, 300), (7, 300)])
def test_the_shapes_of_decoding_prefill_and_a_chunk(queries, keys):
    check(*random(queries, keys, 16, 8, 128), causal=True)


def test_a_causal_query_does_not_see_what_follows_it():
    q, k, v = random(4, 6, 2, 1, 8)
    before = attention(q, k, v, causal=True)
    k[4:], v[4:] = 100.0, -100.0
    after = attention(q, k, v, causal=True)
    assert torch.equal(before[:2], after[:2])
    assert not torch.allclose(before[2:], after[2:])


def test_without_an_order_every_query_sees_every_key():
    q, k, v = random(4, 4, 2, 2, 8)
    before = attention(q, k, v, causal=False)
    v[3] += 100.0
    assert ((attention(q, k, v, causal=False) - before).amax(dim=(1, 2)) > 0.1).all()


def test_gradients_are_those_of_the_meaning():
    inputs = random(3, 5, 4, 2, 6)
    gradients = []
    for run in (attention, meaning):
        leaves = [x.double().requires_grad_() for x in inputs]
        run(*leaves, causal=True).square().sum().backward()
        gradients.append([leaf.grad for leaf in leaves])
    torch.testing.assert_close(*gradients)

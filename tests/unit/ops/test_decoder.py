"""A decoder in one native call is its layers one by one, the angles before and the norm after."""

from __future__ import annotations

import pytest
import torch

from qwen3_vl.ops import native
from qwen3_vl.ops.decoder import Decoder
from qwen3_vl.ops.layers import Layer, Room
from qwen3_vl.ops.packed import Bits
from qwen3_vl.ops.products import Norm
from qwen3_vl.ops.rotation import Rotation
from tests.support.packed_layers import DIM, HIDDEN, Cache, layer, numbers

ROTATION = Rotation(torch.arange(DIM // 2) % 3, 1e4 ** (-torch.arange(DIM // 2) / DIM))
STEPS = [(1, 1), (5, 1), (1, 3)]

pytestmark = pytest.mark.skipif(native.variant() is None, reason="there are no kernels")


def decoder(dtype: torch.dtype, *bits: Bits) -> Decoder:
    room = Room()
    layers = [Layer(layer(one), room) for one in bits]
    return Decoder(layers, ROTATION, Norm(1 + 0.1 * numbers(HIDDEN, seed=8).to(dtype), 1e-6), room)


@pytest.mark.usefixtures("variant")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bits", [(4, 8, 4), (16, 16)])
def test_one_call_is_bit_by_bit_what_many_are(bits: tuple[Bits, ...], dtype: torch.dtype) -> None:
    one = decoder(dtype, *bits)
    caches = [[Cache(8) for _ in bits] for _ in range(2)]
    for step, counts in enumerate(STEPS):
        tokens = sum(counts)
        x = numbers(tokens, HIDDEN, seed=step).to(dtype)
        positions = torch.arange(step, 3 * tokens + step).view(3, tokens)
        passes, same = ([cache.step(counts) for cache in some] for some in caches)
        given = x.clone()
        got = one(given, passes, positions)
        wanted = one._one_by_one(x.clone(), same, positions)
        assert got.data_ptr() == given.data_ptr()
        assert torch.equal(got, wanted)
        assert not torch.equal(got, x)
        for own, other in zip(*caches, strict=True):
            assert torch.equal(own.pages, other.pages)


def test_positions_need_not_lie_one_after_the_other() -> None:
    one = decoder(torch.float32, 8)
    x, positions = numbers(2, HIDDEN, seed=1), torch.tensor([[3, 9]])
    wide = one(x.clone(), [Cache(8).step((1, 1))], positions.expand(3, -1))
    close = one(x.clone(), [Cache(8).step((1, 1))], positions.repeat(3, 1))
    assert torch.equal(wide, close)
    elsewhere = one(x.clone(), [Cache(8).step((1, 1))], positions.expand(3, -1) + 1)
    assert torch.allclose(wide, elsewhere, atol=1e-2), "a first token sees itself alone"


@pytest.mark.parametrize("change", ["float16", "between"])
def test_what_kernels_do_not_read_is_done_layer_by_layer(change: str) -> None:
    dtype = torch.float16 if change == "float16" else torch.float32
    one, x = decoder(dtype, 8), numbers(2, HIDDEN, seed=1).to(dtype)
    positions = torch.tensor([[3, 9]]).expand(3, -1) + (0.5 if change == "between" else 0)
    got = one(x.clone(), [Cache(8).step((1, 1))], positions)
    assert torch.equal(got, one._one_by_one(x.clone(), [Cache(8).step((1, 1))], positions))
    assert got.isfinite().all()

"""A layer in one native call is the same layer as in six, and as in torch."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from qwen3_vl.ops import native
from qwen3_vl.ops.layers import Layer, LayerParts
from qwen3_vl.ops.packed import Bits, pack
from qwen3_vl.ops.pages import PageBits, PagedPass, PageFormat, Stretch
from qwen3_vl.ops.products import Finish, Norm, Packed, Product

HIDDEN, INNER, HEADS, KEY_HEADS, DIM = 192, 288, 4, 2, 64
PASSES = [(1, 1), (5, 1), (40, 3)]
"""New tokens of two sequences."""

pytestmark = pytest.mark.skipif(native.variant() is None, reason="there are no kernels")


def numbers(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def product(bits: Bits, inputs: int, *outputs: int, finish: Finish = "store") -> Product:
    matrices = [numbers(rows, inputs, seed=rows + inputs) / inputs**0.5 for rows in outputs]
    packed = [Packed(pack(one, bits), len(one), inputs, bits) for one in matrices]
    return Product(*packed, finish=finish)


def layer(bits: Bits, *, biased: bool = False) -> LayerParts:
    into = HEADS * DIM, KEY_HEADS * DIM, KEY_HEADS * DIM
    return LayerParts(
        into=product(bits, HIDDEN, *into),
        out=product(bits, HEADS * DIM, HIDDEN, finish="add"),
        gate=product(bits, HIDDEN, INNER, INNER, finish="gate"),
        down=product(bits, INNER, HIDDEN, finish="add"),
        before_attention=Norm(1 + 0.1 * numbers(HIDDEN, seed=1), 1e-6),
        before_mlp=Norm(1 + 0.1 * numbers(HIDDEN, seed=2), 1e-5),
        head_norms=(1 + 0.1 * numbers(DIM, seed=3), 1 + 0.1 * numbers(DIM, seed=4)),
        eps=1e-6,
        bias=0.1 * numbers(sum(into), seed=5) if biased else None,
        out_bias=0.1 * numbers(HIDDEN, seed=6).bfloat16() if biased else None,
    )


class Cache:
    """Pages of two sequences."""

    def __init__(self, bits: PageBits) -> None:
        self.layout = PageFormat(KEY_HEADS, DIM, bits)
        self.pages = self.layout.empty(8)
        self.tables = torch.tensor([[5, 1, 7, 2], [0, 6, 3, 4]], dtype=torch.int32)
        self.held = [0, 0]

    def step(self, counts: tuple[int, ...]) -> PagedPass:
        rows = list(zip(self.tables, counts, self.held, strict=True))
        self.held = [held + count for _, count, held in rows]
        return PagedPass(self.layout, HEADS, [Stretch(self.pages, *row) for row in rows])


def turns(tokens: int) -> Tensor:
    angles = numbers(tokens, DIM // 2, seed=7)
    return torch.cat((angles.cos(), angles.sin()), dim=1)


@pytest.mark.usefixtures("variant")
@pytest.mark.parametrize("biased", [False, True], ids=["plain", "biased"])
@pytest.mark.parametrize("page_bits", [8, 16])
@pytest.mark.parametrize("bits", [4, 8, 16])
def test_one_call_is_bit_by_bit_what_six_are(bits: Bits, page_bits: PageBits, biased: bool) -> None:
    one = Layer(layer(bits, biased=biased))
    caches = Cache(page_bits), Cache(page_bits)
    for step, counts in enumerate(PASSES):
        tokens = sum(counts)
        x = numbers(tokens, HIDDEN, seed=10 + step)
        got = one(x.clone(), caches[0].step(counts), turns(tokens))
        wanted = one._one_by_one(x.clone(), caches[1].step(counts), turns(tokens))
        assert torch.equal(got, wanted)
        assert torch.equal(caches[0].pages, caches[1].pages)
        assert not torch.equal(got, x)


def test_it_is_the_layer_of_plain_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """With weights and pages in bfloat16, of which few tokens are rounded no further: then the
    order of sums is all that differs, and where a key falls to the other side of its rounding."""
    one = Layer(layer(16, biased=True))
    caches = Cache(16), Cache(16)
    for counts in PASSES[:2]:
        x, turned = numbers(sum(counts), HIDDEN, seed=9), turns(sum(counts))
        got = one(x.clone(), caches[0].step(counts), turned)
        with monkeypatch.context() as without:
            without.setattr(native, "kernels_for", lambda *_: None)
            wanted = one(x.clone(), caches[1].step(counts), turned)
        assert (got - wanted).abs().max() < 1e-3 * wanted.abs().max()


def test_a_bias_of_zeros_changes_nothing() -> None:
    parts = layer(4)
    one = Layer(replace(parts, out_bias=torch.zeros(HIDDEN, dtype=torch.bfloat16)))
    x = numbers(3, HIDDEN, seed=1)
    same = Layer(parts)(x.clone(), Cache(8).step((2, 1)), turns(3))
    assert torch.equal(one(x.clone(), Cache(8).step((2, 1)), turns(3)), same)

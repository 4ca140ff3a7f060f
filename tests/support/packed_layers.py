"""Small layers with packed weights, and pages of two sequences for them."""

from __future__ import annotations

import torch
from torch import Tensor

from qwen3_vl.ops.layers import LayerParts
from qwen3_vl.ops.packed import Bits, pack
from qwen3_vl.ops.pages import PageBits, PagedPass, PageFormat, Stretch
from qwen3_vl.ops.products import Finish, Norm, Packed, Product

HIDDEN, INNER, HEADS, KEY_HEADS, DIM = 192, 288, 4, 2, 64


def numbers(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def product(bits: Bits, inputs: int, *outputs: int, finish: Finish = "store") -> Product:
    matrices = [numbers(rows, inputs, seed=rows + inputs) / inputs**0.5 for rows in outputs]
    packed = [Packed(pack(one, bits), len(one), inputs, bits) for one in matrices]
    return Product(*packed, finish=finish)


def layer(bits: Bits, *, biased: bool = False) -> LayerParts:
    """One of the decoder."""
    into = HEADS * DIM, KEY_HEADS * DIM, KEY_HEADS * DIM
    biases = 0.1 * numbers(sum(into), seed=5), 0.1 * numbers(HIDDEN, seed=6).bfloat16(), None, None
    return LayerParts(
        into=product(bits, HIDDEN, *into),
        out=product(bits, HEADS * DIM, HIDDEN, finish="add"),
        first=product(bits, HIDDEN, INNER, INNER, finish="gate"),
        second=product(bits, INNER, HIDDEN, finish="add"),
        before_attention=Norm(1 + 0.1 * numbers(HIDDEN, seed=1), 1e-6),
        before_mlp=Norm(1 + 0.1 * numbers(HIDDEN, seed=2), 1e-5),
        head_norms=(1 + 0.1 * numbers(DIM, seed=3), 1 + 0.1 * numbers(DIM, seed=4)),
        eps=1e-6,
        biases=biases if biased else (None, None, None, None),
    )


def block(bits: Bits) -> LayerParts:
    """One of the vision tower: every token sees every other, and there are biases."""
    before_attention, before_mlp = (
        Norm(1 + 0.1 * numbers(HIDDEN, seed=one), 1e-6, 0.1 * numbers(HIDDEN, seed=one + 1))
        for one in (1, 3)
    )
    outputs = (HEADS + 2 * KEY_HEADS) * DIM, HIDDEN, INNER, HIDDEN
    into, out, first, second = (0.1 * numbers(one, seed=5 + one) for one in outputs)
    return LayerParts(
        into=product(bits, HIDDEN, outputs[0]),
        out=product(bits, HEADS * DIM, HIDDEN, finish="add"),
        first=product(bits, HIDDEN, INNER, finish="gelu"),
        second=product(bits, INNER, HIDDEN, finish="add"),
        before_attention=before_attention,
        before_mlp=before_mlp,
        biases=(into, out, first.bfloat16(), second),
        causal=False,
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

"""A decoder layer whose weights are packed, over new tokens that attend in pages: one native call.

The meaning is that of its products and of attention in pages, one after the other.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from qwen3_vl.ops import native
from qwen3_vl.ops.pages import PagedPass, Turning
from qwen3_vl.ops.products import Norm, Product


@dataclass(frozen=True)
class LayerParts:
    """What a layer is made of."""

    into: Product
    """Queries, keys and values side by side."""
    out: Product
    gate: Product
    down: Product
    before_attention: Norm
    before_mlp: Norm
    head_norms: tuple[Tensor, Tensor]
    """RMSNorm's weights for each head of queries and of keys."""
    eps: float
    bias: Tensor | None = None
    """Of `into`, in float32."""
    out_bias: Tensor | None = None


class Layer:
    """Runs one; its parts stay where they are as long as it is used."""

    def __init__(self, parts: LayerParts) -> None:
        self.parts = parts
        # As kernels read it; held, for they are told the address alone.
        self._out_bias = None if parts.out_bias is None else parts.out_bias.float()
        norms = parts.before_attention, parts.before_mlp
        q_norm, k_norm = parts.head_norms
        self._native = native.layer(
            [one.joined for one in (parts.into, parts.out, parts.gate, parts.down)],
            [(norm.weight.data_ptr(), norm.eps) for norm in norms],
            (q_norm.data_ptr(), k_norm.data_ptr(), parts.eps),
            [0 if one is None else one.data_ptr() for one in (parts.bias, self._out_bias)],
        )

    def __call__(self, stream: Tensor, pages: PagedPass, turns: Tensor) -> Tensor:
        """Add to `stream` [tokens, hidden] in float32 what attention and the MLP make of it.

        `turns` [tokens, dim] are the cosines of half the dimensions of a head, then the sines.
        """
        kernels = native.kernels_for(stream, turns)
        if kernels is None or self._native is None:
            return self._one_by_one(stream, pages, turns)
        room = torch.empty(self._native.room(len(stream)))
        kernels.run_layer(
            *pages.described,
            self._native,
            turns.data_ptr(),
            len(stream),
            stream.data_ptr(),
            room.data_ptr(),
        )
        return stream

    def _one_by_one(self, stream: Tensor, pages: PagedPass, turns: Tensor) -> Tensor:
        parts = self.parts
        qkv = parts.into(stream, parts.before_attention, parts.bias)
        turning = Turning(turns, parts.head_norms, parts.eps)
        q = pages.remember(qkv.unflatten(1, (-1, turns.shape[1])), turning)
        parts.out(pages.attend(q).flatten(1), bias=parts.out_bias, out=stream)
        return parts.down(parts.gate(stream, parts.before_mlp), out=stream)

"""A layer whose weights are packed, over new tokens that attend in pages: one native call.

It is one of the decoder, or a block of the vision tower. The meaning is that of its products and of
attention in pages, one after the other.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from qwen3_vl.ops import native
from qwen3_vl.ops.pages import PagedPass, Turning
from qwen3_vl.ops.products import Norm, Product

Biases = tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None]


@dataclass(frozen=True)
class LayerParts:
    """What a layer is made of; biases are those of its four products."""

    into: Product
    """Queries, keys and values side by side."""
    out: Product
    first: Product
    second: Product
    before_attention: Norm
    before_mlp: Norm
    head_norms: tuple[Tensor, Tensor] | None = None
    """RMSNorm's weights for each head of queries and of keys."""
    eps: float = 0.0
    biases: Biases = (None, None, None, None)
    causal: bool = True


class Room(threading.local):
    """Memory that layers work in one after the other, each thread's layers in its own.

    It is kept: large blocks that come and go cost the system time, or a heap its order.
    """

    def __init__(self) -> None:
        self._kept = torch.empty(0)

    def __reduce__(self) -> tuple[type[Room], tuple[()]]:
        """A copied model has a room of its own."""
        return Room, ()

    def of(self, floats: int) -> Tensor:
        """So many numbers, which the next call may overwrite."""
        if len(self._kept) < floats:
            self._kept = torch.empty(0)  # given back first
            self._kept = torch.empty(floats)
        return self._kept[:floats]


class Layer:
    """Runs one; its parts stay where they are as long as it is used."""

    def __init__(self, parts: LayerParts, room: Room) -> None:
        self.parts = parts
        self._room = room
        # As kernels read them; held, for they are told addresses alone.
        self._biases = [None if one is None else one.float() for one in parts.biases]
        q_norm, k_norm = parts.head_norms or (None, None)
        into, out, first, second = map(_at, self._biases)
        self.native = native.layer(
            [one.joined for one in (parts.into, parts.out, parts.first, parts.second)],
            [
                *(
                    (_at(norm.weight), _at(norm.bias), norm.eps)
                    for norm in (parts.before_attention, parts.before_mlp)
                ),
                (_at(q_norm), _at(k_norm), parts.eps),
            ],
            (into, out, first, second),
            causal=parts.causal,
        )
        """As kernels are told of it; None without them."""

    def __call__(self, stream: Tensor, pages: PagedPass, turns: Tensor) -> Tensor:
        """Add to `stream` [tokens, hidden] in float32 what attention and the MLP make of it.

        `turns` [tokens, dim] are the cosines of half the dimensions of a head, then the sines.
        """
        kernels = native.kernels_for(stream, turns)
        if kernels is None or self.native is None:
            return self.one_by_one(stream, pages, turns)
        kernels.run_layer(
            *pages.described(pages.rows),
            self.native,
            turns.data_ptr(),
            len(stream),
            stream.data_ptr(),
            self._room.of(self.native.room(len(stream))).data_ptr(),
        )
        return stream

    def around(self, stream: Tensor, attend: Callable[[Tensor], Tensor]) -> Tensor:
        """The same where `attend` makes of the projections what the tokens see, [tokens, …]."""
        parts = self.parts
        into, out, first, second = self._biases
        seen = attend(parts.into(stream, parts.before_attention, into))
        parts.out(seen, bias=out, out=stream)
        return parts.second(parts.first(stream, parts.before_mlp, first), bias=second, out=stream)

    def one_by_one(self, stream: Tensor, pages: PagedPass, turns: Tensor) -> Tensor:
        """The same in four products, and what tokens do in pages between them."""
        turning = Turning(turns, self.parts.head_norms, self.parts.eps)

        def attend(qkv: Tensor) -> Tensor:
            q = pages.remember(qkv.unflatten(1, (-1, turns.shape[1])), turning)
            return pages.attend(q, causal=self.parts.causal).flatten(1)

        return self.around(stream, attend)


def _at(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()

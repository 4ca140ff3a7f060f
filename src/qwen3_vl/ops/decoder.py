"""All layers of a decoder over a few new tokens that attend in pages: one native call.

The meaning is that of its layers, one after the other, of the angles before them and of the norm
after them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from qwen3_vl.ops import native
from qwen3_vl.ops.layers import Layer, Room
from qwen3_vl.ops.pages import PagedPass, together
from qwen3_vl.ops.products import Norm
from qwen3_vl.ops.rms_norm import rms_norm
from qwen3_vl.ops.rotation import Angles, Rotation


class Decoder:
    """Runs all layers; its parts stay where they are as long as it is used."""

    def __init__(self, layers: Sequence[Layer], rotation: Rotation, norm: Norm, room: Room) -> None:
        """The weights of the `norm` are in the dtype of the model."""
        self._layers = tuple(layers)
        self._rotation = rotation
        self._norm = norm
        self._room = room
        dtype = norm.weight.dtype
        self._native = None
        if dtype in (torch.float32, torch.bfloat16):
            self._native = native.decoder(
                [one.native for one in layers],
                rotation.addresses,
                (norm.weight.data_ptr(), norm.eps),
                is_bf16=dtype == torch.bfloat16,
            )

    def __call__(self, x: Tensor, passes: Sequence[PagedPass], positions: Tensor) -> Tensor:
        """Put in the place of embeddings `x` [tokens, hidden] what leaves the norm.

        Each layer has its pass through pages, all of one format. `positions` are [3, tokens].
        """
        kernels = native.kernels_for(x, positions)
        if kernels is None or self._native is None or positions.dtype != torch.int64:
            return self._one_by_one(x, passes, positions)
        rows, places = together(passes), positions.T.contiguous()
        kernels.run_decoder(
            *passes[0].described(rows),
            self._native,
            places.data_ptr(),
            len(x),
            x.data_ptr(),
            self._room.of(self._native.room(len(x))).data_ptr(),
        )
        return x

    def _one_by_one(self, x: Tensor, passes: Sequence[PagedPass], positions: Tensor) -> Tensor:
        turns, stream = Angles(self._rotation, positions, x.dtype).turns, x.float()
        for layer, pages in zip(self._layers, passes, strict=True):
            stream = layer.one_by_one(stream, pages, turns)
        return x.copy_(rms_norm(stream.to(x.dtype), self._norm.weight, self._norm.eps))

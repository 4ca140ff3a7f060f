"""A decoder over a few words that attend in pages, from table to norm or head: one native call.

The meaning is that of its layers, one after the other, of the rows and angles before them and of
the norm and the head after them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from qwen3_vl.ops import native
from qwen3_vl.ops.head import Head
from qwen3_vl.ops.layers import Layer, Room
from qwen3_vl.ops.pages import PagedPass, together
from qwen3_vl.ops.products import Norm
from qwen3_vl.ops.rms_norm import rms_norm
from qwen3_vl.ops.rotation import Angles, Rotation


class Decoder:
    """Runs all layers; its parts stay where they are as long as it is used."""

    def __init__(
        self, table: Tensor, layers: Sequence[Layer], rotation: Rotation, norm: Norm, room: Room
    ) -> None:
        """The `table` [words, hidden] and the weights of the `norm` are in the model's dtype."""
        self._table = table
        self._layers = tuple(layers)
        self._rotation = rotation
        self._norm = norm
        self._room = room
        self._native = None
        if native.keepable(table):
            self._native = native.decoder(
                [one.native for one in layers],
                rotation.addresses,
                table,
                (norm.weight.data_ptr(), norm.eps),
                is_bf16=table.dtype == torch.bfloat16,
            )

    def __call__(
        self,
        words: Tensor,
        passes: Sequence[PagedPass],
        positions: Tensor,
        head: Head | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """What leaves the norm [tokens, hidden] when these `words` [tokens] of the table come in.

        With a `head` also what it scores. Each layer has its pass through pages, all of one format.
        `positions` are [3, tokens].
        """
        kernels = native.kernels_for(words, positions)
        if kernels is None or self._native is None or positions.dtype != torch.int64:
            hidden = self._one_by_one(words, passes, positions)
            return hidden, head(hidden) if head else None
        rows, words, count = together(passes), words.long().contiguous(), len(words)
        out = self._table.new_empty(count, self._table.shape[1])
        scored = head.native if head else None
        logits = torch.empty(count, head.words) if head and scored else None
        kernels.run_decoder(
            *passes[0].described(rows),
            self._native,
            words.data_ptr(),
            native.strided(positions),
            count,
            out.data_ptr(),
            scored,
            0 if logits is None else logits.data_ptr(),
            self._room.of(self._native.room(count)).data_ptr(),
        )
        return out, logits

    def _one_by_one(self, words: Tensor, passes: Sequence[PagedPass], positions: Tensor) -> Tensor:
        x = F.embedding(words, self._table)
        turns, stream = Angles(self._rotation, positions, x.dtype).turns, x.float()
        for layer, pages in zip(self._layers, passes, strict=True):
            stream = layer.one_by_one(stream, pages, turns)
        return rms_norm(stream.to(x.dtype), self._norm.weight, self._norm.eps)

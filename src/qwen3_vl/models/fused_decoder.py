"""A decoder whose weights are packed: one native call for a few words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from qwen3_vl.models.fused_layer import FusedLayer, LayerSteps
from qwen3_vl.models.packed_parts import PackedParts
from qwen3_vl.models.positions import Qwen3VLRotaryEmbedding
from qwen3_vl.models.text import RMSNorm
from qwen3_vl.ops.decoder import Decoder
from qwen3_vl.ops.layers import Room
from qwen3_vl.ops.pages import PagedPass
from qwen3_vl.ops.products import Norm
from qwen3_vl.seams import CacheView, Scoring

_FEW = 64
"""Tokens: they pass all layers in less time than anybody would want to break off."""


class FusedDecoder:
    """Looks words up, and runs layers between which nothing happens, norm and head, in one call.

    Weights drive all else out of the caches: whatever Python does between two layers, and each
    operation of torch before them, takes ten times as long as in a loop of its own.
    """

    def __init__(
        self,
        layers: Sequence[FusedLayer],
        rotary: Qwen3VLRotaryEmbedding,
        norm: RMSNorm,
        room: Room,
    ) -> None:
        self._layers = layers
        self._rotary, self._norm, self._room = rotary, norm, room
        self._prepared: _Prepared | None = None

    def __call__(
        self,
        words: Tensor,
        table: nn.Module,
        positions: Tensor,
        view: CacheView,
        scoring: Scoring | None = None,
    ) -> Tensor | None:
        """What the head scores; None, and nothing is done, if it cannot.

        Where the head is packed, `scoring` is told the logits: they come out of the same call.
        """
        few = len(words) <= _FEW and words.is_cpu and not torch.is_grad_enabled()
        if not few or type(table) is not nn.Embedding:
            return None
        prepared = self._prepared  # looked at once: another thread may make it anew
        if prepared is None or not prepared.stands(table, self._norm):
            self._prepared = prepared = self._prepare(table.weight.detach())
        if prepared is None:
            return None
        passes: list[PagedPass] = []
        for steps in prepared.every:
            pages = steps.pages(view)
            if pages is None:
                return None  # told by the first: so far nothing has happened
            passes.append(pages)
        head = scoring.call if scoring else None
        hidden, logits = prepared.decoder(words, passes, positions, head)
        if scoring and logits is not None:
            scoring.note(hidden, logits)
        return hidden

    def _prepare(self, table: Tensor) -> _Prepared | None:
        every = [steps for one in self._layers if (steps := one.steps()) is not None]
        norm = self._norm.weight.detach()
        if len(every) < len(self._layers) or table.dtype != norm.dtype:
            return None
        layers, last = [steps.layer for steps in every], Norm(norm, self._norm.eps)
        decoder = Decoder(table, layers, self._rotary.rotation, last, self._room)
        parts = PackedParts([place for steps in every for place in steps.parts.places])
        return _Prepared(every, parts, table, norm, decoder)


@dataclass(frozen=True)
class _Prepared:
    every: list[LayerSteps]
    parts: PackedParts
    table: Tensor
    norm: Tensor
    decoder: Decoder

    def stands(self, table: nn.Embedding, norm: RMSNorm) -> bool:
        """Whether all weights are where they were."""
        return (
            self.parts.stand
            and self.table.data_ptr() == table.weight.data_ptr()
            and self.norm.data_ptr() == norm.weight.data_ptr()
        )

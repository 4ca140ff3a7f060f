"""Where vision meets text: features replace placeholders, DeepStack adds to the first layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from qwen3_vl.errors import InputError
from qwen3_vl.models.vision import VisualFeatures


@dataclass(frozen=True)
class Fused:
    """What the decoder starts from."""

    embeddings: Tensor
    """[tokens, hidden]"""
    places: Tensor
    """[visual tokens]: which tokens are visual."""
    deepstack: tuple[Tensor, ...]
    """One [visual tokens, hidden] for each of the first decoder layers."""

    def add_deepstack(self, layer: int, x: Tensor) -> Tensor:
        """What leaves this layer: at visual places, with the tap for this layer added."""
        if layer >= len(self.deepstack):
            return x
        return x.index_add(0, self.places, self.deepstack[layer].to(x.dtype))


def fuse(ids: Tensor, embeddings: Tensor, features: Mapping[int, VisualFeatures]) -> Fused:
    """Put the features of each placeholder id into the embeddings of `ids` [tokens], in order."""
    places: list[Tensor] = []
    for token, visual in features.items():
        place = (ids == token).nonzero().squeeze(1)
        if len(place) != len(visual.tokens):
            raise InputError(
                f"the text has {len(place)} placeholders of id {token} but the pictures give "
                f"{len(visual.tokens)} features; let the processor make both together"
            )
        embeddings = embeddings.index_copy(0, place, visual.tokens.to(embeddings.dtype))
        places.append(place)
    taps = zip(*(visual.deepstack for visual in features.values()), strict=True)
    return Fused(
        embeddings,
        torch.cat(places) if places else ids.new_empty(0),
        tuple(torch.cat(tap) for tap in taps),
    )

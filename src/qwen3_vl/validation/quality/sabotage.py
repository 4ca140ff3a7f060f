"""Six ways to break a model, each a mistake that is really made: an evaluation must see them all.

Each gives a broken model that shares its weights with the whole one, which stays as it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from qwen3_vl.models.cache import DenseCache, PlainStore
from qwen3_vl.models.packing import Packing
from qwen3_vl.models.qwen3_vl import Qwen3VLForConditionalGeneration, Qwen3VLModel
from qwen3_vl.models.vision import Pictures, VisualFeatures
from qwen3_vl.ops.rounding import quantise, restore

Model = Qwen3VLForConditionalGeneration


def random_eviction(model: Model) -> Model:
    """Every eviction drops a random half of the tokens."""
    return model.with_seams(replace(model.seams, retain=(*model.seams.retain, RandomHalf())))


def two_bit_keys(model: Model) -> Model:
    """Keys are rounded to 2 bits, with one scale for each head of each token."""
    return model.with_seams(replace(model.seams, kv_format=TwoBitKeys()))


def dropped_visual_tokens(model: Model) -> Model:
    """Of each picture a random fifth of the tokens is left; of the rest, only the mean."""
    return model.with_seams(replace(model.seams, reduce=(*model.seams.reduce, RandomFifth())))


def wrong_rope_delta(model: Model) -> Model:
    """What follows a picture stands as far behind it as if all its tokens counted."""
    return _misplacing(model, _CountingEveryToken)


def flat_positions(model: Model) -> Model:
    """Each token stands one behind the token before it, also in pictures: plain 1-D positions."""
    return _misplacing(model, _Flat)


def dropped_deepstack(model: Model) -> Model:
    """Pictures enter with the embeddings alone."""
    broken = model.with_seams(model.seams)
    broken.model.visual.register_forward_hook(_without_deepstack)
    return broken


SABOTAGES: Mapping[str, Callable[[Model], Model]] = {
    one.__name__: one
    for one in (
        random_eviction,
        two_bit_keys,
        dropped_visual_tokens,
        wrong_rope_delta,
        flat_positions,
        dropped_deepstack,
    )
}


@dataclass(frozen=True)
class RandomHalf:
    """Retains a half by lot; what has been drawn once may be dropped the next time."""

    seed: int = 0

    @property
    def observed(self) -> int:
        """It looks at no query."""
        return 0

    def kept(self, length: int) -> int:
        """The larger half."""
        return math.ceil(length / 2)

    def score(self, k: Tensor, v: Tensor, queries: Tensor) -> Tensor:  # noqa: ARG002
        """Random numbers, another one for each head."""
        return _random((k.shape[1], len(k)), self.seed + len(k), k.device)


class TwoBitKeys:
    """Makes stores whose keys are rounded."""

    def store(self) -> RoundedKeys:
        """An empty store."""
        return RoundedKeys()


class RoundedKeys(PlainStore):
    """Keys as 2 bits can tell them, values whole. It takes the room of whole keys."""

    def append(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Round the new keys, then keep them."""
        return super().append(restore(*quantise(k, bits=2), k.dtype), v)


@dataclass(frozen=True)
class RandomFifth:
    """Leaves a fifth of a picture's tokens, drawn by lot, and the mean of the others."""

    seed: int = 0

    def groups(self, tokens: Tensor, text: Tensor) -> Tensor:  # noqa: ARG002
        """A number of its own for each token that stays, one for all others."""
        left = math.ceil(len(tokens) / 5)
        order = _random((len(tokens),), self.seed + len(tokens), tokens.device).argsort()
        group = torch.full_like(order, left)
        group[order[:left]] = torch.arange(left, device=order.device)
        return group


class _Misplacing(Qwen3VLModel):
    """The same pass at other positions; those that are given follow from earlier wrong ones."""

    def run(
        self,
        input_ids: Tensor,
        packing: Packing,
        pictures: Pictures,
        position_ids: Tensor | None = None,
        cache: DenseCache | None = None,
        watch: Callable[[Tensor], None] | None = None,
    ) -> Tensor:
        """Hidden states, as those of the whole model would be elsewhere."""
        if position_ids is None:
            starts = cache.positions if cache else [0] * len(input_ids)
            wrong = self.wrong(input_ids, packing.mask.long(), pictures)
            position_ids = wrong + torch.tensor(starts, device=wrong.device).unsqueeze(1)
        return super().run(input_ids, packing, pictures, position_ids, cache, watch)

    def wrong(self, input_ids: Tensor, mask: Tensor, pictures: Pictures) -> Tensor:
        """Positions [3, rows, tokens], counted from the first token."""
        raise NotImplementedError


class _CountingEveryToken(_Misplacing):
    """Takes the place of a token that follows a picture for its position."""

    def wrong(self, input_ids: Tensor, mask: Tensor, pictures: Pictures) -> Tensor:
        """Right within the pictures, too far after them."""
        grids = pictures.image_grid_thw, pictures.video_grid_thw
        right, _ = self.get_rope_index(input_ids, *grids, mask)
        config = self.config
        visual = (input_ids == config.image_token_id) | (input_ids == config.video_token_id)
        behind = (mask.cumsum(dim=1) - 1 - right[0]).masked_fill(visual, 0)
        return right + behind.cummax(dim=1).values


class _Flat(_Misplacing):
    """Knows no rows, columns or times."""

    def wrong(self, input_ids: Tensor, mask: Tensor, pictures: Pictures) -> Tensor:  # noqa: ARG002
        """The same number on all three axes."""
        return (mask.cumsum(dim=1) - 1).clamp(min=0).expand(3, -1, -1)


def _misplacing(model: Model, kind: type[_Misplacing]) -> Model:
    broken = model.with_seams(model.seams)
    broken.model.__class__ = kind  # the same modules; one method is another
    return broken


def _without_deepstack(_module: Any, _inputs: Any, features: VisualFeatures) -> VisualFeatures:
    return replace(features, deepstack=())


def _random(shape: tuple[int, ...], seed: int, device: torch.device) -> Tensor:
    """The same numbers on every device."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)).to(device)

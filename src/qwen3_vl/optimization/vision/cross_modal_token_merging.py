"""Visual tokens that look alike become one; those that the text speaks of are spared."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from qwen3_vl.errors import ConfigError
from qwen3_vl.plan import Guarantee, Neutral, Plan

_PER_ROUND = 0.125
"""Of the tokens that are there at most this share merges at once, so that only close ones do."""


@dataclass(frozen=True)
class CrossModalTokenMerging:
    """Merging of visual tokens, led by the text.

    Paper: ToMe, arXiv:2210.09461, of which the bipartite matching is taken; the text's say is ours
    Seam: reduce
    Gives: fewer tokens for the decoder: less time to the first token and a smaller cache
    Costs: fine detail; the vision tower still sees every patch; a merged token weighs as one
    Avoid: for text in pictures, counting and small things; a smaller picture also saves the tower
    """

    guarantee: ClassVar[Guarantee] = Neutral({"keep": 1.0})

    keep: float = 0.5
    """The share of each picture's tokens that is left."""
    guidance: float = 0.5
    """How much likeness to a word of the text speaks against merging; 0: the text has no say."""

    def __post_init__(self) -> None:
        if not 0 < self.keep <= 1:
            raise ConfigError("keep must be above 0 and at most 1")
        if not (math.isfinite(self.guidance) and self.guidance >= 0):
            raise ConfigError("guidance must be 0 or more")

    def apply(self, plan: Plan) -> Plan:
        """Merge the tokens of each picture before the decoder."""
        return plan.answer(self, reduce=self)

    def groups(self, tokens: Tensor, text: Tensor) -> Tensor:
        """Merge the most alike of two halves, round after round, until few enough are left."""
        group = torch.arange(len(tokens), device=tokens.device)
        wanted = max(1, math.ceil(self.keep * len(tokens)))
        means, sizes = tokens.float(), tokens.new_ones(len(tokens), dtype=torch.float32)
        worth = self.guidance * _likeness(means, text.float())
        while len(means) > wanted:
            count = min(len(means) - wanted, max(1, int(_PER_ROUND * len(means))))
            into = _matched(means, worth, count)
            _, into = into.unique(return_inverse=True)
            group = into[group]
            left = int(into.max()) + 1
            sums = means.new_zeros(left, means.shape[1])
            sums.index_add_(0, into, means * sizes.unsqueeze(1))
            sizes = sizes.new_zeros(left).index_add_(0, into, sizes)
            means = sums / sizes.unsqueeze(1)
            worth = worth.new_zeros(left).scatter_reduce(0, into, worth, "amax")
        return group


def _likeness(tokens: Tensor, text: Tensor) -> Tensor:
    """How much each token is like the word that it is most like: from 0 to 1 within the picture."""
    if not len(text):
        return tokens.new_zeros(len(tokens))
    cosine = F.normalize(tokens, dim=-1) @ F.normalize(text, dim=-1).T
    best = cosine.amax(dim=1)
    low, high = best.aminmax()
    return (best - low) / (high - low).clamp(min=torch.finfo(best.dtype).eps)


def _matched(tokens: Tensor, worth: Tensor, count: int) -> Tensor:
    """For each token the one it goes into: itself, but for `count` of those at even places.

    These are the ones most like some token at an odd place, less what either of them is worth.
    """
    direction = F.normalize(tokens, dim=-1)
    likeness = direction[::2] @ direction[1::2].T
    best, nearest = (likeness - torch.maximum(worth[::2, None], worth[None, 1::2])).max(dim=1)
    merged = best.topk(count).indices
    into = torch.arange(len(tokens), device=tokens.device)
    into[2 * merged] = 2 * nearest[merged] + 1
    return into

"""From logits to one token: penalties, filters, and the draw.

A vocabulary is long, and most of it is never drawn: filters leave some candidates, and what comes
after looks at these alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from qwen3_vl.ops import native
from qwen3_vl.ops.largest import largest

_AT_FIRST, _MORE = 64, 8
"""So many candidates are looked at before it is known how many there are, then times as many."""


@dataclass(frozen=True)
class Filters:
    """Which tokens may be drawn: in this order, each looks at what the one before it left."""

    top_k: int = 0
    """So many of the likeliest, and what equals the last of them; 0: all."""
    temperature: float = 1.0
    """Logits are divided by it."""
    top_p: float = 1.0
    """The likeliest that together reach this share of all odds."""
    min_p: float = 0.0
    """Those whose odds reach this share of the likeliest's."""


@dataclass(frozen=True)
class Candidates:
    """The tokens that may be drawn."""

    logits: Tensor
    """[candidates]"""
    tokens: Tensor | None = None
    """[candidates]: their ids; None: all that there are, in order."""

    def only(self, places: Tensor) -> Candidates:
        """Some of them."""
        tokens = places if self.tokens is None else self.tokens[places]
        return Candidates(self.logits[places], tokens)


def penalise(
    logits: Tensor,
    prompt: Tensor,
    answer: Sequence[int],
    *,
    repetition: float = 1.0,
    presence: float = 0.0,
    frequency: float = 0.0,
) -> Tensor:
    """Weaken tokens of `logits` [vocabulary] that stand in the prompt or in the answer so far.

    How often one stands in the prompt does not matter.
    """
    if repetition == 1.0 and not presence and not frequency:
        return logits
    said = torch.tensor(answer, dtype=torch.long, device=logits.device)
    if repetition != 1.0:
        seen = torch.cat((prompt, said)).unique()
        score = logits[seen]
        weaker = torch.where(score > 0, score / repetition, score * repetition)
        logits = logits.index_copy(0, seen, weaker)
    if presence or frequency:
        said, counts = said.unique(return_counts=True)
        logits = logits.index_add(0, said, -(presence + frequency * counts.to(logits.dtype)))
    return logits


def narrow(logits: Tensor, filters: Filters) -> Candidates:
    """The tokens of `logits` [vocabulary] that may be drawn, and their scaled logits."""
    left = Candidates(logits)
    if 0 < filters.top_k < len(logits):
        left = left.only(_first(logits, filters.top_k))
    if filters.temperature != 1.0:
        # The best logit becomes 0, so that none overflows; less than `tiny` may count as 0.
        tiny = torch.finfo(logits.dtype).tiny
        scaled = (left.logits - left.logits.max()) / max(filters.temperature, tiny)
        left = Candidates(scaled, left.tokens)
    if filters.top_p < 1.0:
        left = left.only(_likeliest(left.logits, filters.top_p))
    if filters.min_p > 0.0:
        odds = left.logits.softmax(dim=0)
        left = left.only((odds >= filters.min_p * odds.max()).nonzero().squeeze(1))
    return left


def _first(logits: Tensor, count: int) -> Tensor:
    """The places of so many largest logits, and of those that equal the last of them."""
    room = count + 1
    while True:
        places = largest(logits.unsqueeze(0), min(room, len(logits)))[0]
        found = logits[places]
        if room >= len(logits) or found[-1] < found[count - 1]:
            return places[found >= found[count - 1]]
        room *= _MORE


def _likeliest(logits: Tensor, share: float) -> Tensor:
    """The places of the largest logits that together reach this share of all odds."""
    total, room = logits.logsumexp(dim=0), _AT_FIRST
    while True:
        places = largest(logits.unsqueeze(0), min(room, len(logits)))[0]
        odds = (logits[places] - total).exp()
        likelier = odds.cumsum(dim=0) - odds
        if room >= len(logits) or likelier[-1] >= share:
            return places[(likelier < share).index_fill(0, places.new_zeros(1), value=True)]
        room *= _MORE


def draw(logits: Tensor, filters: Filters, point: float) -> int:
    """The token that a point falls to, by the odds that these filters leave of `logits`.

    `logits` are [vocabulary], the point lies above 0 and up to 1. It is the likeliest token if that
    has a logit which is no finite number.
    """
    kernels = native.kernels_for(logits)
    if kernels is not None and logits.dtype == torch.float32:
        logits = logits.contiguous()
        return kernels.draw(
            native.pool(),
            logits.data_ptr(),
            len(logits),
            filters.top_k,
            filters.temperature,
            filters.top_p,
            filters.min_p,
            point,
        )
    likeliest = largest(logits.unsqueeze(0), 1)[0, 0]
    if not logits[likeliest].isfinite():
        return int(likeliest)
    return token_at(narrow(logits, filters), point)


def token_at(candidates: Candidates, point: float) -> int:
    """The token that a point falls to where odds lie side by side from 0 to 1."""
    ends = candidates.logits.softmax(dim=0).cumsum(dim=0, dtype=torch.float64)
    place = torch.searchsorted(ends, point * ends[-1:])
    return int(place if candidates.tokens is None else candidates.tokens[place])

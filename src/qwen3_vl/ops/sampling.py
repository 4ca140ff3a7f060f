"""From logits to one token: penalties, filters, and the draw."""

from __future__ import annotations

import torch
from torch import Tensor

_NEVER = float("-inf")


def penalise(
    logits: Tensor,
    prompt: Tensor,
    answer: Tensor,
    *,
    repetition: float = 1.0,
    presence: float = 0.0,
    frequency: float = 0.0,
) -> Tensor:
    """Weaken tokens of `logits` [vocabulary] that stand in the prompt or in the answer so far."""
    if repetition != 1.0:
        seen = torch.cat((prompt, answer)).unique()
        score = logits[seen]
        weaker = torch.where(score > 0, score / repetition, score * repetition)
        logits = logits.index_copy(0, seen, weaker)
    if presence or frequency:
        counts = torch.bincount(answer, minlength=len(logits)).to(logits.dtype)
        logits = logits - presence * (counts > 0) - frequency * counts
    return logits


def narrow(
    logits: Tensor,
    *,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    min_p: float = 0.0,
) -> Tensor:
    """Scale `logits` [vocabulary] and put the tokens that must not be drawn at minus infinity.

    The filters apply in the order of the arguments, each to what the one before it left.
    """
    if temperature != 1.0:
        # The best logit becomes 0, so that none overflows; less than `tiny` may count as 0.
        tiny = torch.finfo(logits.dtype).tiny
        logits = (logits - logits.max()) / max(temperature, tiny)
    if not 0 < top_k < len(logits):
        return _narrow_by_odds(logits, top_p, min_p)
    places = (logits >= logits.topk(top_k).values[-1]).nonzero().squeeze(1)
    kept = _narrow_by_odds(logits[places], top_p, min_p)
    return torch.full_like(logits, _NEVER).index_copy(0, places, kept)


def _narrow_by_odds(logits: Tensor, top_p: float, min_p: float) -> Tensor:
    if top_p < 1.0:
        ascending, order = logits.sort()
        tail = ascending.softmax(dim=-1).cumsum(dim=-1) <= 1.0 - top_p
        tail[-1] = False
        logits = logits.index_fill(0, order[tail], _NEVER)
    if min_p > 0.0:
        odds = logits.softmax(dim=-1)
        logits = logits.masked_fill(odds < min_p * odds.max(), _NEVER)
    return logits


def draw(logits: Tensor, generator: torch.Generator) -> Tensor:
    """One token id, by the odds of `logits` [vocabulary]."""
    return torch.multinomial(logits.softmax(dim=-1), 1, generator=generator)[0]

"""From logits to one token: penalties, filters, and the draw."""

from __future__ import annotations

import torch
from torch import Tensor


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
    never = float("-inf")
    logits = logits / temperature
    if 0 < top_k < len(logits):
        logits = logits.masked_fill(logits < logits.topk(top_k).values[-1], never)
    if top_p < 1.0:
        ascending, order = logits.sort()
        tail = ascending.softmax(dim=-1).cumsum(dim=-1) <= 1.0 - top_p
        tail[-1] = False
        logits = logits.index_fill(0, order[tail], never)
    if min_p > 0.0:
        odds = logits.softmax(dim=-1)
        logits = logits.masked_fill(odds < min_p * odds.max(), never)
    return logits


def draw(logits: Tensor, generator: torch.Generator) -> Tensor:
    """One token id, by the odds of `logits` [vocabulary]."""
    return torch.multinomial(logits.softmax(dim=-1), 1, generator=generator)[0]

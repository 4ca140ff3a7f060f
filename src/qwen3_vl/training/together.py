"""Answers and views at once: the eyes go on learning while the whole model learns to answer.

What an answer needs and the tower cannot tell yet, it learns from both: the answer says that
something is missed, and a view says what.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from qwen3_vl.training.answers import AnswerBatch, Answers
from qwen3_vl.training.batches import Budget, in_batches
from qwen3_vl.training.examples import Example
from qwen3_vl.training.sight import Sight, SightBatch, Sighted

_EVERY = 3
"""With one in so many conversations comes a view."""
_BESIDE = 0.1
"""How much a view counts beside answers: it asks for much more, so its gradients are larger."""


@dataclass(frozen=True)
class Pair:
    """A conversation, and with some a view."""

    example: Example
    view: Sighted | None

    @property
    def tokens(self) -> int:
        """How many the decoder gets; of a view, none."""
        return self.example.tokens

    @property
    def patches(self) -> int:
        """How many the tower gets."""
        return self.example.patches + (self.view.patches if self.view else 0)


@dataclass(frozen=True)
class PairBatch:
    """Some pairs."""

    answers: AnswerBatch
    views: SightBatch | None

    @classmethod
    def of(cls, pairs: Sequence[Pair], next_index: int) -> PairBatch:
        """Join some; `next_index` is the first that is in no batch yet."""
        views = [pair.view for pair in pairs if pair.view]
        return cls(
            AnswerBatch.of([pair.example for pair in pairs], next_index),
            SightBatch.of(views, next_index) if views else None,
        )

    @property
    def tokens(self) -> int:
        """How many the decoder gets."""
        return self.answers.tokens

    @property
    def next_index(self) -> int:
        """The first pair that is in no batch yet."""
        return self.answers.next_index

    def to(self, device: torch.device) -> PairBatch:
        """The same on another device."""
        return PairBatch(self.answers.to(device), self.views.to(device) if self.views else None)


class Together:
    """The course: as many pairs as there are answers, with views that `sight` has not shown."""

    def __init__(self, answers: Answers, sight: Sight) -> None:
        self.module = nn.ModuleDict({"model": answers.module, "reader": sight.reader})
        self._answers, self._sight = answers, sight

    def __len__(self) -> int:
        return len(self._answers)

    def __getitem__(self, index: int) -> Pair:
        """The pair of this index, always the same."""
        number, rest = divmod(index, _EVERY)
        view = None if rest else self._sight.views[len(self._sight) + number]
        return Pair(self._answers.examples[index], view)

    def batches(self, budget: Budget, start: int = 0, workers: int = 0) -> Iterator[PairBatch]:
        """All pairs from `start` on."""
        return in_batches(self, PairBatch.of, budget, start, workers)

    def loss(self, batch: PairBatch) -> Tensor:
        """The surprise at the answers, and a share of what is not told of the views."""
        lost = self._answers.loss(batch.answers)
        return lost if batch.views is None else lost + _BESIDE * self._sight.loss(batch.views)

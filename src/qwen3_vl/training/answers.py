"""Conversations as a course: how surprised a model is at the answers that it should give."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from qwen3_vl.models.packing import Packing
from qwen3_vl.models.qwen3_vl import Qwen3VLForConditionalGeneration
from qwen3_vl.models.vision import Pictures
from qwen3_vl.training.batches import Budget, Examples, in_batches
from qwen3_vl.training.examples import Example


@dataclass(frozen=True)
class AnswerBatch:
    """Some examples, as the model takes them."""

    ids: Tensor
    """[rows, longest]"""
    packing: Packing
    weights: Tensor
    """[tokens]: how much it counts that each token is said; 0 for the first of an example."""
    pictures: Pictures
    next_index: int

    @classmethod
    def of(cls, examples: Sequence[Example], next_index: int) -> AnswerBatch:
        """Join some; `next_index` is the first that is in no batch yet."""
        longest = max(len(example.ids) for example in examples)
        ids = torch.zeros(len(examples), longest, dtype=torch.long)
        mask = torch.zeros(len(examples), longest, dtype=torch.bool)
        for row, example in enumerate(examples):
            ids[row, : len(example.ids)] = example.ids
            mask[row, : len(example.ids)] = True
        weights = torch.cat([example.weights for example in examples])
        starts = torch.tensor([0] + [len(example.ids) for example in examples[:-1]]).cumsum(0)
        weights[starts] = 0  # nothing comes before the first token of an example
        packing = Packing(mask, tuple(len(example.ids) for example in examples))
        fields = ("pixel_values", "pixel_values_videos", "image_grid_thw", "video_grid_thw")
        pictures = Pictures(*(_joined(examples, one) for one in fields))
        return cls(ids, packing, weights, pictures, next_index)

    @property
    def tokens(self) -> int:
        """How many there are."""
        return sum(self.packing.lengths)

    def to(self, device: torch.device) -> AnswerBatch:
        """The same on another device."""
        pictures = Pictures(
            *(None if one is None else one.to(device) for one in vars(self.pictures).values())
        )
        packing = Packing(self.packing.mask.to(device), self.packing.lengths)
        return AnswerBatch(
            self.ids.to(device), packing, self.weights.to(device), pictures, self.next_index
        )


def _joined(examples: Sequence[Example], field: str) -> Tensor | None:
    parts = [part for example in examples if (part := getattr(example, field)) is not None]
    return torch.cat(parts) if parts else None


class Answers:
    """The course: a model, and conversations."""

    def __init__(self, model: Qwen3VLForConditionalGeneration, examples: Examples[Example]) -> None:
        self.module = model
        self._examples = examples

    def __len__(self) -> int:
        return len(self._examples)

    def batches(self, budget: Budget, start: int = 0, workers: int = 0) -> Iterator[AnswerBatch]:
        """All examples from `start` on."""
        return in_batches(self._examples, AnswerBatch.of, budget, start, workers)

    def loss(self, batch: AnswerBatch) -> Tensor:
        """The mean surprise at the tokens that count, by their weights."""
        model = self.module
        hidden = model.model.run(batch.ids, batch.packing, batch.pictures)
        counted = batch.weights.nonzero().squeeze(1)
        logits = model.lm_head(hidden[counted - 1]).float()
        said = batch.packing.flatten(batch.ids)[counted]
        surprise = F.cross_entropy(logits, said, reduction="none")
        weights = batch.weights[counted]
        return (surprise * weights).sum() / weights.sum()

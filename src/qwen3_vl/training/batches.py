"""Examples of any length to batches of even work: one budget for text, one for pixels.

Whatever has been used is one number, the index of the next example; so a run can go on from there
and see the same batches as one that was never stopped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from qwen3_vl.errors import InputError
from qwen3_vl.models.packing import Packing
from qwen3_vl.models.vision import Pictures
from qwen3_vl.training.examples import Example


class Examples(Protocol):
    """What is learned from: each index gives always the same example."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Example: ...


@dataclass(frozen=True)
class Batch:
    """Some examples, as the model takes them."""

    ids: Tensor
    """[rows, longest]"""
    packing: Packing
    weights: Tensor
    """[tokens]: how much it counts that each token is said; 0 for the first of an example."""
    pictures: Pictures
    next_index: int
    """The first example that is in no batch yet."""

    def to(self, device: torch.device) -> Batch:
        """The same on another device."""
        pictures = Pictures(
            *(None if one is None else one.to(device) for one in vars(self.pictures).values())
        )
        packing = Packing(self.packing.mask.to(device), self.packing.lengths)
        return Batch(
            self.ids.to(device), packing, self.weights.to(device), pictures, self.next_index
        )


@dataclass(frozen=True)
class Budget:
    """The most that a batch may hold."""

    tokens: int
    patches: int


def batches(
    examples: Examples, budget: Budget, start: int = 0, workers: int = 0
) -> Iterator[Batch]:
    """All examples from `start` on, in order, as many in each batch as the budget takes."""
    rows = DataLoader(
        _From(examples, start),  # type: ignore[arg-type]
        batch_size=None,
        num_workers=workers,
        prefetch_factor=64 if workers else None,
    )
    held: list[Example] = []
    tokens = patches = 0
    for index, example in enumerate(rows, start):
        size = len(example.ids)
        if size > budget.tokens or example.patches > budget.patches:
            raise InputError(
                f"example {index} has {size} tokens and {example.patches} patches, more than a "
                f"batch may hold ({budget.tokens} and {budget.patches}); raise the budget"
            )
        tokens, patches = tokens + size, patches + example.patches
        if held and (tokens > budget.tokens or patches > budget.patches):
            yield _batch(held, index)
            held, tokens, patches = [], size, example.patches
        held.append(example)
    if held:
        yield _batch(held, len(examples))


class _From(Dataset[Example]):
    """The examples from one index on."""

    def __init__(self, examples: Examples, start: int) -> None:
        self._examples = examples
        self._start = start

    def __len__(self) -> int:
        return len(self._examples) - self._start

    def __getitem__(self, index: int) -> Example:
        return self._examples[self._start + index]


def _batch(examples: Sequence[Example], next_index: int) -> Batch:
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
    return Batch(
        ids, packing, weights, Pictures(*(_joined(examples, one) for one in fields)), next_index
    )


def _joined(examples: Sequence[Example], field: str) -> Tensor | None:
    parts = [part for example in examples if (part := getattr(example, field)) is not None]
    return torch.cat(parts) if parts else None

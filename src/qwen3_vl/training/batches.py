"""Examples of any length to batches of even work: one budget for text, one for pixels.

Whatever has been used is one number, the index of the next example; so a run can go on from there
and see the same batches as one that was never stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from torch.utils.data import DataLoader, Dataset

from qwen3_vl.errors import InputError


class Sized(Protocol):
    """What counts of an example."""

    @property
    def tokens(self) -> int:
        """How many the decoder gets."""
        ...

    @property
    def patches(self) -> int:
        """How many the vision tower gets."""
        ...


E_co = TypeVar("E_co", bound=Sized, covariant=True)
E = TypeVar("E", bound=Sized)
B = TypeVar("B")


class Examples(Protocol[E_co]):
    """What is learned from: each index gives always the same example."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> E_co: ...


@dataclass(frozen=True)
class Budget:
    """The most that a batch may hold."""

    tokens: int
    patches: int


def in_batches(
    examples: Examples[E],
    join: Callable[[Sequence[E], int], B],
    budget: Budget,
    start: int = 0,
    workers: int = 0,
) -> Iterator[B]:
    """All examples from `start` on, in order, as many in each batch as the budget takes.

    `join` makes a batch of some, and is told the index of the first that is in no batch yet.
    """
    rows = DataLoader(
        _From(examples, start),  # type: ignore[arg-type]
        batch_size=None,
        num_workers=workers,
        prefetch_factor=64 if workers else None,
    )
    held: list[E] = []
    tokens = patches = 0
    for index, example in enumerate(rows, start):
        size = example.tokens
        if size > budget.tokens or example.patches > budget.patches:
            raise InputError(
                f"example {index} has {size} tokens and {example.patches} patches, more than a "
                f"batch may hold ({budget.tokens} and {budget.patches}); raise the budget"
            )
        tokens, patches = tokens + size, patches + example.patches
        if held and (tokens > budget.tokens or patches > budget.patches):
            yield join(held, index)
            held, tokens, patches = [], size, example.patches
        held.append(example)
    if held:
        yield join(held, len(examples))


class _From(Dataset[E]):
    """The examples from one index on."""

    def __init__(self, examples: Examples[E], start: int) -> None:
        self._examples = examples
        self._start = start

    def __len__(self) -> int:
        return len(self._examples) - self._start

    def __getitem__(self, index: int) -> E:
        return self._examples[self._start + index]

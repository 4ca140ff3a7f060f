"""What an item follows from: chance, how hard it may be, and whether a model will learn from it."""

from __future__ import annotations

import random
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from PIL import Image

from qwen3_vl.validation.quality.item import Part, Turn

Split = Literal["train", "test"]
"""Items to learn from, and items to be judged by."""
Answered = tuple[str, str]
"""A question, and the right answer to it."""
T = TypeVar("T")

_KEPT_FOR_TEST = 8
"""Of the problems of a small task, one in so many is asked in the test and nowhere else."""


@dataclass(frozen=True)
class Dice:
    """Handed to a task, which makes one item from it and from nothing else."""

    rng: random.Random
    level: float = 1.0
    questions: int = 1
    split: Split = "test"

    def between(self, easy: tuple[int, int], hard: tuple[int, int]) -> int:
        """A number from a range that moves from the easy to the hard one as the level rises."""
        low, high = (
            round(at_first + (at_last - at_first) * self.level)
            for at_first, at_last in zip(easy, hard, strict=True)
        )
        return self.rng.randint(low, high)

    def one_of(self, *choices: T) -> T:
        """Any of them."""
        return self.rng.choice(choices)

    def some_of(self, choices: Sequence[T], at_most: int | None = None) -> list[T]:
        """As many different ones as questions are wanted, in any order."""
        wanted = self.questions if at_most is None else at_most
        return self.rng.sample(choices, min(wanted, len(choices)))

    def up_to(self, most: int) -> int:
        """A number of things that are asked for one by one: in the test there is one."""
        return self.rng.randint(1, min(most, self.questions)) if self.questions > 1 else 1

    def may_ask(self, problem: str) -> bool:
        """Whether a problem belongs to the split; for tasks that have few of them."""
        kept = zlib.crc32(problem.encode()) % _KEPT_FOR_TEST == 0
        return kept == (self.split == "test")


def text(words: str) -> Part:
    """Words as a part of a message."""
    return {"type": "text", "text": words}


def picture(image: Image.Image) -> Part:
    """A picture as a part of a message."""
    return {"type": "image", "image": image}


def turns(shown: Sequence[Part], asked: Sequence[Answered]) -> tuple[Turn, ...]:
    """Questions one after the other, the first together with what they are about."""
    return tuple(
        Turn((*(shown if number == 0 else ()), text(question)), answer)
        for number, (question, answer) in enumerate(asked)
    )

"""One question of the playground: pictures and words in the real chat format, and the answer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Part = Mapping[str, Any]
"""A piece of a message, as the chat format has it: {"type": "image", "image": …}, or of text."""
Kind = Literal["exact", "box", "likelihood"]
"""How an answer is judged: by its text, by how its box lies, or by how likely the right one is."""

_BOX = re.compile(r'"bbox_2d"\s*:\s*\[\s*(-?\d+)\s*,\s*(-?\d+)\s*,\s*(-?\d+)\s*,\s*(-?\d+)\s*\]')
GOOD_OVERLAP = 0.5
"""A box that shares this much of its area with the right one counts as found."""


@dataclass(frozen=True)
class Turn:
    """A message of the user, and the right answer to it."""

    content: tuple[Part, ...]
    answer: str


@dataclass(frozen=True)
class Item:
    """A conversation whose last answer is judged; the answers before it are given."""

    task: str
    turns: tuple[Turn, ...]
    kind: Kind = "exact"

    @property
    def answer(self) -> str:
        """The right one."""
        return self.turns[-1].answer

    @property
    def prompt(self) -> list[dict[str, Any]]:
        """The messages up to the last question."""
        return self.conversation[:-1]

    @property
    def conversation(self) -> list[dict[str, Any]]:
        """All messages with all answers: what a model learns from."""
        messages: list[dict[str, Any]] = []
        for turn in self.turns:
            messages += [
                {"role": "user", "content": [dict(part) for part in turn.content]},
                {"role": "assistant", "content": turn.answer},
            ]
        return messages

    def score(self, text: str) -> float:
        """1 for a right answer, else 0. What is judged by likelihood has no right text."""
        if self.kind == "box":
            given, wanted = read_box(text), read_box(self.answer)
            if given is None or wanted is None:
                return 0.0
            return float(overlap(given, wanted) >= GOOD_OVERLAP)
        return float(text.strip() == self.answer)


def read_box(text: str) -> tuple[int, int, int, int] | None:
    """The first box [left, top, right, bottom], in thousandths of the picture; None without one."""
    found = _BOX.search(text)
    if found is None:
        return None
    left, top, right, bottom = (int(number) for number in found.groups())
    return left, top, right, bottom


def overlap(one: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> float:
    """The shared area as a part of the area that both cover."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(0, width) * max(0, height)
    areas = [max(0, box[2] - box[0]) * max(0, box[3] - box[1]) for box in (one, other)]
    return shared / (sum(areas) - shared) if shared else 0.0

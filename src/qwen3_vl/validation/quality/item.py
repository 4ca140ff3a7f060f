"""One question of the playground: pictures and words in the real chat format, and the answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from qwen3_vl.processing.boxes import read_boxes

Part = Mapping[str, Any]
"""A piece of a message, as the chat format has it: {"type": "image", "image": …}, or of text."""
Kind = Literal["exact", "box", "likelihood"]
"""How an answer is judged: by its text, by how its box lies, or by how likely the right one is."""

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
            (wanted,) = read_boxes(self.answer)
            return float(any(wanted.overlap(one) >= GOOD_OVERLAP for one in read_boxes(text)[:1]))
        return float(text.strip() == self.answer)

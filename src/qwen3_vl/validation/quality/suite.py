"""All tasks of the playground, and how an item of one is made."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from qwen3_vl.validation.quality.dice import Dice, Split
from qwen3_vl.validation.quality.item import Item
from qwen3_vl.validation.quality.language import grammar
from qwen3_vl.validation.quality.objects import colour_shape, count, grounding, odd_one_out
from qwen3_vl.validation.quality.places import relation, two_questions
from qwen3_vl.validation.quality.reading import ocr, table
from qwen3_vl.validation.quality.reasoning import arithmetic, chain
from qwen3_vl.validation.quality.recall import (
    copy,
    json_edit,
    needle,
    needle_keys,
    needle_values,
    recall,
)
from qwen3_vl.validation.quality.sequences import several_images, video

VERSION = "1"
"""Rises with every change of any item, so that numbers of two versions are never compared."""
MOST_QUESTIONS = 6
"""About one picture, in training: to look costs more than to answer."""


@dataclass(frozen=True)
class Task:
    """A kind of item: what is asked, what makes it harder, and how one is made."""

    name: str
    asks: str
    knob: str
    make: Callable[[Dice], Item]
    easy: bool = False


def _named(*tasks: Task) -> Mapping[str, Task]:
    return {task.name: task for task in tasks}


TASKS = _named(
    Task(
        "colour_shape", "colour and shape of the only thing", "size, contrast", colour_shape, True
    ),
    Task("count", "how many things of a kind", "number, size, others, clutter", count),
    Task("odd_one_out", "row and column of the one that differs", "grid, size", odd_one_out),
    Task("ocr", "the text in a picture", "length, size of the letters", ocr),
    Task("table", "all lines of a receipt", "lines, size of the letters", table),
    Task("relation", "how two things lie to each other", "distance, size", relation, True),
    Task("two_questions", "one field of a grid, then another", "fields, size", two_questions),
    Task("several_images", "what is in which picture", "pictures, things", several_images),
    Task("video", "what appears when, and how long", "frames, things", video),
    Task("needle", "a code hidden in text", "length of the text", needle, True),
    Task("needle_keys", "several of many codes", "length, keys", needle_keys),
    Task("needle_values", "all codes of one key", "length, values", needle_values),
    Task("recall", "the partner of a key", "pairs", recall, True),
    Task("copy", "the same again", "length", copy, True),
    Task("json_edit", "the same JSON with one value changed", "keys", json_edit),
    Task("chain", "a digit after several steps", "steps", chain),
    Task("arithmetic", "a sum or a difference", "digits", arithmetic),
    Task("grammar", "nothing: how likely a text is", "length, clauses", grammar),
    Task("grounding", "the box around a thing", "size, others", grounding),
)


def make_item(task: str, index: int, split: Split = "test", level: float = 1.0) -> Item:
    """The item of this number, always the same; a level below 1 makes it easier."""
    rng = random.Random(f"{VERSION}/{task}/{split}/{index}")  # noqa: S311 - no secret
    questions = MOST_QUESTIONS if split == "train" else 1
    return TASKS[task].make(Dice(rng, level, questions, split))

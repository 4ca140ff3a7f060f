"""The model that ships answers what it has learned, and an evaluation sees when it is broken."""

from __future__ import annotations

from functools import cache

import pytest

from qwen3_vl import Qwen3VLInference
from qwen3_vl.validation.quality.evaluate import evaluate
from qwen3_vl.validation.quality.sabotage import SABOTAGES
from qwen3_vl.validation.quality.statistics import Verdict
from qwen3_vl.validation.quality.suite import TASKS, make_item
from qwen3_vl.validation.quality.summary import ALL_ANSWERS, summarise

ITEMS = 50
FEW = 80
RIGHT = {"colour_shape": 0.95, "copy": 0.95, "needle": 0.95, "recall": 0.95, "relation": 0.95}
"""The share of right answers of easy tasks below which something is wrong with it."""
SHOWN_BY = {
    "random_eviction": ("copy", "recall"),
    "two_bit_keys": ("copy", "recall"),
    "dropped_visual_tokens": ("ocr", "two_questions"),
    "wrong_rope_delta": ("several_images",),
    "flat_positions": ("several_images", "video"),
    "dropped_deepstack": ("relation", "several_images"),
}
"""Tasks that a way to break a model must harm."""


@cache
def shipped() -> Qwen3VLInference:
    return Qwen3VLInference.from_pretrained("embedded", dtype="float32", device_map="cpu")


def test_all_easy_tasks_are_asked() -> None:
    assert RIGHT.keys() == {name for name, task in TASKS.items() if task.easy}


@pytest.mark.parametrize("task", RIGHT)
def test_it_answers_what_it_has_learned(task: str) -> None:
    items = [make_item(task, index) for index in range(ITEMS)]
    scores = [
        item.score("".join(piece.text for piece in shipped().chat(item.prompt, max_new_tokens=64)))
        for item in items
    ]
    assert sum(scores) >= RIGHT[task] * ITEMS


@pytest.mark.parametrize("name", SABOTAGES)
def test_it_is_seen_when_it_is_broken(name: str) -> None:
    engine = shipped().engine
    tasks = SHOWN_BY[name]
    items = [make_item(task, index) for index in range(FEW // len(tasks)) for task in tasks]
    broken = SABOTAGES[name](engine.model)
    records = list(evaluate(broken, engine.model, engine.processor, items))
    summary = summarise(records)[-1]
    assert summary.name == ALL_ANSWERS
    assert summary.verdict is Verdict.INFERIOR

"""A question and its answer."""

from __future__ import annotations

import pytest

from qwen3_vl.validation.quality.item import Item, Turn


def item(answer, kind="exact"):
    first = Turn(({"type": "text", "text": "and?"},), "one")
    return Item("any", (first, Turn(({"type": "text", "text": "then?"},), answer)), kind)


@pytest.mark.parametrize(
    ("said", "score"),
    [("two", 1), (" two\n", 1), ("Two", 0), ("two.", 0), ("", 0), ("one two", 0)],
)
def test_text_is_right_or_wrong(said, score):
    assert item("two").score(said) == score


@pytest.mark.parametrize(
    ("said", "score"),
    [
        ('{"bbox_2d": [100, 100, 300, 300]}', 1),
        ('[{"bbox_2d":[100,100,300,300],"label":"star"}]', 1),
        ('```json\n{"bbox_2d": [110, 95, 310, 300]}\n```', 1),
        ('{"bbox_2d": [100, 100, 300, 200]}', 1),  # half of it
        ('{"bbox_2d": [100, 100, 300, 199]}', 0),
        ('{"bbox_2d": [400, 100, 600, 300]}', 0),
        ('{"bbox_2d": [300, 300, 100, 100]}', 0),
        ('{"bbox_2d": [100, 100, 300]}', 0),
        ("there is none", 0),
    ],
)
def test_a_box_is_right_where_it_covers_the_thing(said, score):
    assert item('{"bbox_2d": [100, 100, 300, 300]}', "box").score(said) == score


def test_the_first_box_is_judged():
    first_wrong = '{"bbox_2d": [0, 0, 9, 9]} {"bbox_2d": [100, 100, 300, 300]}'
    assert item('{"bbox_2d": [100, 100, 300, 300]}', "box").score(first_wrong) == 0


def test_the_prompt_ends_before_the_judged_answer():
    both = item("two")
    assert both.answer == "two"
    assert [message["role"] for message in both.prompt] == ["user", "assistant", "user"]
    assert both.conversation[:3] == both.prompt
    assert both.conversation[3] == {"role": "assistant", "content": "two"}

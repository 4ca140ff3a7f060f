"""Drills ask for all that is in a picture, and their answers fit each other."""

from __future__ import annotations

import json
import re
from itertools import pairwise

import pytest

from qwen3_vl.training.drills import DRILLS, make_drill
from qwen3_vl.validation.quality.drawing import COLOURS, SHAPES
from qwen3_vl.validation.quality.item import Item
from qwen3_vl.validation.quality.reading import CHARACTERS


def answers(item: Item) -> dict[str, str]:
    return {turn.content[-1]["text"]: turn.answer for turn in item.turns}


@pytest.mark.parametrize("name", DRILLS)
def test_a_number_gives_always_the_same_drill(name: str) -> None:
    for index in range(5):
        one, same = make_drill(name, index, 0.7), make_drill(name, index, 0.7)
        assert one.conversation == same.conversation
    assert answers(make_drill(name, 0, 0.7)) != answers(make_drill(name, 1, 0.7))


def test_a_page_is_lines_of_characters() -> None:
    lengths = dict.fromkeys((0.0, 1.0), 0)
    for level in lengths:
        for index in range(20):
            ((asked, text),) = answers(make_drill("page", index, level)).items()
            assert asked == "write down all text."
            assert set(text.replace("\n", "")) <= set(CHARACTERS)
            assert all(text.split("\n"))
            lengths[level] += len(text)
    assert lengths[1.0] > 2 * lengths[0.0]


def test_the_answers_about_a_scene_fit_each_other() -> None:
    for index in range(30):
        told = answers(make_drill("scene", index, 1.0))
        across = told["what is there, from left to right?"].split(", ")
        down = told["what is there, from top to bottom?"].split(", ")
        assert sorted(across) == sorted(down)
        assert all(
            colour in COLOURS and shape in SHAPES
            for colour, shape in (name.split() for name in across)
        )
        counts = {asked: int(said) for asked, said in told.items() if asked.startswith("how many")}
        assert sum(counts.values()) == len(across)
        boxes = {
            asked.removeprefix("where is the ").split("?")[0]: json.loads(said)["bbox_2d"]
            for asked, said in told.items()
            if asked.startswith("where is the ")
        }
        assert all(across.count(name) == 1 for name in boxes)
        by_middle = sorted(boxes, key=lambda name: boxes[name][0] + boxes[name][2])
        for one, other in pairwise(by_middle):
            # Thousandths are rounded: those above each other may change places.
            if sum(boxes[other][::2]) - sum(boxes[one][::2]) > 4:
                assert across.index(one) < across.index(other)


def test_the_fields_of_a_grid_are_those_of_its_whole() -> None:
    for index in range(20):
        told = answers(make_drill("grid", index, 0.8))
        rows = [row.split(", ") for row in told.pop("write down the grid.").split("\n")]
        assert len({len(row) for row in rows}) == 1
        assert told
        for asked, field in told.items():
            row, column = (int(one) for one in asked if one.isdigit())
            assert rows[row - 1][column - 1] == field


def test_spots_are_tenths_of_the_picture() -> None:
    asked: set[str] = set()
    for index in range(30):
        told = answers(make_drill("spots", index, 1.0))
        asked |= {question.split(" is ")[0] for question in told}
        if (listed := told.get("what is where?")) is not None:
            assert len(told) == 1  # or the others could be read from it
            across = [int(one.split()[2]) for one in listed.split(", ")]
            assert across == sorted(across)
        else:
            assert all(len(said) == 1 and said.isdigit() for said in told.values())
    assert asked == {"what", "how far right", "how far down"}


def test_boxes_lie_in_the_picture_from_left_to_right() -> None:
    for index in range(20):
        (said,) = answers(make_drill("boxes", index, 1.0)).values()
        found = [(one["label"], one["bbox_2d"]) for one in json.loads(said)]
        assert len(found) >= 5
        for name, (left, top, right, bottom) in found:
            colour, shape = name.split()
            assert colour in COLOURS
            assert shape in SHAPES
            assert 0 <= left < right <= 1000
            assert 0 <= top < bottom <= 1000
        middles = [box[0] + box[2] for _, box in found]
        # Thousandths are rounded: those above each other may change places.
        assert all(after - before > -4 for before, after in pairwise(middles))


def test_every_step_of_a_chain_is_asked_for_and_follows_from_the_one_before() -> None:
    verbs = {"add": "+", "take": "-", "times": "*"}
    told_in = set[str]()
    for index in range(40):
        item = make_drill("steps", index, 1.0)
        text = item.turns[0].content[-1]["text"]
        told_in.add(text.split()[0])
        if text.startswith("start with"):
            parts = text.removeprefix("start with ").split("; ")
            done = [(verbs[verb], int(number)) for verb, number in map(str.split, parts[1:-1])]
            digit = int(parts[0])
            names = {f"modulo 10 after {place}?": place for place in range(1, len(done) + 1)}
        else:
            parts = text.removeprefix("modulo 10: ").split("; ")
            done = [(one.split()[3], int(one.split()[4])) for one in parts[1:-1]]
            digit = int(parts[0].removeprefix("A = "))
            names = {f"{one[0]}?": place for place, one in enumerate(parts[1:-1], 1)}
        states: list[int] = []
        for sign, number in done:
            digit = {"+": digit + number, "-": digit - number, "*": digit * number}[sign] % 10
            states.append(digit)
        asked = [turn.content[-1]["text"].rpartition("; ")[-1] for turn in item.turns]
        assert sorted(asked) == sorted(names)
        assert [turn.answer for turn in item.turns] == [
            str(states[names[one] - 1]) for one in asked
        ]
    assert told_in == {"start", "modulo"}


def test_the_codes_of_a_key_are_those_of_the_text_in_order() -> None:
    sorts: set[str] = set()
    for index in range(30):
        item = make_drill("codes", index, 1.0)
        words = item.turns[0].content[-1]["text"]
        told = re.findall(r"the code of (\w+) is (\d+)\.", words)
        asked = {question.rpartition("\n")[2]: said for question, said in answers(item).items()}
        for question, said in asked.items():
            (key,) = re.findall(r"codes? of (\w+)", question)
            values = [value for other, value in told if other == key]
            if question.startswith("give"):
                assert said == ", ".join(values)
                assert len(values) >= 2
            elif question.startswith("how many"):
                assert said == str(len(values))
            else:
                before = question.rpartition(" ")[2].rstrip("?")
                assert values[values.index(before) + 1] == said
            sorts.add(question.split()[0])
    assert sorts == {"give", "how", "what"}

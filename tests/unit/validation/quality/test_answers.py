"""Every answer is found again: from the pixels alone, or by working the question out."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from qwen3_vl.processing.boxes import read_boxes
from qwen3_vl.validation.quality.drawing import COLOURS, Thing
from qwen3_vl.validation.quality.font import text_mask
from qwen3_vl.validation.quality.language import DOMAINS
from qwen3_vl.validation.quality.objects import PLURALS
from qwen3_vl.validation.quality.places import relations
from qwen3_vl.validation.quality.suite import make_item
from tests.unit.validation.quality.reading_items import asked, images_of
from tests.unit.validation.quality.seeing import things_in

SINGULARS = {many: one for one, many in PLURALS.items()}


def items(task, number=24, split="train", level=1.0):
    return [make_item(task, index, split, level) for index in range(number)]


def test_colour_shape():
    for item in items("colour_shape", level=0.3):
        (thing,) = things_in(images_of(item)[0])
        for question, answer in asked(item):
            both = "this" in question or "and" in question
            right = thing.name if both else thing.colour if "colour" in question else thing.shape
            assert answer == right


def test_count():
    for item in items("count"):
        things = things_in(images_of(item)[0])
        for question, answer in asked(item):
            colour, many = re.findall("[a-z]+", question.removesuffix(" are there?"))[-2:]
            shapes = (thing.shape for thing in things if thing.colour == colour)
            number = sum(SINGULARS[many] in (shape, "thing") for shape in shapes)
            assert answer == str(number)


def test_odd_one_out():
    for item in items("odd_one_out"):
        things = things_in(images_of(item)[0])
        names = [thing.name for thing in things]
        (odd,) = (thing for thing in things if names.count(thing.name) == 1)
        rows, columns = (sorted({getattr(t, side) for t in things}) for side in ("top", "left"))
        (usual,) = {thing for thing in names if thing != odd.name}
        place = f"row {rows.index(odd.top) + 1}, column {columns.index(odd.left) + 1}"
        colour, shape = usual.split()
        right = {
            "what is the odd one?": odd.name,
            "what are the others?": f"{colour} {PLURALS[shape]}",
            "how many rows are there?": str(len(rows)),
            "how many columns are there?": str(len(columns)),
        }
        for question, answer in asked(item):
            assert answer == right.get(question, place)


def test_grounding():
    for item in items("grounding"):
        (image,) = images_of(item)
        things = things_in(image)
        for turn in item.turns:
            (thing,) = (one for one in things if one.name in turn.content[-1]["text"])
            (box,) = read_boxes(turn.answer)
            right, bottom = thing.left + thing.size, thing.top + thing.size
            assert box.left == pytest.approx(1000 * thing.left / image.width, abs=0.5)
            assert box.top == pytest.approx(1000 * thing.top / image.height, abs=0.5)
            assert box.right == pytest.approx(1000 * right / image.width, abs=0.5)
            assert box.bottom == pytest.approx(1000 * bottom / image.height, abs=0.5)


def test_relation():
    for item in items("relation", 40):
        things = {thing.name: thing for thing in things_in(images_of(item)[0])}
        for question, answer in asked(item):
            told = [things[name] for name in re.findall(_NAME, question)]
            assert answer == _relate(question, told, list(things.values()))


_NAME = f"(?:{'|'.join(COLOURS)}) [a-z]+"


def _relate(question, told, things):
    one, other = told[0], told[-1]
    x, y = np.subtract(one.centre, other.centre)
    others = [thing for thing in things if thing != one]
    if "nearest" in question:
        return min(others, key=lambda thing: np.hypot(*np.subtract(thing.centre, one.centre))).name
    if "what is inside" in question:
        return next(thing.name for thing in others if _inside(thing, one))
    if " or " in question:
        side = ("left" if x < 0 else "right") if "left" in question else None
        return side or ("above" if y < 0 else "below")
    truth = {"left": x < 0, "right": x > 0, "above": y < 0, "below": y > 0}
    truth["inside"] = _inside(one, other)
    (word,) = (word for word in truth if word in question)
    return "yes" if truth[word] else "no"


def _inside(one, other):
    return np.hypot(*np.subtract(one.centre, other.centre)) < other.size / 4


def test_only_what_is_clear_is_asked():
    star, ring = Thing("red", "star", 10, 10, 20), Thing("blue", "ring", 15, 60, 20)
    questions = relations([star, ring], 10)
    assert ("is the red star above the blue ring?", "yes") in questions["yes"]
    assert not any("left" in question for asked in questions.values() for question, _ in asked)


def test_two_questions():
    for item in items("two_questions"):
        (image,) = images_of(item)
        # The lines of the grid are grey, and its fields equal: things fall into one of them each.
        questions = asked(item)
        assert len({question for question, _ in questions}) == len(questions)
        things = things_in(image)
        for question, answer in questions:
            if " " in answer:
                row, column = map(int, re.findall(r"\d", question))
                same = [thing for thing in things if thing.name == answer]
                assert any(_in_field(thing, row, column, image) for thing in same)


def _in_field(thing, row, column, image):
    """Of the possible grids, one has the thing in this field."""
    x, y = thing.centre
    return any(
        int(x * columns / image.width) == column - 1 and int(y * rows / image.height) == row - 1
        for rows in (2, 3)
        for columns in (2, 3, 4)
    )


def test_several_images():
    for item in items("several_images"):
        seen = [things_in(image) for image in images_of(item)]
        for question, answer in asked(item):
            if "which image" in question:
                name = re.findall(_NAME, question)[0]
                right = [str(n) for n, things in enumerate(seen, 1) if name in map(_name, things)]
            else:
                shown = seen[int(re.findall(r"\d", question)[0]) - 1]
                word = question.removesuffix("?").split()[-1]
                right = [thing.colour for thing in shown if thing.shape == word]
                right += [thing.shape for thing in shown if thing.colour == word]
            assert right == [answer]


def _name(thing):
    return thing.name


@pytest.mark.parametrize("level", [0.2, 1.0])
def test_video(level):
    for item in items("video", level=level):
        shows = [[thing.name for thing in things_in(image)] for image in images_of(item)]
        order = list(dict.fromkeys(name for names in shows for name in names))
        assert len(shows) in (4, 6)
        for question, answer in asked(item):
            told = re.findall(_NAME, question)
            right = {
                "first": order[0],
                "last": order[-1],
                "after": told and order[(order.index(told[0]) + 1) % len(order)],
                "before": told and order[order.index(told[0]) - 1],
                "things": str(len(order)),
                "frames": str(shows.count(told)),
            }
            (word,) = (word for word in right if word in question)
            assert answer == right[word]


def _lines_of_ink(image):
    """For each line of text: how much each pixel is covered, cut close."""
    grey = np.asarray(image.convert("RGB"), float)
    ground = np.median(grey.reshape(-1, 3), axis=0)
    far = abs(grey - ground).sum(axis=2)
    cover = far / far.max()
    inked = cover.max(axis=1) > 0.05
    edges = np.flatnonzero(np.diff(np.concatenate([[False], inked, [False]]).astype(int)))
    for top, bottom in edges.reshape(-1, 2):
        line = cover[top:bottom]
        columns = np.flatnonzero(line.max(axis=0) > 0.05)
        yield line[:, columns[0] : columns[-1] + 1]


def _reads(cover, words):
    """Whether the words stand somewhere on the line."""
    for style in ("plain", "bold"):
        mask = text_mask(words, cover.shape[0], style) / 255
        columns = np.flatnonzero(mask.max(axis=0))
        mask = mask[:, columns[0] : columns[-1] + 1]
        width = mask.shape[1]
        for left in range(cover.shape[1] - width + 1):
            if abs(mask - cover[:, left : left + width]).max() < 0.08:
                return True
    return False


def test_ocr():
    for item in items("ocr", split="test", level=0.0):
        (line,) = _lines_of_ink(images_of(item)[0])
        assert _reads(line, item.answer)


def test_table():
    for item in items("table", level=0.0):
        (_, first), *others = asked(item)
        rows = [re.split("[ ,]", line) for line in first.split("\n")]
        lines = list(_lines_of_ink(images_of(item)[0]))
        assert len(lines) == len(rows)
        for line, (name, price) in zip(lines, rows, strict=True):
            assert _reads(line, name)
            assert _reads(line, price)
        for question, answer in others:
            assert [question.split()[2], answer] in rows


@pytest.mark.parametrize("task", ["needle", "needle_keys", "needle_values"])
@pytest.mark.parametrize("level", [0.0, 1.0])
def test_needles_are_in_the_text_as_often_as_claimed(task, level):
    for item in items(task, 60, level=level):
        words = asked(item)[0][0]
        codes = re.findall(r"the code of (\w\d) is (\d+)\.", words)
        for question, answer in asked(item):
            wanted = re.findall(r"[A-Z]\d", question.split("\n")[-1])
            if task == "needle_values":
                found = [value for key, value in codes if key in wanted]
                assert len(found) >= 2
            else:
                found = [value for want in wanted for key, value in codes if key == want]
                assert len(found) == len(wanted)
            assert answer == ", ".join(found)


def test_recall():
    for item in items("recall", 60):
        pairs = dict(re.findall(r"(\w\d) -> (\w\d)", asked(item)[0][0].split("\n")[0]))
        for question, answer in asked(item):
            assert pairs[question.split("\n")[-1].removesuffix(" ->")] == answer


def test_copy():
    for item in items("copy", 60):
        for question, answer in asked(item):
            assert question.split(": ")[1] == answer


def test_json_edit():
    for item in items("json_edit", 60):
        for question, answer in asked(item):
            field, value, content = re.fullmatch(r"set (\w+) to (.+?): (.*)", question).groups()
            before, after = json.loads(content), json.loads(answer)
            assert list(before) == list(after)
            assert before[field] != after[field]
            assert before | {field: json.loads(value)} == after


def test_chain():
    for item in items("chain", 60):
        for question, answer in asked(item):
            if question.startswith("start"):
                start, *steps, _ = re.split("[;?]", question)
                state = int(start.split()[-1])
                for step in steps:
                    verb, number = step.split()
                    if verb != "modulo":
                        state = _step({"add": "+", "take": "-", "times": "*"}[verb], state, number)
            else:
                state = None
                for line in question.removeprefix("modulo 10: ").split("; ")[:-1]:
                    _, _, first, *rest = line.split()
                    state = int(first) if not rest else _step(rest[0], state, rest[1])
            assert answer == str(state % 10)


def _step(sign, state, number):
    return {"+": state + int(number), "-": state - int(number), "*": state * int(number)}[sign]


def test_arithmetic():
    for item in items("arithmetic", 60):
        for question, answer in asked(item):
            one, sign, other, _ = question.split()
            assert int(answer) == _step(sign, int(one), other) >= 0


def test_grammar_agrees():
    for item in items("grammar", 60):
        (question, answer), *_ = asked(item)
        (domain,) = (domain for name, domain in DOMAINS.items() if name in question)
        assert item.kind == "likelihood"
        for sentence in answer.removesuffix(".").split(". "):
            words = sentence.split()
            subject = next(word for word in words if word.removesuffix("s") in _nouns(domain))
            many = subject.endswith("s")
            verbs = [word for word in words if word in ("is", "are") or _stem(word) in domain.acts]
            assert len(verbs) == 1
            assert verbs[0] in (
                ("are", *domain.acts) if many else ("is", *map(_third, domain.acts))
            )


def _nouns(domain):
    return domain.people + domain.things


def _stem(verb):
    return verb.removesuffix("s")


def _third(verb):
    return f"{verb}s"

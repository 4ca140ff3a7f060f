"""Exercises to learn from: full pictures, several steps, many codes, and much is asked about each.

No model is judged by them. A question of the test asks for one thing in a picture or for the end of
a chain; where everything is, or how one step follows from another, can be learned from far fewer
examples if all of it is asked for.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Mapping
from itertools import pairwise

from qwen3_vl.training.views import Line, scribble
from qwen3_vl.validation.quality.dice import Answered, Dice, picture, turns
from qwen3_vl.validation.quality.drawing import (
    COLOURS,
    SHAPES,
    Canvas,
    Thing,
    new_canvas,
    put,
)
from qwen3_vl.validation.quality.item import Item
from qwen3_vl.validation.quality.objects import PLURALS, box, draw_grid
from qwen3_vl.validation.quality.reading import CHARACTERS, STYLES
from qwen3_vl.validation.quality.reasoning import draw_walk
from qwen3_vl.validation.quality.recall import after, all_codes, draw_codes, draw_keys, in_words

_ASKED = 0.6
"""How often places are asked for by name."""


def page(dice: Dice) -> Item:
    """As many lines of characters as there is room for; harder when they are small."""
    rng = dice.rng
    canvas = new_canvas(dice)
    canvas.clutter(rng, dice.between((0, 0), (0, 6)))
    lines: list[str] = []
    top = rng.randint(3, 10)
    while len(lines) < 6:
        height, style = dice.between((26, 34), (8, 16)), rng.choice(STYLES)
        if top + height + 3 > canvas.height:
            break
        line = Line(top, height, style)
        words, _ = scribble(dice, canvas, line, CHARACTERS, most=8, margin=4)
        lines.append(words)
        top += height + rng.randint(3, 12)
    canvas.noise(rng, dice.between((0, 0), (0, 20)))
    asked = [("write down all text.", "\n".join(lines))]
    return Item("page", turns([picture(canvas.image())], asked))


def scene(dice: Dice) -> Item:
    """Things anywhere: their order across and down, how many of each, and where each lies."""
    rng = dice.rng
    canvas, things = _full_picture(dice)
    across, down = (
        ", ".join(thing.name for thing in sorted(things, key=lambda one: one.centre[axis]))
        for axis in (0, 1)
    )
    asked = [
        ("what is there, from left to right?", across),
        ("what is there, from top to bottom?", down),
    ]
    kinds = Counter((thing.colour, thing.shape) for thing in things)
    asked += [
        (f"how many {colour} {PLURALS[shape]} are there?", str(number))
        for (colour, shape), number in kinds.items()
    ]
    asked += [
        (
            f"where is the {thing.name}? answer with bbox_2d.",
            json.dumps({"bbox_2d": box(thing, canvas)}),
        )
        for thing in things
        if kinds[thing.colour, thing.shape] == 1
    ][:4]
    rng.shuffle(asked)
    return Item("scene", turns([picture(canvas.image())], asked))


def spots(dice: Dice) -> Item:
    """How far across and down things are, in tenths: all of them, or those of which there is one.

    Told beside the name a place is learned first; asked for by name, after that.
    """
    canvas, things = _full_picture(dice)
    across = sorted(things, key=lambda one: one.centre[0])
    asked = [("what is where?", ", ".join(f"{one.name} {_tenths(one, canvas)}" for one in across))]
    if dice.rng.random() < _ASKED:
        kinds = Counter(thing.name for thing in things)
        questions = [
            (f"how far {way} is the {thing.name}?", tenth)
            for thing in things
            if kinds[thing.name] == 1
            for way, tenth in zip(("right", "down"), _tenths(thing, canvas).split(), strict=True)
        ]
        asked = dice.some_of(questions) or asked
    return Item("spots", turns([picture(canvas.image())], asked))


def _tenths(thing: Thing, canvas: Canvas) -> str:
    sides = zip(thing.centre, (canvas.width, canvas.height), strict=True)
    return " ".join(str(int(10 * middle / whole)) for middle, whole in sides)


def boxes(dice: Dice) -> Item:
    """What there is from left to right, and the box around each."""
    canvas, things = _full_picture(dice)
    found = [
        {"label": thing.name, "bbox_2d": box(thing, canvas)}
        for thing in sorted(things, key=lambda one: one.centre[0])
    ]
    asked = [("where is everything? answer with bbox_2d.", json.dumps(found))]
    return Item("boxes", turns([picture(canvas.image())], asked))


def _full_picture(dice: Dice) -> tuple[Canvas, list[Thing]]:
    """Things anywhere, of few kinds."""
    rng = dice.rng
    canvas = new_canvas(dice)
    canvas.clutter(rng, dice.between((0, 0), (0, 10)))
    names = _names(dice, dice.between((2, 3), (5, 9)))
    largest = dice.between((24, 40), (10, 26))
    things = put(rng, names, [max(8, largest - rng.randint(0, 6)) for _ in names], canvas)
    for thing in things:
        canvas.draw(thing)
    canvas.noise(rng, dice.between((0, 0), (0, 20)))
    return canvas, things


def _names(dice: Dice, number: int) -> list[tuple[str, str]]:
    """Of few kinds, so that some come several times."""
    rng = dice.rng
    colours = rng.sample(list(COLOURS), rng.randint(2, 3))
    shapes = rng.sample(SHAPES, rng.randint(2, 3))
    return [(rng.choice(colours), rng.choice(shapes)) for _ in range(number)]


def grid(dice: Dice) -> Item:
    """Things in rows: what is in each field; harder when they are many and small."""
    rng = dice.rng
    rows, columns = dice.between((2, 2), (3, 5)), dice.between((2, 2), (3, 5))
    canvas = new_canvas(dice)
    size = dice.between((26, 34), (8, 18))
    drawn = _names(dice, rows * columns)
    draw_grid(rng, canvas, [drawn[row * columns :][:columns] for row in range(rows)], size)
    canvas.noise(rng, dice.between((0, 0), (0, 24)))
    fields = [" ".join(name) for name in drawn]
    written = "\n".join(", ".join(fields[row * columns :][:columns]) for row in range(rows))
    asked = [("write down the grid.", written)]
    asked += dice.some_of(
        [
            (f"what is in row {place // columns + 1}, column {place % columns + 1}?", field)
            for place, field in enumerate(fields)
        ]
    )
    return Item("grid", turns([picture(canvas.image())], asked))


def steps(dice: Dice) -> Item:
    """A digit that is changed again and again: what it is after each change, in any order.

    After the first it is learned soonest, and after the last it needs all those before.
    """
    while True:
        walk = draw_walk(dice)
        if all(dice.may_ask(whole) for whole in (walk.in_words(), walk.in_names())):
            break
    tell = dice.one_of(walk.in_words, walk.in_names)
    first, *others = dice.rng.sample(range(1, len(walk.steps) + 1), len(walk.steps))
    asked = [(tell(first), str(walk.states[first - 1]))]
    for place in others:
        question = tell(place).rpartition("; ")[-1]
        asked.append((question, str(walk.states[place - 1])))
    return Item("steps", turns([], asked))


def codes(dice: Dice) -> Item:
    """Several codes of several keys: all of a key's, how many, and which comes after which.

    In the test there is much text between them, of which a model sees little; here is none.
    """
    keys = draw_keys(dice, dice.between((2, 2), (2, 4)))
    pairs = draw_codes(dice, keys)
    lists = [all_codes(pairs, key) for key in keys]
    others: list[Answered] = []
    for key, (_, listed) in zip(keys, lists, strict=True):
        values = listed.split(", ")
        others.append((f"how many codes of {key} are there?", str(len(values))))
        if len(set(values)) == len(values):
            others += [
                (f"what code of {key} comes after {one}?", following)
                for one, following in pairwise(values)
            ]
    asked = [*lists, *dice.some_of(others, at_most=3)]
    dice.rng.shuffle(asked)
    words = " ".join(in_words(pair) for pair in pairs)
    return Item("codes", after(words, asked))


DRILLS: Mapping[str, Callable[[Dice], Item]] = {
    "page": page,
    "scene": scene,
    "grid": grid,
    "spots": spots,
    "boxes": boxes,
    "steps": steps,
    "codes": codes,
}


def make_drill(name: str, index: int, level: float) -> Item:
    """The exercise of this number, always the same; a level below 1 makes it easier."""
    rng = random.Random(f"{name}/{index}")  # noqa: S311 - no secret
    return DRILLS[name](Dice(rng, level, 6, "train"))

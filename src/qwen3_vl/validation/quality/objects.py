"""Questions about coloured shapes: what they are, how many, which one differs, and where it is."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence

from qwen3_vl.validation.quality.dice import Answered, Dice, picture, turns
from qwen3_vl.validation.quality.drawing import (
    COLOURS,
    SHAPES,
    Canvas,
    Thing,
    different_names,
    new_canvas,
    put,
)
from qwen3_vl.validation.quality.item import Item

PLURALS = {
    "circle": "circles",
    "square": "squares",
    "triangle": "triangles",
    "cross": "crosses",
    "star": "stars",
    "ring": "rings",
    "thing": "things",
}


def colour_shape(dice: Dice) -> Item:
    """One thing: its colour, its shape, or both; harder when it is small, pale and in noise."""
    canvas = new_canvas(dice)
    size = dice.between((44, 72), (18, 60))
    names = different_names(dice.rng, 1)
    (thing,) = put(dice.rng, names, [size], canvas)
    canvas.draw(thing, strength=dice.between((90, 100), (60, 90)))
    canvas.noise(dice.rng, dice.between((0, 0), (8, 40)))
    asked = dice.some_of(
        [
            (dice.one_of("what colour is it?", "name the colour."), thing.colour),
            (dice.one_of("what shape is it?", "name the shape."), thing.shape),
            (dice.one_of("what is this?", "name colour and shape."), thing.name),
        ]
    )
    return Item("colour_shape", turns([picture(canvas.image())], asked))


def count(dice: Dice) -> Item:
    """How many things of a kind are there; harder when they are many, small and among others."""
    canvas = new_canvas(dice)
    canvas.clutter(dice.rng, dice.between((0, 0), (0, 12)))
    things = counted_things(dice, canvas)
    for thing in things:
        canvas.draw(thing)
    canvas.noise(dice.rng, dice.between((0, 0), (0, 16)))
    first, *others = _counts(dice, things)
    asked = [first, *dice.some_of(others, at_most=dice.questions - 1)]
    return Item("count", turns([picture(canvas.image())], asked))


def counted_things(dice: Dice, canvas: Canvas) -> list[Thing]:
    """Some of one kind first, and then some that share its colour, its shape, or neither."""
    rng = dice.rng
    number = dice.between((1, 3), (1, 6))
    if rng.random() < 0.3 * dice.level:
        number = rng.randint(7, 9)
    colour, shape = different_names(rng, 1)[0]
    names = [(colour, shape)] * number
    for _ in range(dice.between((0, 1), (0, 6))):
        other = rng.choice([each for each in COLOURS if each != colour])
        unlike = rng.choice([each for each in SHAPES if each != shape])
        names.append(rng.choice(((other, shape), (colour, unlike), (other, unlike))))
    largest = dice.between((20, 26), (9, 14))
    sizes = [max(8, largest - rng.randint(0, 3)) for _ in names]
    return put(rng, names, sizes, canvas)


def _counts(dice: Dice, things: list[Thing]) -> list[Answered]:
    """One question for each kind that there is; the first is about the first thing's."""
    kinds = [(thing.colour, thing.shape) for thing in things]
    wanted = [kinds[0], *dict.fromkeys(kinds[1:]), *((colour, "thing") for colour, _ in kinds)]
    asked: dict[str, str] = {}
    for colour, shape in wanted:
        number = sum(thing.colour == colour and shape in (thing.shape, "thing") for thing in things)
        kind = f"{colour} {PLURALS[shape]}"
        asked.setdefault(kind, str(number))
    return [
        (dice.one_of(f"how many {kind} are there?", f"count the {kind}."), number)
        for kind, number in asked.items()
    ]


def odd_one_out(dice: Dice) -> Item:
    """A grid of equal things and one that differs; harder when they are many and small."""
    rng = dice.rng
    rows, columns = dice.between((2, 2), (3, 5)), dice.between((2, 2), (3, 5))
    canvas = new_canvas(dice)
    size = dice.between((26, 34), (8, 18))
    (colour, shape), row, column = (
        different_names(rng, 1)[0],
        rng.randrange(rows),
        rng.randrange(columns),
    )
    odd = dice.one_of(
        (rng.choice([each for each in COLOURS if each != colour]), shape),
        (colour, rng.choice([each for each in SHAPES if each != shape])),
    )
    names = [[(colour, shape)] * columns for _ in range(rows)]
    names[row][column] = odd
    draw_grid(rng, canvas, names, size)
    canvas.noise(rng, dice.between((0, 0), (0, 24)))
    first = (
        dice.one_of(
            "which one is different? give row and column.",
            "where is the odd one? give row and column.",
        ),
        f"row {row + 1}, column {column + 1}",
    )
    others = [
        ("what is the odd one?", " ".join(odd)),
        ("what are the others?", f"{colour} {PLURALS[shape]}"),
        ("how many rows are there?", str(rows)),
        ("how many columns are there?", str(columns)),
    ]
    asked = [first, *dice.some_of(others, at_most=dice.questions - 1)]
    return Item("odd_one_out", turns([picture(canvas.image())], asked))


def draw_grid(
    rng: random.Random, canvas: Canvas, names: Sequence[Sequence[tuple[str, str]]], largest: int
) -> list[Thing]:
    """Rows of things, somewhere on the canvas, in fields that are as large as there is room."""
    rows, columns = len(names), len(names[0])
    cell = min(canvas.width // columns, canvas.height // rows)
    size = min(largest, cell - 4)
    left = rng.randint(0, canvas.width - columns * cell) + (cell - size) // 2
    top = rng.randint(0, canvas.height - rows * cell) + (cell - size) // 2
    things = [
        Thing(*name, left + column * cell, top + row * cell, size)
        for row, line in enumerate(names)
        for column, name in enumerate(line)
    ]
    for thing in things:
        canvas.draw(thing)
    return things


def grounding(dice: Dice) -> Item:
    """The box around a thing; harder when it is small and among others."""
    canvas = new_canvas(dice)
    canvas.clutter(dice.rng, dice.between((0, 0), (0, 8)))
    names = different_names(dice.rng, dice.between((1, 2), (2, 5)))
    sizes = [dice.between((40, 48), (16, 36)) for _ in names]
    things = put(dice.rng, names, sizes, canvas)
    for thing in things:
        canvas.draw(thing)
    canvas.noise(dice.rng, dice.between((0, 0), (0, 16)))
    asked = [
        (
            dice.one_of(
                f"where is the {thing.name}? answer with bbox_2d.",
                f"find the {thing.name}. answer with bbox_2d.",
            ),
            json.dumps({"bbox_2d": box(thing, canvas)}),
        )
        for thing in dice.some_of(things)
    ]
    return Item("grounding", turns([picture(canvas.image())], asked), kind="box")


def box(thing: Thing, canvas: Canvas) -> list[int]:
    """Left, top, right and bottom in thousandths of the picture."""
    right, bottom = thing.left + thing.size, thing.top + thing.size
    sides = ((thing.left, canvas.width), (thing.top, canvas.height))
    ends = ((right, canvas.width), (bottom, canvas.height))
    return [round(1000 * pixel / whole) for pixel, whole in (*sides, *ends)]

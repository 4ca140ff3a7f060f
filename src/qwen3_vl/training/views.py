"""Pictures of which it is known what is where: things and letters, scattered."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count

from qwen3_vl.validation.quality.dice import Dice
from qwen3_vl.validation.quality.drawing import (
    COLOURS,
    RING_HOLE,
    SHAPES,
    Canvas,
    Thing,
    different_names,
    ink,
    new_canvas,
    put,
)
from qwen3_vl.validation.quality.font import Style, beginning, text_mask
from qwen3_vl.validation.quality.objects import counted_things, draw_grid
from qwen3_vl.validation.quality.reading import CHARACTERS, STYLES, inks

SIGNS = CHARACTERS + "."
"""What is written in a view."""
_COUNTED, _THINGS, _GRIDS = 0.2, 0.27, 0.13
"""The shares of views with things to count, with things anywhere, and with things in rows; the
others have letters."""
_HARDEST = 0.4
"""So many are as hard as a test."""
_NESTED = 0.2
"""How often a thing lies in the hole of another."""


@dataclass(frozen=True)
class Letter:
    """A character in its line."""

    sign: str
    centre: tuple[float, float]
    """In pixels from the left and from the top."""
    line: int
    place: int


@dataclass(frozen=True)
class Line:
    """Where a line of text comes to stand, and how it looks."""

    top: int
    height: int
    style: Style


@dataclass(frozen=True)
class View:
    """A picture, and all that is in it."""

    canvas: Canvas
    things: tuple[Thing, ...] = ()
    letters: tuple[Letter, ...] = ()
    columns: int | None = None
    """Of things that stand in rows; all of them are of one kind but one."""


def make_view(index: int) -> View:
    """The view of this number, always the same."""
    rng = random.Random(f"view/{index}")  # noqa: S311 - no secret
    level = 1.0 if rng.random() < _HARDEST else rng.random()
    dice = Dice(rng, level, split="train")
    canvas = new_canvas(dice)
    canvas.clutter(rng, dice.between((0, 0), (0, 12)))
    drawn = rng.random()
    if drawn < _COUNTED:
        view = View(canvas, things=tuple(_drawn(counted_things(dice, canvas), canvas)))
    elif drawn < _COUNTED + _THINGS:
        view = View(canvas, things=tuple(_scatter(dice, canvas)))
    elif drawn < _COUNTED + _THINGS + _GRIDS:
        things, columns = _lay_out(dice, canvas)
        view = View(canvas, things=tuple(things), columns=columns)
    else:
        view = View(canvas, letters=tuple(_write(dice, canvas)))
    canvas.noise(rng, dice.between((0, 0), (0, 30)))
    return view


def _scatter(dice: Dice, canvas: Canvas) -> list[Thing]:
    """As many things as there is room for; in half of the views of few kinds."""
    rng = dice.rng
    largest = dice.between((24, 44), (9, 36))
    sizes = [max(8, largest - rng.randint(0, 10)) for _ in range(dice.between((1, 4), (1, 10)))]
    names = [(rng.choice(list(COLOURS)), rng.choice(SHAPES)) for _ in sizes]
    if rng.random() < 0.5:
        few = names[: rng.randint(1, 3)]
        names = [rng.choice(few) for _ in names]
    while True:
        try:
            things = put(rng, names, sizes, canvas)
            break
        except ValueError:
            names, sizes = names[:-1], sizes[:-1]
    if rng.random() < _NESTED:
        things[:1] = _nest(rng, things[0])
    return _drawn(things, canvas, rng.randint(60, 100) if rng.random() < 0.3 else 100)


def _drawn(things: list[Thing], canvas: Canvas, strength: int = 100) -> list[Thing]:
    for thing in things:
        canvas.draw(thing, strength)
    return things


def _nest(rng: random.Random, place: Thing) -> list[Thing]:
    """A ring in the place of a thing, and if there is room another thing in its hole."""
    hull = replace(place, shape="ring")
    size = round(place.size * RING_HOLE * 0.55)
    if size < 8:
        return [hull]
    shift = (place.size - size) // 2
    name = rng.choice(list(COLOURS)), rng.choice(SHAPES[:-1])
    return [hull, Thing(*name, place.left + shift, place.top + shift, size)]


def _lay_out(dice: Dice, canvas: Canvas) -> tuple[list[Thing], int]:
    """Rows of things of one kind, but for one; and how many columns they have."""
    rng = dice.rng
    rows, columns = dice.between((2, 2), (3, 5)), dice.between((2, 2), (3, 5))
    kind, odd = different_names(rng, 2)
    names = [[kind] * columns for _ in range(rows)]
    names[rng.randrange(rows)][rng.randrange(columns)] = odd
    return draw_grid(rng, canvas, names, dice.between((26, 34), (8, 18))), columns


def _write(dice: Dice, canvas: Canvas) -> Iterator[Letter]:
    """Lines of characters from top to bottom."""
    rng = dice.rng
    top = rng.randint(2, 10)
    for line in count():
        height, style = dice.between((20, 34), (8, 16)), rng.choice(STYLES)
        if top + height + 2 > canvas.height:
            return
        words, left = scribble(dice, canvas, Line(top, height, style), SIGNS, most=14, margin=2)
        for place, middle in enumerate(_middles(words, height, style)):
            yield Letter(words[place], (left + middle, top + height / 2), line, place)
        top += height + rng.randint(2, 24)


def scribble(
    dice: Dice, canvas: Canvas, line: Line, signs: str, *, most: int, margin: int
) -> tuple[str, int]:
    """Write two or more signs, at most so many; tell which, and how far from the left."""
    rng = dice.rng
    words = "".join(rng.choices(signs, k=rng.randint(2, most)))
    words = beginning(words, canvas.width - 8, line.height, line.style)
    colour = dice.one_of(ink(canvas), COLOURS[rng.choice(inks(canvas))])
    width = text_mask(words, line.height, line.style).shape[1]
    left = rng.randint(margin, canvas.width - width - margin)
    canvas.write(words, left, line.top, line.height, colour, line.style)
    return words, left


def _middles(words: str, height: int, style: Style) -> Iterator[float]:
    """How far from the left of a line the middle of each character is."""
    for place, sign in enumerate(words):
        end = text_mask(words[: place + 1], height, style).shape[1]
        yield end - text_mask(sign, height, style).shape[1] / 2

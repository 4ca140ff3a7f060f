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
_SHARES = {"counted": 0.35, "scattered": 0.17, "in rows": 0.08, "written": 0.28, "moment": 0.12}
"""How often a view has things to count, things anywhere, things in rows or letters, or is a moment
of a video."""
_LARGE = 0.4
"""How often a view with letters is as large as any: there they are shown smallest."""
_CHANGES = ((0, 0), (0, 1), (0, 1), (0, 1), (0, None), (None, 0))
"""Which thing two frames show: the same, one and then another, or in one of them nothing."""
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
    later: View | None = None
    """What the next frame of a video shows, with which it makes a token; of a picture, the same."""
    frames: int = 2
    """How many that video has: the more, the smaller they are shown."""


def make_view(index: int) -> View:
    """The view of this number, always the same."""
    rng = random.Random(f"view/{index}")  # noqa: S311 - no secret
    level = 1.0 if rng.random() < _HARDEST else rng.random()
    dice = Dice(rng, level, split="train")
    (kind,) = rng.choices(list(_SHARES), list(_SHARES.values()))
    if kind == "moment":
        return _moment(dice)
    large = kind == "written" and rng.random() < _LARGE
    canvas = new_canvas(dice, 256, 256) if large else new_canvas(dice)
    canvas.clutter(rng, dice.between((0, 0), (0, 12)))
    if kind == "counted":
        view = View(canvas, tuple(_drawn(counted_things(dice, canvas), canvas)))
    elif kind == "scattered":
        view = View(canvas, tuple(_scatter(dice, canvas)))
    elif kind == "in rows":
        things, columns = _lay_out(dice, canvas)
        view = View(canvas, tuple(things), columns=columns)
    else:
        view = View(canvas, letters=tuple(_write(dice, canvas)))
    canvas.noise(rng, dice.between((0, 0), (0, 30)))
    return view


def _moment(dice: Dice) -> View:
    """Two frames of a video, where a thing stays, comes, goes, or gives way to another."""
    rng = dice.rng
    side = dice.one_of(64, 96)
    first = new_canvas(dice, side, side)
    second = Canvas(side, side, first.ground)
    size = dice.between((30, 36), (20, 34))
    things = [put(rng, [name], [size], first)[0] for name in different_names(rng, 2)]
    before, after = (
        View(canvas, () if which is None else tuple(_drawn([things[which]], canvas)))
        for canvas, which in zip((first, second), rng.choice(_CHANGES), strict=True)
    )
    for canvas in (first, second):
        canvas.noise(rng, dice.between((0, 0), (0, 16)))
    return replace(before, later=after, frames=dice.one_of(4, 6))


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

"""Pictures of which it is known what is where: things and letters, scattered."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from qwen3_vl.validation.quality.dice import Dice
from qwen3_vl.validation.quality.drawing import (
    COLOURS,
    SHAPES,
    Canvas,
    Thing,
    ink,
    new_canvas,
    put,
)
from qwen3_vl.validation.quality.font import Style, beginning, text_mask
from qwen3_vl.validation.quality.reading import CHARACTERS, STYLES, inks

SIGNS = CHARACTERS + "."
"""What is written in a view."""
_THINGS = 0.6
"""The share of views with things in them; the others have letters."""


@dataclass(frozen=True)
class Letter:
    """A character, and its middle in pixels from the left and from the top."""

    sign: str
    centre: tuple[float, float]


@dataclass(frozen=True)
class View:
    """A picture, and all that is in it."""

    canvas: Canvas
    things: tuple[Thing, ...] = ()
    letters: tuple[Letter, ...] = ()


def make_view(index: int) -> View:
    """The view of this number, always the same; most are as hard as a test."""
    rng = random.Random(f"view/{index}")  # noqa: S311 - no secret
    dice = Dice(rng, level=rng.random() ** 0.5, split="train")
    canvas = new_canvas(dice)
    canvas.clutter(rng, dice.between((0, 0), (0, 12)))
    if rng.random() < _THINGS:
        view = View(canvas, things=tuple(_scatter(dice, canvas)))
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
    strength = rng.randint(60, 100) if rng.random() < 0.3 else 100
    for thing in things:
        canvas.draw(thing, strength)
    return things


def _write(dice: Dice, canvas: Canvas) -> Iterator[Letter]:
    """Lines of characters from top to bottom."""
    rng = dice.rng
    top = rng.randint(2, 10)
    while True:
        height, style = dice.between((20, 34), (8, 16)), rng.choice(STYLES)
        if top + height + 2 > canvas.height:
            return
        words, left = scribble(dice, canvas, Line(top, height, style), SIGNS, most=14, margin=2)
        for sign, middle in zip(words, _middles(words, height, style), strict=True):
            yield Letter(sign, (left + middle, top + height / 2))
        top += height + rng.randint(2, 24)


@dataclass(frozen=True)
class Line:
    """Where a line of text comes to stand, and how it looks."""

    top: int
    height: int
    style: Style


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

"""Pictures of coloured shapes and text, equal on every machine: whole numbers, and given chance."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from qwen3_vl.validation.quality.dice import Dice
from qwen3_vl.validation.quality.font import Mask, Style, text_mask

RGB = tuple[int, int, int]

COLOURS: Mapping[str, RGB] = {
    "red": (214, 30, 36),
    "orange": (250, 134, 12),
    "yellow": (238, 214, 24),
    "green": (34, 150, 52),
    "cyan": (20, 190, 208),
    "blue": (36, 66, 214),
    "purple": (136, 50, 186),
    "pink": (250, 92, 190),
}
SHAPES = ("circle", "square", "triangle", "cross", "star", "ring")

_SAMPLES = 4
"""A pixel's cover is counted in so many points across and down."""
_STAR = (
    *((0.0, -1.0), (0.279, -0.297), (1.0, -0.236), (0.45, 0.259), (0.618, 1.0)),
    *((0.0, 0.603), (-0.618, 1.0), (-0.45, 0.259), (-1.0, -0.236), (-0.279, -0.297)),
)
_ATTEMPTS = 1000
RING_HOLE = 0.64
"""The hole's width as a part of the ring's."""


@dataclass(frozen=True)
class Thing:
    """A coloured shape in its place."""

    colour: str
    shape: str
    left: int
    top: int
    size: int

    @property
    def name(self) -> str:
        """What it is called in questions."""
        return f"{self.colour} {self.shape}"

    @property
    def centre(self) -> tuple[float, float]:
        """Its middle, in pixels from the left and from the top."""
        return self.left + self.size / 2, self.top + self.size / 2

    def distance(self, other: Thing) -> float:
        """From middle to middle."""
        return math.dist(self.centre, other.centre)


class Canvas:
    """A picture being drawn."""

    def __init__(self, width: int, height: int, ground: RGB) -> None:
        self.width, self.height, self.ground = width, height, ground
        self.pixels: NDArray[np.uint8] = np.empty((height, width, 3), np.uint8)
        self.pixels[:] = ground

    def stamp(self, mask: Mask, left: int, top: int, colour: RGB, strength: int = 100) -> None:
        """Lay a colour on where the mask covers; `strength` per cent of it hide what is below."""
        height, width = mask.shape
        below = self.pixels[top : top + height, left : left + width]
        cover = (mask.astype(np.int32) * strength // 100)[:, :, None]
        mixed = below * (255 - cover) + np.array(colour, np.int32) * cover
        below[:] = (mixed + 127) // 255

    def draw(self, thing: Thing, strength: int = 100) -> None:
        """A thing in its place."""
        mask = shape_mask(thing.shape, thing.size)
        self.stamp(mask, thing.left, thing.top, COLOURS[thing.colour], strength)

    def write(
        self, words: str, left: int, top: int, height: int, colour: RGB, style: Style = "plain"
    ) -> None:
        """A line of text, from its upper left corner."""
        self.stamp(text_mask(words, height, style), left, top, colour)

    def shade(self, left: int, top: int, width: int, height: int, step: int) -> None:
        """A grey bar, `step` levels away from the ground."""
        self.pixels[top : top + height, left : left + width] = [
            min(255, max(0, level + step)) for level in self.ground
        ]

    def clutter(self, rng: random.Random, bars: int) -> None:
        """Faint grey bars, which are no things; to be drawn before those."""
        for _ in range(bars):
            width, height = rng.choice(((rng.randint(8, 40), 2), (2, rng.randint(8, 40))))
            left = rng.randrange(self.width - width)
            top = rng.randrange(self.height - height)
            self.shade(left, top, width, height, rng.choice((-1, 1)) * rng.randint(12, 24))

    def noise(self, rng: random.Random, strength: int) -> None:
        """Move each pixel up or down by at most `strength` levels."""
        if not strength:
            return
        drawn = np.frombuffer(rng.randbytes(self.width * self.height), np.uint8)
        moved = (drawn.astype(np.int16) - 128) * strength // 128
        noisy = self.pixels + moved.reshape(self.height, self.width, 1)
        self.pixels = noisy.clip(0, 255).astype(np.uint8)

    def image(self) -> Image.Image:
        """The picture as it is now."""
        return Image.fromarray(self.pixels.copy())


@cache
def shape_mask(shape: str, size: int) -> Mask:
    """A shape that fills a square of `size` pixels."""
    steps = (np.arange(size * _SAMPLES) + 0.5) * 2 / (size * _SAMPLES) - 1
    inside = _inside(shape, steps[None, :], steps[:, None])
    whole = np.broadcast_to(inside, (size * _SAMPLES, size * _SAMPLES))
    counted = whole.reshape(size, _SAMPLES, size, _SAMPLES).sum(axis=(1, 3))
    mask = (counted * 255 // _SAMPLES**2).astype(np.uint8)
    mask.setflags(write=False)
    return mask


def _inside(shape: str, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which points, from -1 to 1 across and down, lie in a shape."""
    if shape == "circle":
        return x * x + y * y <= 1
    if shape == "ring":
        square = x * x + y * y
        return (square <= 1) & (square >= RING_HOLE**2)
    if shape == "square":
        return (x * x <= 1) & (y * y <= 1)
    if shape == "cross":
        return (abs(x) <= 0.3) | (abs(y) <= 0.3)
    if shape == "triangle":
        return abs(x) <= (y + 1) / 2
    # What is left is the star.
    crossed = np.zeros(np.broadcast_shapes(x.shape, y.shape), np.bool_)
    for (x0, y0), (x1, y1) in zip(_STAR, _STAR[1:] + _STAR[:1], strict=True):
        if y0 != y1:  # a ray to the right crosses the outline an odd number of times
            crossed ^= ((y0 <= y) != (y1 <= y)) & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
    return crossed


def new_canvas(dice: Dice, width: int | None = None, height: int | None = None) -> Canvas:
    """An empty light or dark picture, of a size that varies unless it is given."""
    if width is None or height is None:
        width, height = _size(dice)
    middle = dice.one_of(dice.rng.randint(218, 242), dice.rng.randint(16, 38))
    red, green, blue = (middle + dice.rng.randint(-8, 8) for _ in range(3))
    return Canvas(width, height, (red, green, blue))


def _size(dice: Dice) -> tuple[int, int]:
    """Mostly small; the large one comes with the higher levels."""
    drawn = dice.rng.random()
    if drawn < 0.1 * dice.level:
        return 256, 256
    if drawn > 0.8:
        return dice.one_of((128, 192), (192, 128))
    return 128, 128


def ink(canvas: Canvas) -> RGB:
    """A grey that stands out from the ground."""
    return (20, 20, 20) if canvas.ground[0] > 127 else (236, 236, 236)


def places(
    rng: random.Random, sizes: Sequence[int], width: int, height: int, gap: int = 4
) -> list[tuple[int, int]]:
    """Upper left corners for squares of these sizes, at least `gap` pixels apart."""
    for _ in range(_ATTEMPTS):
        taken: list[tuple[int, int, int]] = []
        for size in sizes:
            corner = _free_place(rng, size, width, height, gap, taken)
            if corner is None:  # what came before lies badly: begin again
                break
            taken.append((*corner, size))
        else:
            return [(left, top) for left, top, _ in taken]
    raise ValueError(f"there is no room for things of {list(sizes)} pixels on {width}x{height}")


def _free_place(
    rng: random.Random,
    size: int,
    width: int,
    height: int,
    gap: int,
    taken: Sequence[tuple[int, int, int]],
) -> tuple[int, int] | None:
    """A corner far enough from all that is taken; None where none is found soon."""
    for _ in range(60):
        left = rng.randint(2, width - size - 2)
        top = rng.randint(2, height - size - 2)
        if all(
            left + size + gap <= x
            or x + other + gap <= left
            or top + size + gap <= y
            or y + other + gap <= top
            for x, y, other in taken
        ):
            return left, top
    return None


def different_names(
    rng: random.Random,
    number: int,
    colours: Iterable[str] = COLOURS,
    shapes: Sequence[str] = SHAPES,
) -> list[tuple[str, str]]:
    """Pairs of colour and shape, none of them twice."""
    return rng.sample([(colour, shape) for colour in colours for shape in shapes], number)


def put(
    rng: random.Random, names: Sequence[tuple[str, str]], sizes: Sequence[int], canvas: Canvas
) -> list[Thing]:
    """Things of these names and sizes somewhere on the canvas, not yet drawn."""
    corners = places(rng, sizes, canvas.width, canvas.height)
    return [
        Thing(colour, shape, left, top, size)
        for (colour, shape), size, (left, top) in zip(names, sizes, corners, strict=True)
    ]

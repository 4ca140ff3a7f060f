"""Letters of our own, so that pictures of text are the same on every machine."""

from __future__ import annotations

from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Style = Literal["plain", "bold"]
"""Strokes as they are drawn below, or half a dot wider."""
Mask = NDArray[np.uint8]
"""How much of each pixel is covered: 0 … 255."""

_WIDTH, _HEIGHT = 5, 7

_SHEETS = (
    (
        "0123456789",
        """
        .###. ..#.. .###. ##### ...#. ##### ..##. ##### .###. .###.
        #...# .##.. #...# ...#. ..##. #.... .#... ....# #...# #...#
        #..## ..#.. ....# ..#.. .#.#. ####. #.... ...#. #...# #...#
        #.#.# ..#.. ...#. ...#. #..#. ....# ####. ..#.. .###. .####
        ##..# ..#.. ..#.. ....# ##### ....# #...# ..#.. #...# ....#
        #...# ..#.. .#... #...# ...#. #...# #...# ..#.. #...# ...#.
        .###. .###. ##### .###. ...#. .###. .###. ..#.. .###. .##..
        """,
    ),
    (
        "ABCDEFGHI",
        """
        .###. ####. .###. ####. ##### ##### .###. #...# .###.
        #...# #...# #...# #...# #.... #.... #...# #...# ..#..
        #...# #...# #.... #...# #.... #.... #.... #...# ..#..
        ##### ####. #.... #...# ####. ####. #.### ##### ..#..
        #...# #...# #.... #...# #.... #.... #...# #...# ..#..
        #...# #...# #...# #...# #.... #.... #...# #...# ..#..
        #...# ####. .###. ####. ##### #.... .###. #...# .###.
        """,
    ),
    (
        "JKLMNOPQR",
        """
        ..### #...# #.... #...# #...# .###. ####. .###. ####.
        ...#. #..#. #.... ##.## ##..# #...# #...# #...# #...#
        ...#. #.#.. #.... #.#.# ##..# #...# #...# #...# #...#
        ...#. ##... #.... #.#.# #.#.# #...# ####. #...# ####.
        ...#. #.#.. #.... #...# #..## #...# #.... #.#.# #.#..
        #..#. #..#. #.... #...# #..## #...# #.... #..#. #..#.
        .##.. #...# ##### #...# #...# .###. #.... .##.# #...#
        """,
    ),
    (
        "STUVWXYZ",
        """
        .#### ##### #...# #...# #...# #...# #...# #####
        #.... ..#.. #...# #...# #...# #...# #...# ....#
        #.... ..#.. #...# #...# #...# .#.#. .#.#. ...#.
        .###. ..#.. #...# #...# #.#.# ..#.. ..#.. ..#..
        ....# ..#.. #...# #...# #.#.# .#.#. ..#.. .#...
        ....# ..#.. #...# .#.#. ##.## #...# ..#.. #....
        ####. ..#.. .###. ..#.. #...# #...# ..#.. #####
        """,
    ),
    (
        " .,:-+=/",
        """
        ..... ..... ..... ..... ..... ..... ..... ....#
        ..... ..... ..... ..##. ..... ..#.. ..... ....#
        ..... ..... ..... ..##. ..... ..#.. ##### ...#.
        ..... ..... ..... ..... ##### ##### ..... ..#..
        ..... ..... ..##. ..##. ..... ..#.. ##### .#...
        ..... ..##. ..##. ..##. ..... ..#.. ..... #....
        ..... ..##. .##.. ..... ..... ..... ..... #....
        """,
    ),
)


def _read_sheets() -> dict[str, Mask]:
    """Each character's dots, 7 rows of 5."""
    dots: dict[str, Mask] = {}
    for characters, sheet in _SHEETS:
        rows = [line.split() for line in sheet.split("\n") if line.strip()]
        for place, character in enumerate(characters):
            glyph = [[dot == "#" for dot in row[place]] for row in rows]
            dots[character] = np.array(glyph, dtype=np.uint8)
    return dots


GLYPHS = _read_sheets()
"""All characters that can be written."""


def text_mask(text: str, height: int, style: Style = "plain") -> Mask:
    """One line of text, cut close on all sides; its letters are `height` pixels high."""
    gap = np.zeros((height, max(1, round(height / _HEIGHT))), np.uint8)
    columns: list[Mask] = []
    for character in text:
        columns += [_glyph_mask(character, height, style), gap]
    return np.concatenate(columns[:-1], axis=1)


def beginning(text: str, width: int, height: int, style: Style = "plain") -> str:
    """As much of a line as is at most `width` pixels wide."""
    while text_mask(text, height, style).shape[1] > width:
        text = text[:-1]
    return text


@cache
def _glyph_mask(character: str, height: int, style: Style) -> Mask:
    """One character, scaled."""
    dots = GLYPHS[character].repeat(2, axis=1)  # half dots, so that a stroke can be half wider
    if style == "bold":
        dots = np.pad(dots, ((0, 0), (0, 1)))
        dots[:, 1:] |= dots[:, :-1]
    width = round(height * dots.shape[1] / (2 * _HEIGHT))
    down, across = _shares(_HEIGHT, height), _shares(dots.shape[1], width)
    covered = down @ dots.astype(np.int64) @ across.T
    mask = (covered * 255 // (_HEIGHT * dots.shape[1])).astype(np.uint8)
    mask.setflags(write=False)
    return mask


def _shares(dots: int, pixels: int) -> NDArray[np.int64]:
    """How much of each pixel each dot covers, [pixels, dots]; a whole pixel is `dots`."""
    pixel, dot = np.arange(pixels)[:, None] * dots, np.arange(dots)[None, :] * pixels
    shared = np.minimum(pixel + dots, dot + pixels) - np.maximum(pixel, dot)
    return np.maximum(shared, 0)

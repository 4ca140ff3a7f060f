"""Boxes in answers: where the model says that something is, and a picture that shows it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageDraw

GRID = 1000
"""Coordinates of the model go from 0 to this, whatever the size of the picture is."""
_KEY = "bbox_2d"
_COLOURS = ("#e6194b", "#4363d8", "#3cb44b", "#f58231", "#911eb4", "#008080")


@dataclass(frozen=True)
class Box:
    """A box in thousandths of a picture, and what is said to be in it."""

    left: float
    top: float
    right: float
    bottom: float
    label: str = ""

    @property
    def area(self) -> float:
        """None, if its ends are the wrong way round."""
        return max(0.0, self.right - self.left) * max(0.0, self.bottom - self.top)

    def overlap(self, other: Box) -> float:
        """The area that both share, as a part of the area that both cover: 1 for equal boxes."""
        shared = Box(
            max(self.left, other.left),
            max(self.top, other.top),
            min(self.right, other.right),
            min(self.bottom, other.bottom),
        ).area
        return shared / (self.area + other.area - shared) if shared else 0.0

    def pixels(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Left, top, right and bottom in a picture of this size, and never outside of it."""
        left, right = (_pixel(value, width) for value in (self.left, self.right))
        top, bottom = (_pixel(value, height) for value in (self.top, self.bottom))
        return left, top, right, bottom


def read_boxes(text: str) -> list[Box]:
    """All boxes of an answer, whatever stands around them; what is no whole box is passed over."""
    boxes: list[Box] = []
    at = text.find("{")
    while at >= 0:
        box, end = _read(text, at)
        if box is not None:
            boxes.append(box)
        at = text.find("{", end)
    return boxes


def draw_boxes(picture: Image.Image, boxes: Sequence[Box]) -> Image.Image:
    """A copy of the picture with frames around what the boxes hold."""
    drawn = picture.convert("RGB")
    draw = ImageDraw.Draw(drawn)
    width = max(2, max(drawn.size) // 200)
    for number, box in enumerate(boxes):
        colour = _COLOURS[number % len(_COLOURS)]
        left, top, right, bottom = box.pixels(*drawn.size)
        if left <= right and top <= bottom:
            draw.rectangle((left, top, right, bottom), outline=colour, width=width)
            draw.text((left + width + 1, top + width), box.label, fill=colour)
    return drawn


def _pixel(value: float, side: int) -> int:
    return min(side - 1, max(0, round(value / GRID * side)))


def _read(text: str, start: int) -> tuple[Box | None, int]:
    """The box that begins here, if one does, and where to look on."""
    try:
        found, end = json.JSONDecoder().raw_decode(text, start)
    except (ValueError, RecursionError):
        return None, start + 1
    box = _box(found)
    return (None, start + 1) if box is None else (box, end)


def _box(found: Any) -> Box | None:
    ends, label = found.get(_KEY), found.get("label", "")
    if not isinstance(ends, list) or len(ends) != 4:
        return None
    if not all(type(end) in (int, float) and abs(end) < float("inf") for end in ends):
        return None
    return Box(*ends, label=label if isinstance(label, str) else "")

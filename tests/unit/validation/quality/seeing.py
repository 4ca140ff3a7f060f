"""Finds the things in a picture by looking at its pixels only, to check what the tasks claim."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from PIL import Image

from qwen3_vl.validation.quality.drawing import COLOURS, SHAPES, shape_mask

NAMES = list(COLOURS)
PALETTE = np.array(list(COLOURS.values()), float)


@dataclass(frozen=True)
class Seen:
    colour: str
    shape: str
    left: int
    top: int
    size: int

    @property
    def name(self):
        return f"{self.colour} {self.shape}"

    @property
    def centre(self):
        return self.left + self.size / 2, self.top + self.size / 2


def things_in(image: Image.Image) -> list[Seen]:
    pixels = np.asarray(image, float)
    ground = np.median(pixels.reshape(-1, 3), axis=0)
    distances = np.linalg.norm(pixels[:, :, None] - PALETTE, axis=3)
    nearest = np.where(distances.min(axis=2) < 60, distances.argmin(axis=2), -1)
    seen = []
    for colour in range(len(NAMES)):
        way = PALETTE[colour] - ground
        cover = ((pixels - ground) @ way / (way @ way)).clip(0, 1)
        cover[(nearest >= 0) & (nearest != colour)] = 0
        # Specks are where the edges of other things mix with the ground.
        found = [points for points in _components(nearest == colour) if len(points) >= 12]
        seen += [_recognise(NAMES[colour], points, cover) for points in found]
    return seen


def _components(flags):
    left = set(zip(*np.nonzero(flags), strict=True))
    while left:
        found, front = [], [left.pop()]
        while front:
            row, column = front.pop()
            found.append((row, column))
            for down, across in product((-1, 0, 1), repeat=2):
                at = (row + down, column + across)
                if at in left:
                    left.remove(at)
                    front.append(at)
        yield found


def _recognise(colour, points, cover):
    rows, columns = zip(*points, strict=True)
    top, left = min(rows), min(columns)
    extent = max(max(rows) - top, max(columns) - left) + 1
    best = None
    padded = np.pad(cover, 6)
    for size in range(extent, extent + 4):
        for up, before in product(range(4), repeat=2):
            y, x = top - up + 4, left - before + 4
            crop = padded[y : y + size + 4, x : x + size + 4]
            if crop.shape != (size + 4, size + 4):
                continue
            for shape in SHAPES:
                mask = np.pad(shape_mask(shape, size) / 255, 2)
                error = abs(crop - mask).mean()
                if best is None or error < best[0]:
                    best = error, Seen(colour, shape, left - before, top - up, size)
    return best[1]

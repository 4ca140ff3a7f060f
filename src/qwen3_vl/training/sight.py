"""The first lesson: what is at every place of a picture, asked of the vision tower alone.

The decoder learns from answers, and an answer tells of one thing in a picture. Here each patch has
to tell what lies on it and where it is, with one matrix product for each token, which no model
keeps. A tower that has learned this hands the decoder all that it needs to answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from qwen3_vl.models.positions import Grid, patch_coordinates
from qwen3_vl.models.vision import VisionModel
from qwen3_vl.processing.processor import Qwen3VLProcessor
from qwen3_vl.processing.video import VideoInput
from qwen3_vl.training.batches import Budget, in_batches
from qwen3_vl.training.views import SIGNS, View, make_view
from qwen3_vl.validation.quality.drawing import COLOURS, SHAPES, Canvas, Thing
from qwen3_vl.validation.quality.objects import box
from qwen3_vl.validation.quality.places import nearest

_UNKNOWN = -1
"""Of what is not asked of a patch."""
_TAPS = 0.25
"""How much it counts what DeepStack's tokens tell, beside the last layer's."""
_FEW = 50
"""Of patches with something on them there should be as many, for one not to count too much."""
_MOST_ALIKE, _MOST_LINES = 11, 9
"""Beyond these it is only told that there are more."""


@dataclass(frozen=True)
class Asked:
    """Something that each patch has to tell: one of some classes, or a share of the picture."""

    classes: int
    """1: it is not a class that is asked for but how many thousandths."""
    weight: float
    mostly_nothing: bool = False
    """Class 0 is nothing, and as much is learned from it as from all others."""


ASKED = (
    Asked(1 + len(SIGNS), 1.0, mostly_nothing=True),  # the character in its left half
    Asked(1 + len(SIGNS), 1.0, mostly_nothing=True),  # the one in its right half
    Asked(1 + len(COLOURS), 1.0, mostly_nothing=True),  # of the thing that covers it
    Asked(1 + len(SHAPES), 1.0, mostly_nothing=True),
    Asked(2, 1.0, mostly_nothing=True),  # whether that thing's middle is here
    *[Asked(1, 2.5)] * 4,  # the sides of its box
    *[Asked(11, 0.25)] * 4,  # their hundreds
    *[Asked(11, 0.5), Asked(10, 0.5)] * 2,  # how far down and across the patch is: two digits
    Asked(1 + _MOST_ALIKE, 2.5),  # how many things are of its kind
    Asked(1 + _MOST_ALIKE, 0.5),  # and how many of its colour
    *[Asked(5, 0.5)] * 2,  # its row and its column, where things stand so
    Asked(2, 0.5, mostly_nothing=True),  # whether it is the only one there of its kind
    Asked(16, 0.5),  # which character of its line the one on it is
    Asked(1 + _MOST_LINES, 0.5),  # and of which line
    Asked(len(COLOURS), 0.5),  # what is clearly nearest to the thing that covers it
    Asked(len(SHAPES), 0.5),
    *[Asked(1, 2.5)] * 2,  # the middle between all things of its kind, which only these move
    Asked(1 + len(COLOURS), 1.0, mostly_nothing=True),  # what covers it in the next frame
    Asked(1 + len(SHAPES), 1.0, mostly_nothing=True),
    Asked(1 + len(COLOURS), 1.0, mostly_nothing=True),  # a number of its kind
)
_COLOUR, _SHAPE, _MIDDLE, _SIDES, _PLACE = 2, 3, 4, 5, 13
_ALIKE, _FIELD, _ODD, _LETTER, _NEAREST, _BETWEEN, _LATER, _KIND = 17, 19, 21, 22, 24, 26, 28, 30
"""Where the answers to these begin."""


def truth(view: View, rows: int, columns: int) -> NDArray[np.int64]:
    """What the patches of a view have to tell, [rows, columns, asked]."""
    canvas = view.canvas
    told = np.zeros((rows, columns, len(ASKED)), np.int64)
    told[:, :, _SIDES:_PLACE] = told[:, :, _ALIKE:_LATER] = _UNKNOWN
    for place, share in ((_PLACE, _shares(rows)[:, None]), (_PLACE + 2, _shares(columns))):
        told[:, :, place], told[:, :, place + 1] = share * 10, share * 100 % 10
    for letter in view.letters:
        x, y = letter.centre
        row, half = int(y / canvas.height * rows), int(x / canvas.width * columns * 2)
        told[row, half // 2, half % 2] = 1 + SIGNS.index(letter.sign)
        told[row, half // 2, _LETTER:_NEAREST] = letter.place, min(letter.line, _MOST_LINES)
    kinds = Counter(thing.name for thing in view.things)
    colours = Counter(thing.colour for thing in view.things)
    for number, thing in enumerate(view.things):
        covered, middle = _covered(thing, canvas, rows, columns)
        sides = np.array(box(thing, canvas))
        told[covered, _COLOUR : _SHAPE + 1] = 1 + np.array(_classes(thing))
        told[covered, _KIND] = 1 + _kind(thing)
        told[covered, _SIDES:_PLACE] = [*sides, *(sides // 100)]
        alike = kinds[thing.name], colours[thing.colour]
        told[covered, _ALIKE:_FIELD] = np.minimum(alike, _MOST_ALIKE)
        told[covered, _BETWEEN:_LATER] = _between(thing.name, view)
        if near := nearest(thing, view.things):
            told[covered, _NEAREST:_BETWEEN] = _classes(near)
        if view.columns:
            told[covered, _FIELD:_ODD] = divmod(number, view.columns)
            told[covered, _ODD] = kinds[thing.name] == 1
        told[(*middle, _MIDDLE)] = 1
    for thing in (view.later or view).things:
        covered, _ = _covered(thing, canvas, rows, columns)
        told[covered, _LATER:_KIND] = 1 + np.array(_classes(thing))
    return told


def _shares(count: int) -> NDArray[np.float64]:
    """How far along a side the middles of so many patches are."""
    return (np.arange(count) + 0.5) / count


def _covered(
    thing: Thing, canvas: Canvas, rows: int, columns: int
) -> tuple[NDArray[np.bool_], tuple[int, int]]:
    """The patches whose middle it covers, [rows, columns], and the one that has its own middle."""
    down, across = _shares(rows), _shares(columns)
    left, top, right, bottom = np.array(box(thing, canvas)) / 1000
    covered = np.outer((down >= top) & (down < bottom), (across >= left) & (across < right))
    x, y = thing.centre
    middle = int(y / canvas.height * rows), int(x / canvas.width * columns)
    covered[middle] = True
    return covered, middle


def _classes(thing: Thing) -> tuple[int, int]:
    """The numbers of its colour and of its shape."""
    return list(COLOURS).index(thing.colour), SHAPES.index(thing.shape)


def _kind(thing: Thing) -> int:
    """A number that differs between any two kinds which share colour or shape.

    Nothing that is said of each colour and of each shape adds up to it, so a tower that can tell it
    knows kinds as such. One that does not sees something of red stars in red rings and in blue
    stars too, and counts wrongly where both are there.
    """
    return sum(_classes(thing)) % len(COLOURS)


def _between(name: str, view: View) -> NDArray[np.float64]:
    """The mean of the middles of all things of this name, in thousandths across and down."""
    middles = np.array([thing.centre for thing in view.things if thing.name == name])
    return middles.mean(0) / (view.canvas.width, view.canvas.height) * 1000


@dataclass(frozen=True)
class Sighted:
    """One view as the tower takes it."""

    pixels: Tensor
    grid: Grid
    told: Tensor
    """[patches, asked], in the order of the patches."""

    @property
    def tokens(self) -> int:
        """How many tokens the tower makes of it."""
        return self.patches // 4

    @property
    def patches(self) -> int:
        """How many patches it has."""
        return len(self.pixels)


class Views:
    """As many views as are wanted: each index gives always the same."""

    def __init__(self, processor: Qwen3VLProcessor, count: int, seed: int = 0) -> None:
        self._processor = processor
        self._count = count
        self._seed = seed

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Sighted:
        view = make_view(self._seed * 10**9 + index)
        pixels, grids = self._look_at(view)
        _, rows, columns = (int(one) for one in grids[0])
        grid = (1, rows, columns)
        row, column = patch_coordinates(grid, 2, torch.device("cpu")).unbind(-1)
        return Sighted(pixels, grid, torch.from_numpy(truth(view, rows, columns))[row, column])

    def _look_at(self, view: View) -> tuple[Tensor, Tensor]:
        """Its patches and its grid, as they would be in an answer."""
        image = view.canvas.image()
        if view.later is None:
            return self._processor.image_processor([image])
        processor = self._processor.video_processor
        share = processor.pixels.min_pixels * 2 // view.frames
        both = (image, view.later.canvas.image())
        pixels, grids, _ = processor([VideoInput(both, do_sample_frames=False, min_pixels=share)])
        return pixels, grids


@dataclass(frozen=True)
class SightBatch:
    """Some views."""

    pixels: Tensor
    grids: tuple[Grid, ...]
    told: Tensor
    tokens: int
    next_index: int

    @classmethod
    def of(cls, views: Sequence[Sighted], next_index: int) -> SightBatch:
        """Join some; `next_index` is the first that is in no batch yet."""
        return cls(
            torch.cat([one.pixels for one in views]),
            tuple(one.grid for one in views),
            torch.cat([one.told for one in views]),
            sum(one.tokens for one in views),
            next_index,
        )

    def to(self, device: torch.device) -> SightBatch:
        """The same on another device."""
        pixels, told = self.pixels.to(device), self.told.to(device)
        return SightBatch(pixels, self.grids, told, self.tokens, self.next_index)


class Sight:
    """The course: a tower, and what reads its tokens."""

    def __init__(self, tower: VisionModel, views: Views) -> None:
        hear_positions(tower)
        classes = sum(one.classes for one in ASKED)
        reader = nn.Linear(tower.config.out_hidden_size, tower.config.merge_area * classes)
        with torch.no_grad():
            reader.weight.zero_()  # so nothing it does not understand disturbs a tower that sees
            reader.bias.zero_()
        self.module = nn.ModuleDict(
            {"visual": tower, "reader": reader.to(tower.pos_embed.weight.device)}
        )
        self._tower, self._reader, self._views = tower, reader, views

    def __len__(self) -> int:
        return len(self._views)

    def batches(self, budget: Budget, start: int, workers: int) -> Iterator[SightBatch]:
        """All views from `start` on."""
        return in_batches(self._views, SightBatch.of, budget, start, workers)

    def loss(self, batch: SightBatch) -> Tensor:
        """How much of what is there is not told."""
        seen = self._tower(batch.pixels, batch.grids)
        lost = self._lost(seen.tokens, batch.told)
        for tap in seen.deepstack:
            lost = lost + _TAPS * self._lost(tap, batch.told)
        return lost

    def _lost(self, tokens: Tensor, told: Tensor) -> Tensor:
        said = self._reader(tokens).view(len(told), -1).split([one.classes for one in ASKED], -1)
        lost = tokens.new_zeros(())
        for asked, one, right in zip(ASKED, said, told.unbind(-1), strict=True):
            lost = lost + asked.weight * _error(asked, one, right)
        return lost


def _error(asked: Asked, said: Tensor, right: Tensor) -> Tensor:
    """The mean surprise, or how far off it is."""
    known = (right != _UNKNOWN).sum().clamp(min=1)
    if asked.classes == 1:
        return ((said.squeeze(-1) - right / 1000).abs() * (right != _UNKNOWN)).sum() / known
    surprise = F.cross_entropy(said, right, reduction="none", ignore_index=_UNKNOWN)
    if not asked.mostly_nothing:
        return surprise.sum() / known
    something, nothing = right > 0, right == 0
    of_all = (surprise * something).sum() / something.sum().clamp(min=_FEW)
    return of_all + (surprise * nothing).sum() / nothing.sum().clamp(min=1)


def hear_positions(tower: VisionModel) -> None:
    """Give a tower waves for learned positions where these are too faint to be heard.

    Patches come into the stream with some six times the size that first positions have. No layer
    finds these beneath them, so no gradient ever makes them louder: the tower stays blind to where
    a patch is, and the decoder, which knows it to a token, can learn neither boxes nor relations.
    """
    positions = tower.pos_embed.weight
    if positions.std() > 0.5:
        return
    side, quarter = round(len(positions) ** 0.5), positions.shape[1] // 4
    frequencies = 20.0 ** -torch.linspace(0, 1, quarter)
    angles = torch.arange(side)[:, None] * frequencies
    along = torch.cat((angles.sin(), angles.cos()), 1).to(positions.device)
    down, across = along[:, None].expand(-1, side, -1), along[None].expand(side, -1, -1)
    with torch.no_grad():
        positions += 2 * torch.cat((down, across), -1).flatten(0, 1)

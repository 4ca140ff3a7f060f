"""The tower's first lesson asks what is really there, and makes positions heard."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from qwen3_vl.loading import embedded_folder
from qwen3_vl.models.qwen3_vl import Qwen3VLForConditionalGeneration
from qwen3_vl.models.vision import VisionModel
from qwen3_vl.processing.processor import Qwen3VLProcessor
from qwen3_vl.processing.video import VideoInput
from qwen3_vl.training.batches import Budget
from qwen3_vl.training.playground import SIZES
from qwen3_vl.training.sight import ASKED, Sight, SightBatch, Views, hear_positions, truth
from qwen3_vl.training.trainer import Trainer
from qwen3_vl.training.views import SIGNS, Letter, View, make_view
from qwen3_vl.validation.quality.drawing import COLOURS, SHAPES, Canvas, Thing


@pytest.fixture(scope="module")
def processor() -> Qwen3VLProcessor:
    return Qwen3VLProcessor.from_pretrained(embedded_folder())


@pytest.fixture
def tower() -> VisionModel:
    processor = Qwen3VLProcessor.from_pretrained(embedded_folder())
    config = SIZES["nano"].config(processor)
    return Qwen3VLForConditionalGeneration.random(config, seed=0).model.visual


def test_each_patch_is_asked_what_lies_on_it() -> None:
    canvas = Canvas(128, 64, (230, 230, 230))
    star = Thing("blue", "star", left=32, top=8, size=32)
    letters = (Letter("7", (100.0, 40.0), 3, 5), Letter("A", (107.0, 40.0), 3, 6))
    told = truth(View(canvas, (star,), letters), rows=4, columns=8)  # patches of 16 pixels
    assert told.shape == (4, 8, len(ASKED))
    seen = {tuple(place) for place in np.argwhere(told[:, :, 2] > 0)}
    # Patches whose middle it covers, and the one with its own middle, which is on their corner.
    assert seen == {(row, column) for row in (0, 1, 2) for column in (2, 3)} - {(2, 2), (2, 3)}
    blue, shape = 1 + list(COLOURS).index("blue"), 1 + SHAPES.index("star")
    assert told[1, 3, :17].tolist() == [
        *(0, 0, blue, shape, 1, 250, 125, 500, 625, 2, 1, 5, 6, 3, 7, 4, 3)
    ]
    assert told[1, 3, 17:].tolist() == [1, 1, *[-1] * 7, 375, 375, blue, shape, 1 + (5 + 4) % 8]
    assert told[0, 2, 4] == 0, "its middle is elsewhere"
    seven, a = 1 + SIGNS.index("7"), 1 + SIGNS.index("A")
    assert told[2, 6].tolist() == [
        *(seven, a, 0, 0, 0),
        *[-1] * 8,
        *(6, 2, 8, 1),
        *[-1] * 5,
        *(6, 3),
        *[-1] * 4,
        *(0, 0, 0),
    ]
    assert (told[:, :, :2] > 0).sum() == 2


def test_it_is_asked_what_is_nearest_where_that_is_clear() -> None:
    canvas = Canvas(128, 64, (230, 230, 230))
    left, middle, right = (
        Thing("red", "star", 0, 16, 24),
        Thing("blue", "ring", 36, 16, 24),
        Thing("pink", "cross", 100, 16, 24),
    )
    told = truth(View(canvas, (left, middle, right)), rows=4, columns=8)
    blue_ring, red_star = (
        [list(COLOURS).index(thing.colour), SHAPES.index(thing.shape)] for thing in (middle, left)
    )
    assert told[1, 0, 24:26].tolist() == blue_ring
    assert told[1, 3, 24:26].tolist() == red_star
    assert told[1, 7, 24:26].tolist() == blue_ring
    moved = truth(View(canvas, (left, replace(middle, left=50), right)), rows=4, columns=8)
    assert moved[1, 4, 24:26].tolist() == [-1, -1], "both are as far"


def test_it_is_asked_for_the_middle_of_what_is_alike() -> None:
    canvas = Canvas(128, 64, (230, 230, 230))
    places = ((0, 0), (32, 32), (96, 16))
    stars = tuple(Thing("red", "star", left, top, 16) for left, top in places)
    told = truth(View(canvas, (*stars, Thing("red", "ring", 112, 48, 16))), rows=4, columns=8)
    assert told[0, 0, 26:28].tolist() == told[1, 6, 26:28].tolist() == [395, 375]
    assert told[3, 7, 26:28].tolist() == [937, 875]
    assert told[3, 0, 26:28].tolist() == [-1, -1]


def test_kinds_that_share_colour_or_shape_have_different_numbers() -> None:
    canvas = Canvas(128, 64, (230, 230, 230))
    numbers = {
        (colour, shape): int(truth(View(canvas, (Thing(colour, shape, 0, 0, 32),)), 4, 8)[0, 0, 30])
        for colour in COLOURS
        for shape in SHAPES
    }
    for (one, shape), number in numbers.items():
        assert 1 <= number <= 8
        alike = [numbers[other, shape] for other in COLOURS if other != one]
        alike += [numbers[one, other] for other in SHAPES if other != shape]
        assert number not in alike


def test_of_two_frames_it_is_asked_what_each_shows() -> None:
    first, second = (Canvas(64, 64, (20, 20, 20)) for _ in range(2))
    star, ring = Thing("red", "star", 0, 0, 32), Thing("blue", "ring", 16, 0, 32)
    for canvas, thing in ((first, star), (second, ring)):
        canvas.draw(thing)
    red_star, blue_ring = (
        [1 + list(COLOURS).index(thing.colour), 1 + SHAPES.index(thing.shape)]
        for thing in (star, ring)
    )
    told = truth(View(first, (star,), later=View(second, (ring,))), rows=4, columns=4)
    assert told[0, 0, 2:4].tolist() == red_star
    assert told[0, 0, 28:30].tolist() == [0, 0]
    assert told[0, 1, 2:4].tolist() == red_star
    assert told[0, 1, 28:30].tolist() == blue_ring
    assert told[0, 2, 2:4].tolist() == [0, 0]
    assert told[0, 2, 28:30].tolist() == blue_ring
    assert told[0, 2, 5] == -1, "boxes are asked of the first frame"
    assert told[3, 3, 28:30].tolist() == [0, 0]


def test_a_moment_is_seen_as_in_a_video(processor: Qwen3VLProcessor) -> None:
    index = next(index for index in range(60) if make_view(index).later)
    moment, seen = make_view(index), Views(processor, 60)[index]
    for place, frame in enumerate((moment, moment.later)):
        assert frame is not None
        video = VideoInput([frame.canvas.image()] * moment.frames, do_sample_frames=False)
        rows, grid, _ = processor.video_processor([video])
        assert seen.grid == (1, *grid[0, 1:].tolist())
        assert grid[0, 0] == moment.frames // 2
        own, wanted = (one.view(-1, 3, 2, 256)[:, :, place] for one in (seen.pixels, rows))
        assert torch.equal(own, wanted[: seen.patches])


def test_of_things_in_rows_it_is_asked_which_is_the_odd_one() -> None:
    canvas = Canvas(96, 64, (230, 230, 230))
    names = [["red star"] * 3, ["red star", "red ring", "red star"]]
    things = [
        Thing(*name.split(), 32 * column + 4, 32 * row + 4, 24)
        for row, line in enumerate(names)
        for column, name in enumerate(line)
    ]
    told = truth(View(canvas, tuple(things), columns=3), rows=4, columns=6)
    assert told[2, 2, 17:22].tolist() == [1, 6, 1, 1, 1]
    assert told[0, 4, 17:22].tolist() == [5, 6, 0, 2, 0]
    many = View(canvas, tuple(Thing("red", "star", 4, 4, 24) for _ in range(14)))
    assert truth(many, 4, 6)[0, 0, 17:22].tolist() == [11, 11, -1, -1, -1]


def test_patches_come_in_the_order_of_the_tower(processor: Qwen3VLProcessor) -> None:
    view = Views(processor, 5)[3]
    _, rows, columns = view.grid
    assert view.patches == rows * columns == 4 * view.tokens
    down = view.told[:, 13] * 10 + view.told[:, 14]
    across = view.told[:, 15] * 10 + view.told[:, 16]
    first = [(int(y), int(x)) for y, x in zip(down[:4], across[:4], strict=True)]
    half = (50 // rows, 50 // columns)
    assert first == [
        (half[0], half[1]),
        (half[0], 150 // columns),
        (150 // rows, half[1]),
        (150 // rows, 150 // columns),
    ]


def test_a_batch_asks_the_same_as_its_views_alone(
    processor: Qwen3VLProcessor, tower: VisionModel
) -> None:
    views = Views(processor, 2)
    course = Sight(tower, views)
    (both,) = course.batches(Budget(1000, 4000), 0, 0)
    seen = tower(both.pixels, both.grids).tokens
    apart = [tower(one.pixels, [one.grid]).tokens for one in (views[0], views[1])]
    torch.testing.assert_close(seen, torch.cat(apart))
    assert torch.equal(both.told, torch.cat([views[0].told, views[1].told]))


def test_a_tower_learns_to_see(
    processor: Qwen3VLProcessor, tower: VisionModel, tmp_path: Path
) -> None:
    course = Sight(tower, Views(processor, 600))
    losses: list[float] = []
    settings = replace(SIZES["nano"].settings, tokens=1024)
    Trainer(course, tmp_path, settings).run(lambda progress: losses.append(progress.loss))
    # Knowing nothing, all classes are as likely.
    sums = sum(one.weight * (1 + one.mostly_nothing) * np.log(one.classes) for one in ASKED)
    sums += sum(one.weight * 0.5 for one in ASKED if one.classes == 1)
    assert losses[0] == pytest.approx(1.75 * sums, rel=0.1)
    assert sum(losses[-5:]) / 5 < 0.75 * losses[0]


def test_what_is_not_asked_does_not_count(processor: Qwen3VLProcessor, tower: VisionModel) -> None:
    course = Sight(tower, Views(processor, 1))
    batch = SightBatch.of([Views(processor, 1)[0]], 1)
    nothing = replace(batch, told=torch.full_like(batch.told, -1))
    nothing.told[:, :5] = 0
    assert course.loss(nothing).isfinite()
    course.loss(nothing).backward()
    assert all(one.grad is None or one.grad.isfinite().all() for one in tower.parameters())


def test_faint_positions_are_made_loud_once(tower: VisionModel) -> None:
    hear_positions(tower)
    loud = tower.pos_embed.weight.detach().clone()
    assert loud.std() > 1
    assert len({tuple(row) for row in loud.round(decimals=3).tolist()}) == len(loud)
    hear_positions(tower)
    assert torch.equal(tower.pos_embed.weight, loud)

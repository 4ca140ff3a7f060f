"""Coloured shapes."""

from __future__ import annotations

import random
from itertools import combinations

import numpy as np
import pytest

from qwen3_vl.validation.quality.drawing import (
    COLOURS,
    SHAPES,
    Canvas,
    Thing,
    different_names,
    places,
    shape_mask,
)
from tests.unit.validation.quality.seeing import things_in


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", [8, 13, 40])
def test_a_shape_touches_all_four_sides_of_its_square(shape, size):
    mask = shape_mask(shape, size)
    assert mask.shape == (size, size)
    assert all(edge.any() for edge in (mask[0], mask[-1], mask[:, 0], mask[:, -1]))
    assert np.array_equal(mask, mask[:, ::-1])


def test_at_eight_pixels_no_two_shapes_look_alike():
    for one, other in combinations(SHAPES, 2):
        differ = abs(shape_mask(one, 8).astype(float) - shape_mask(other, 8))
        assert differ.sum() > 8 * 255, (one, other)


def test_the_colours_are_well_apart():
    for one, other in combinations(COLOURS.values(), 2):
        assert np.linalg.norm(np.subtract(one, other)) > 70


@pytest.mark.parametrize("ground", [(235, 235, 235), (20, 20, 20)])
def test_the_colours_stand_out_from_every_ground(ground):
    for colour in COLOURS.values():
        assert max(abs(np.subtract(colour, ground))) > 120


@pytest.mark.parametrize("seed", range(6))
def test_things_are_seen_where_they_were_drawn(seed):
    rng = random.Random(seed)
    canvas = Canvas(128, 96, (230, 228, 232))
    sizes = [10, 16, 22, 30]
    corners = places(rng, sizes, canvas.width, canvas.height)
    names = different_names(rng, 4)
    drawn = [
        Thing(*name, *corner, size)
        for name, corner, size in zip(names, corners, sizes, strict=True)
    ]
    for thing in drawn:
        canvas.draw(thing)
    canvas.noise(rng, 10)
    seen = {(one.name, one.left, one.top, one.size) for one in things_in(canvas.image())}
    assert seen == {(one.name, one.left, one.top, one.size) for one in drawn}


def test_places_keep_their_distance_and_stay_inside():
    taken = places(random.Random(1), [20] * 9, 128, 128, gap=5)
    for (x, y), (u, v) in combinations(taken, 2):
        assert abs(x - u) >= 25 or abs(y - v) >= 25
    assert all(0 <= side <= 108 for corner in taken for side in corner)


def test_too_much_for_the_picture_is_said():
    with pytest.raises(ValueError, match="no room"):
        places(random.Random(0), [46, 46], 96, 96)


def test_strength_mixes_with_the_ground():
    canvas = Canvas(32, 32, (0, 0, 0))
    canvas.draw(Thing("orange", "square", 4, 4, 8), strength=50)
    assert canvas.image().getpixel((8, 8)) == (125, 67, 6)
    assert canvas.image().getpixel((20, 20)) == (0, 0, 0)


def test_noise_moves_no_pixel_further_than_it_may():
    canvas = Canvas(64, 64, (100, 110, 120))
    canvas.noise(random.Random(0), 12)
    moved = canvas.pixels.astype(int) - (100, 110, 120)
    assert abs(moved).max() == 12
    assert abs(moved.mean()) < 1

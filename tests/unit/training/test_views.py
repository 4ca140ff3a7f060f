"""Views are the same each time, and what is said of them is where it is said to be."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from qwen3_vl.training.views import SIGNS, View, make_view
from qwen3_vl.validation.quality.drawing import COLOURS, Canvas


@pytest.fixture(scope="module")
def views() -> list[View]:
    return [make_view(index) for index in range(60)]


def test_a_number_gives_always_the_same_view(views: list[View]) -> None:
    for index in (0, 7, 59):
        again = make_view(index)
        assert (again.things, again.letters) == (views[index].things, views[index].letters)
        assert np.array_equal(again.canvas.pixels, views[index].canvas.pixels)


def test_some_have_things_and_some_have_letters(views: list[View]) -> None:
    things = [view for view in views if view.things]
    assert 20 < len(things) < 50
    pictures = [view for view in views if not view.later]
    assert all(bool(view.things) != bool(view.letters) for view in pictures)
    assert 2 < len(views) - len(pictures) < 15
    assert max(len(view.things) for view in views) > 7
    assert 3 < sum(view.columns is not None for view in views) < 20
    assert {letter.sign for view in views for letter in view.letters} == set(SIGNS)


def test_things_have_their_colour_where_they_lie() -> None:
    for view in (make_view(index) for index in range(60)):
        for thing in view.things:
            if thing.shape in ("circle", "square"):
                x, y = (int(one) for one in thing.centre)
                assert nearest(view.canvas, x, y) == thing.colour


def nearest(canvas: Canvas, x: int, y: int) -> str:
    """The colour that a pixel is a mixture of, with noise and with the ground."""
    ground = np.array(canvas.ground, float)
    wanted = canvas.pixels[y, x] - ground

    def unlike(colour: str) -> float:
        along = np.array(COLOURS[colour]) - ground
        share = np.clip(wanted @ along / (along @ along), 0.5, 1.0)
        return float(np.square(wanted - share * along).sum())

    return min(COLOURS, key=unlike)


def test_letters_are_drawn_around_their_middles() -> None:
    for view in (make_view(index) for index in range(60)):
        for letter in view.letters:
            if letter.sign in "BEHR8":
                x, y = (int(one) for one in letter.centre)
                around = view.canvas.pixels[y - 3 : y + 4, x - 2 : x + 3].astype(int)
                assert abs(around - view.canvas.ground).max() > 60, letter


def test_lines_are_read_from_left_to_right_and_down() -> None:
    for view in (make_view(index) for index in range(60)):
        for one, following in pairwise(view.letters):
            if following.line == one.line:
                assert following.place == one.place + 1
                assert following.centre[0] > one.centre[0]
            else:
                assert (following.line, following.place) == (one.line + 1, 0)
                assert following.centre[1] > one.centre[1]


def test_in_rows_one_thing_is_unlike_all_others() -> None:
    for view in (make_view(index) for index in range(60)):
        if view.columns:
            kinds = Counter(thing.name for thing in view.things)
            assert len(view.things) % view.columns == 0
            assert sorted(kinds.values())[:-1] == [1]


def test_a_moment_shows_things_that_stay_come_go_or_follow_each_other() -> None:
    seen = Counter[str]()
    for view in (make_view(index) for index in range(600)):
        if view.later is None:
            continue
        assert view.canvas.pixels.shape == view.later.canvas.pixels.shape
        assert view.canvas.ground == view.later.canvas.ground
        before, after = view.things, view.later.things
        assert len(before) + len(after) > 0
        stays = before == after
        seen[
            "stays" if stays else "follows" if before and after else "goes" if before else "comes"
        ] += 1
        for frame in (view, view.later):
            for thing in frame.things:
                if thing.shape in ("circle", "square"):
                    x, y = (int(one) for one in thing.centre)
                    assert nearest(frame.canvas, x, y) == thing.colour
    assert seen.keys() == {"stays", "comes", "goes", "follows"}
    assert seen["follows"] == max(seen.values())

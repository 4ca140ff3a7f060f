"""Boxes are found in whatever a model writes around them, and drawn where they are."""

from __future__ import annotations

import pytest
from PIL import Image

from qwen3_vl.processing.boxes import Box, draw_boxes, read_boxes


@pytest.mark.parametrize(
    ("text", "boxes"),
    [
        ('{"bbox_2d": [1, 2, 3, 4]}', [Box(1, 2, 3, 4)]),
        ('{"bbox_2d": [1, 2, 3, 4]} {"bbox_2d": [5, 6, 7, 8]}', [Box(1, 2, 3, 4), Box(5, 6, 7, 8)]),
        (
            """Here:\n```json\n[
            {"bbox_2d": [1, 2, 3, 4], "label": "a {b}"},
            {"label": "c", "bbox_2d": [5.5, 6, 7, 8]}]\n```""",
            [Box(1, 2, 3, 4, "a {b}"), Box(5.5, 6, 7, 8, "c")],
        ),
        ('{"found": {"bbox_2d": [1, 2, 3, 4]}}', [Box(1, 2, 3, 4)]),
        ('{{"bbox_2d": [1, 2, 3, 4]}', [Box(1, 2, 3, 4)]),
        ('[{"bbox_2d": [1, 2, 3, 4]}, {"bbox_2d": [5, 6', [Box(1, 2, 3, 4)]),
        ('{"bbox_2d": [1, 2, 3, 4], "label": 7}', [Box(1, 2, 3, 4)]),
        ('{"bbox_2d": [1, 2, 3]}', []),
        ('{"bbox_2d": [1, 2, 3, "4"]}', []),
        ('{"bbox_2d": [1, 2, 3, true]}', []),
        ('{"bbox_2d": [1, 2, 3, 1e999]}', []),
        ('{"bbox_2d": [1, 2, 3, NaN]}', []),
        ('{"bbox_2d": 5}', []),
        ("{" * 5000, []),
        ('{"a":' * 5000, []),
        ("none", []),
        ("", []),
    ],
)
def test_whole_boxes_are_read(text: str, boxes: list[Box]) -> None:
    assert read_boxes(text) == boxes


def test_overlap_is_a_share_of_both() -> None:
    assert Box(0, 0, 10, 10).overlap(Box(5, 0, 15, 10)) == pytest.approx(1 / 3)
    assert Box(0, 0, 10, 10).overlap(Box(0, 0, 10, 10)) == 1
    assert Box(0, 0, 10, 10).overlap(Box(10, 0, 20, 10)) == 0
    assert Box(0, 0, 0, 0).overlap(Box(0, 0, 0, 0)) == 0
    assert Box(10, 10, 0, 0).overlap(Box(0, 0, 10, 10)) == 0


def test_thousandths_become_pixels_of_the_picture() -> None:
    assert Box(0, 500, 250, 1000).pixels(400, 200) == (0, 100, 100, 199)
    assert Box(-50, -1, 2000, 1e30).pixels(400, 200) == (0, 0, 399, 199)


def test_a_box_is_drawn_around_its_place_on_a_copy() -> None:
    picture = Image.new("L", (100, 50), 255)
    drawn = draw_boxes(picture, [Box(200, 200, 600, 800)])
    assert picture.getextrema() == (255, 255)
    assert drawn.convert("L").point(lambda level: 255 * (level < 255)).getbbox() == (20, 10, 61, 41)
    assert drawn.getpixel((40, 25)) == (255, 255, 255)


def test_boxes_have_colours_of_their_own_and_labels() -> None:
    picture = Image.new("RGB", (100, 50), "white")
    boxes = [Box(0, 0, 400, 900), Box(500, 0, 900, 900)]
    drawn = draw_boxes(picture, boxes)
    assert drawn.getpixel((0, 0)) != drawn.getpixel((50, 0)) != (255, 255, 255)
    labelled = draw_boxes(picture, [Box(0, 0, 400, 900, "star"), boxes[1]])
    assert labelled.tobytes() != drawn.tobytes()


def test_a_box_with_its_ends_turned_is_not_drawn() -> None:
    picture = Image.new("RGB", (100, 50), "white")
    assert draw_boxes(picture, [Box(600, 200, 200, 800)]).tobytes() == picture.tobytes()

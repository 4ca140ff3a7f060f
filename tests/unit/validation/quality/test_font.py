"""Letters of our own."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from qwen3_vl.validation.quality.font import GLYPHS, text_mask
from qwen3_vl.validation.quality.reading import CHARACTERS, GOODS


def test_at_seven_pixels_a_letter_is_what_the_sheet_shows():
    assert np.array_equal(text_mask("R", 7), GLYPHS["R"] * 255)


@pytest.mark.parametrize("style", ["plain", "bold"])
@pytest.mark.parametrize("height", [8, 11, 16, 22])
def test_a_line_has_the_height_asked_for_and_grows_with_its_letters(height, style):
    widths = [text_mask("H" * letters, height, style).shape for letters in (1, 2, 3)]
    assert {shape[0] for shape in widths} == {height}
    (_, one), (_, two), (_, three) = widths
    assert two - one == three - two > 0.7 * height


@pytest.mark.parametrize("height", range(7, 25))
def test_scaling_keeps_the_share_of_ink(height):
    share = text_mask("B", height).mean() / 255
    assert share == pytest.approx(GLYPHS["B"].mean(), abs=0.03)


@pytest.mark.parametrize("style", ["plain", "bold"])
def test_at_eight_pixels_no_two_characters_look_alike(style):
    masks = {character: text_mask(character, 8, style).astype(float) for character in CHARACTERS}
    for one, other in combinations(CHARACTERS, 2):
        assert abs(masks[one] - masks[other]).sum() > 3 * 255, (one, other)


def test_bold_strokes_are_wider():
    assert text_mask("I", 14, "bold").sum() > 1.2 * text_mask("I", 14).sum()


def test_everything_that_is_written_has_glyphs():
    written = set(CHARACTERS) | set("".join(GOODS)) | set(".,")
    assert written <= set(GLYPHS)
    assert {dots.shape for dots in GLYPHS.values()} == {(7, 5)}

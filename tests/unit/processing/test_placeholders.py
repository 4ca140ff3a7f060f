"""The text that stands for pictures and videos."""

from __future__ import annotations

import pytest

from qwen3_vl.errors import InputError
from qwen3_vl.processing.placeholders import IMAGE_PAD, VIDEO_PAD, check_counts, expand
from qwen3_vl.processing.video import VideoPlan

PLAN = VideoPlan((0, 1, 2), (0.04, 12.25), 32, 64, (2, 2, 4))


def test_pictures_cost_their_merged_patches() -> None:
    texts = [f"a{IMAGE_PAD}b{IMAGE_PAD}", "none", f"{IMAGE_PAD}"]
    grids = [(1, 2, 2), (1, 2, 6), (1, 4, 4)]
    assert expand(texts, grids, [], 2) == [
        f"a{IMAGE_PAD}b{IMAGE_PAD * 3}",
        "none",
        IMAGE_PAD * 4,
    ]


def test_a_video_is_a_row_of_timed_frames() -> None:
    frame = f"<|vision_start|>{VIDEO_PAD * 2}<|vision_end|>"
    expected = f"<0.0 seconds>{frame}<12.2 seconds>{frame}"
    assert expand([f"a{VIDEO_PAD}b"], [], [PLAN], 2) == [f"a{expected}b"]


def test_pictures_and_videos_in_any_order() -> None:
    texts = [VIDEO_PAD + IMAGE_PAD, IMAGE_PAD + VIDEO_PAD]
    first, second = expand(texts, [(1, 2, 2), (1, 2, 4)], [PLAN, PLAN], 2)
    assert first.endswith(f"<|vision_end|>{IMAGE_PAD}")
    assert second.startswith(f"{IMAGE_PAD * 2}<0.0 seconds>")


def test_counts_name_both_numbers() -> None:
    texts = [IMAGE_PAD, IMAGE_PAD * 2]
    check_counts(texts, IMAGE_PAD, "images", 3, None)
    check_counts(texts, IMAGE_PAD, "images", 3, [1, 2])
    with pytest.raises(InputError, match=r"has 3 <\|image_pad\|> for 2 images"):
        check_counts(texts, IMAGE_PAD, "images", 2, None)
    with pytest.raises(InputError, match=r"text 0 has 1 <\|image_pad\|> for 2 images"):
        check_counts(texts, IMAGE_PAD, "images", 3, [2, 1])
    with pytest.raises(
        InputError, match="reserved, and text is not escaped: if your words hold it"
    ):
        check_counts([IMAGE_PAD], IMAGE_PAD, "images", 0, [0])
    with pytest.raises(InputError, match="1 lists of images were given for 2 texts"):
        check_counts(texts, IMAGE_PAD, "images", 3, [3])

"""The shapes in which pictures and videos may be given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from qwen3_vl.errors import InputError
from qwen3_vl.processing.grouping import flatten_images, flatten_videos
from qwen3_vl.processing.video import VideoInput

PICTURE = Image.new("RGB", (4, 4))
FRAME = np.zeros((4, 4, 3), np.uint8)


def test_pictures() -> None:
    assert flatten_images(None) == ([], None)
    assert flatten_images("a.png") == (["a.png"], None)
    assert flatten_images(["a.png", PICTURE]) == (["a.png", PICTURE], None)
    assert flatten_images([["a"], [], ["b", "c"]]) == (["a", "b", "c"], [1, 0, 2])
    assert flatten_images([]) == ([], None)
    array = np.zeros((2, 4, 3), np.uint8)
    assert flatten_images(array)[0][0] is array


@pytest.mark.parametrize(
    "video",
    [
        "a.mp4",
        Path("a.mp4"),
        b"bytes",
        [PICTURE, PICTURE],
        (FRAME, FRAME),
        [torch.zeros(3, 4, 4)],
        np.zeros((2, 4, 4, 3)),
        VideoInput(["1.png", "2.png"]),
    ],
)
def test_one_video_in_every_nesting(video: object) -> None:
    for given, counts in ((video, None), ([video], None), ([[video]], [1])):
        flat, per_text = flatten_videos(given)  # type: ignore[arg-type]
        assert len(flat) == 1
        assert flat[0] is video
        assert per_text == counts


def test_several_videos() -> None:
    assert flatten_videos(["a.mp4", [PICTURE]]) == (["a.mp4", [PICTURE]], None)
    assert flatten_videos([["a", "b"], []]) == (["a", "b"], [2, 0])


def test_mixtures_are_refused() -> None:
    with pytest.raises(InputError, match="images mixes single items with lists"):
        flatten_images(["a", ["b"]])
    with pytest.raises(InputError, match="videos mixes single items with lists"):
        flatten_videos(["a", ["b"]])

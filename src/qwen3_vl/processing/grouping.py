"""Flattens the shapes in which the pictures and videos of one call may be given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from qwen3_vl.errors import InputError
from qwen3_vl.processing.image import ImageInput, ImageSource
from qwen3_vl.processing.video import VideoInput, VideoSource

Images = ImageSource | ImageInput | Sequence[Any]
Videos = VideoSource | VideoInput | Sequence[Any]

# The flat list, and where one list per text was given: how many each text has.
Flat = tuple[list[Any], list[int] | None]


def flatten_images(images: Images | None) -> Flat:
    """One picture, a list of pictures, or one list of pictures per text."""
    if images is None:
        return [], None
    if not isinstance(images, (list, tuple)):
        return [images], None
    return _flatten(images, [isinstance(item, (list, tuple)) for item in images], "images")


def flatten_videos(videos: Videos | None) -> Flat:
    """One video, a list of videos, or one list of videos per text.

    A list of pictures or of frame arrays is one video. Files that hold one frame each go into
    `VideoInput([...])`, since a list of paths means several videos.
    """
    if videos is None:
        return [], None
    if not isinstance(videos, (list, tuple)) or _is_frame_list(videos):
        return [videos], None
    nested = [isinstance(item, (list, tuple)) and not _is_frame_list(item) for item in videos]
    return _flatten(videos, nested, "videos")


def _flatten(items: Sequence[Any], nested: list[bool], name: str) -> Flat:
    if not any(nested):
        return list(items), None
    if not all(nested):
        raise InputError(f"{name} mixes single items with lists; give one list per text, or none")
    return [item for group in items for item in group], [len(group) for group in items]


def _is_frame_list(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and len(value) > 0 and all(map(_is_frame, value))


def _is_frame(value: Any) -> bool:
    if isinstance(value, (np.ndarray, Tensor)):
        return value.ndim in (2, 3)
    return isinstance(value, Image.Image)

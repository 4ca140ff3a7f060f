"""The settings of one call for pictures and videos, and how they meet those of a single one."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from qwen3_vl.processing.image import ImageInput, ImageSource
from qwen3_vl.processing.video import VideoInput, VideoSource

_SAMPLING = ("fps", "num_frames", "do_sample_frames")


@dataclass(frozen=True)
class MediaOptions:
    """The settings of one call for pictures and videos; None keeps the checkpoint's own.

    `min_pixels` and `max_pixels` limit height x width of a picture, `video_min_pixels` and
    `video_max_pixels` frames x height x width of a video. One token is 32 x 32 pixels.
    """

    min_pixels: int | None = None
    max_pixels: int | None = None
    fps: float | None = None
    num_frames: int | None = None
    do_sample_frames: bool | None = None
    video_min_pixels: int | None = None
    video_max_pixels: int | None = None

    def image(self, image: ImageSource | ImageInput) -> ImageInput:
        """The picture with these settings; its own settings win."""
        if not isinstance(image, ImageInput):
            return ImageInput(image, self.min_pixels, self.max_pixels)
        return ImageInput(
            image.source,
            self.min_pixels if image.min_pixels is None else image.min_pixels,
            self.max_pixels if image.max_pixels is None else image.max_pixels,
        )

    def video(self, video: VideoSource | VideoInput) -> VideoInput:
        """The video with these settings; its own settings win, the three of sampling as one."""
        given = video if isinstance(video, VideoInput) else VideoInput(video)
        changes: dict[str, float | None] = {
            "min_pixels": self.video_min_pixels if given.min_pixels is None else given.min_pixels,
            "max_pixels": self.video_max_pixels if given.max_pixels is None else given.max_pixels,
        }
        if all(getattr(given, name) is None for name in _SAMPLING):
            changes |= {name: getattr(self, name) for name in _SAMPLING}
        return dataclasses.replace(given, **changes)

"""Prepares videos for the model: which frames, how large, at what time, and their patches."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import ConfigDict
from torch import Tensor

from qwen3_vl.config.reading import checked
from qwen3_vl.errors import ConfigError, VideoError
from qwen3_vl.processing.image import Grid
from qwen3_vl.processing.pixels import (
    MAX_ASPECT_RATIO,
    PixelSettings,
    normalise,
    resize,
    to_patches,
)
from qwen3_vl.processing.settings import read_processor_part, refuse_unknown
from qwen3_vl.processing.video_loading import (
    OpenVideo,
    VideoLimits,
    VideoSource,
    is_rate,
    open_video,
)

__all__ = [
    "VideoInput",
    "VideoLimits",
    "VideoPlan",
    "VideoProcessor",
    "VideoSource",
    "open_video",
    "smart_resize_video",
]

_SAMPLING = ("fps", "num_frames", "min_frames", "max_frames", "do_sample_frames")
_CAP = ("cap_pixels_per_frame", "max_video_tokens")


@dataclass(frozen=True)
class VideoInput:
    """A video together with how it is to be read.

    `frame_rate` tells how many frames of a list or array make one second (24 if not given). `fps`
    and `num_frames` choose how many frames are used; `do_sample_frames=False` uses all. The pixel
    limits count frames x height x width.
    """

    source: VideoSource
    frame_rate: float | None = None
    fps: float | None = None
    num_frames: int | None = None
    do_sample_frames: bool | None = None
    min_pixels: int | None = None
    max_pixels: int | None = None


@dataclass(frozen=True)
class VideoPlan:
    """What of a video is read: known before a frame is decoded."""

    indices: tuple[int, ...]
    timestamps: tuple[float, ...]
    height: int
    width: int
    grid: Grid


@dataclass(frozen=True)
class VideoProcessor:
    """Turns videos into `pixel_values_videos`, `video_grid_thw` and the time of each patch.

    With `cap_pixels_per_frame` one frame costs at most `max_video_tokens` tokens; without it a
    short video spends the whole pixel limit on its few frames.
    """

    __pydantic_config__: ClassVar = ConfigDict(strict=True)

    pixels: PixelSettings = PixelSettings(min_pixels=4_096, max_pixels=25_165_824)
    fps: float | None = 2
    num_frames: int | None = None
    min_frames: int = 4
    max_frames: int = 768
    do_sample_frames: bool = True
    cap_pixels_per_frame: bool = True
    max_video_tokens: int = 768
    limits: VideoLimits = VideoLimits()

    def __post_init__(self) -> None:
        if not 1 <= self.min_frames <= self.max_frames:
            raise ConfigError(
                f"min_frames ({self.min_frames}) must be at least 1 and at most max_frames "
                f"({self.max_frames})"
            )
        if self.max_video_tokens < 1:
            raise ConfigError("max_video_tokens must be at least 1")
        _check_sampling(self.fps, self.num_frames, ConfigError)

    @classmethod
    def from_folder(cls, folder: str | Path) -> VideoProcessor:
        """Read the settings in a checkpoint folder."""
        files = ("video_preprocessor_config.json", "preprocessor_config.json")
        return cls.from_dict(read_processor_part(Path(folder), "video_processor", files))

    @classmethod
    def from_dict(cls, settings: dict[str, Any]) -> VideoProcessor:
        """Read the content of a video_preprocessor_config.json; an unknown key is an error."""
        known = PixelSettings.keys() | set(_SAMPLING) | set(_CAP)
        refuse_unknown(settings, known, "the video processor's settings")
        own = {
            name: settings[name]
            for name in _SAMPLING + _CAP
            if settings.get(name) is not None or (name == "fps" and name in settings)
        }
        pixels = cls().pixels.updated(settings)
        return checked(cls, {"pixels": dataclasses.asdict(pixels)} | own)

    def with_limits(self, limits: VideoLimits | None) -> VideoProcessor:
        """A copy with other limits; None keeps them."""
        return self if limits is None else dataclasses.replace(self, limits=limits)

    def to_dict(self) -> dict[str, Any]:
        """The settings as video_preprocessor_config.json holds them, without the limits."""
        own = {name: getattr(self, name) for name in _SAMPLING + _CAP}
        return self.pixels.to_dict() | own | {"video_processor_type": "Qwen3VLVideoProcessor"}

    def frame_indices(
        self,
        frame_count: int,
        frame_rate: float,
        *,
        fps: float | None = None,
        num_frames: int | None = None,
        do_sample_frames: bool | None = None,
    ) -> list[int]:
        """Which of `frame_count` frames are used, evenly from the first to the last."""
        _check_sampling(fps, num_frames, VideoError)
        if not (self.do_sample_frames if do_sample_frames is None else do_sample_frames):
            if fps is not None or num_frames is not None:
                raise VideoError("fps and num_frames need sampling; leave do_sample_frames on")
            return list(range(frame_count))
        if fps is None and num_frames is None:
            fps, num_frames = self.fps, self.num_frames
        if num_frames is None:
            wanted = frame_count if fps is None else int(frame_count / frame_rate * fps)
            num_frames = min(max(wanted, self.min_frames), self.max_frames)
        wanted = min(num_frames, frame_count)
        return np.linspace(0, frame_count - 1, wanted).round().astype(int).tolist()

    def frame_size(
        self,
        num_frames: int,
        height: int,
        width: int,
        *,
        min_pixels: int | None = None,
        max_pixels: int | None = None,
    ) -> tuple[int, int]:
        """(height, width) that `num_frames` frames of this size are resized to."""
        pixels = self.pixels.limited(min_pixels, max_pixels)
        if not pixels.do_resize:
            if height % pixels.factor or width % pixels.factor:
                raise VideoError(
                    f"do_resize is off, and frames of {width}x{height} are not a multiple of "
                    f"{pixels.factor} on both sides; resize them or switch do_resize on"
                )
            return height, width
        num_frames = max(num_frames, pixels.temporal_patch_size)
        limit = pixels.max_pixels
        if self.cap_pixels_per_frame:
            frame_cap = min(self.max_video_tokens * pixels.factor**2, limit // num_frames)
            limit = max(frame_cap, int(pixels.min_pixels * 1.05)) * num_frames
        return smart_resize_video(
            num_frames,
            height,
            width,
            temporal_factor=pixels.temporal_patch_size,
            factor=pixels.factor,
            min_pixels=pixels.min_pixels,
            max_pixels=limit,
        )

    def grid(
        self,
        num_frames: int,
        height: int,
        width: int,
        *,
        min_pixels: int | None = None,
        max_pixels: int | None = None,
    ) -> Grid:
        """(time, height, width) of `num_frames` used frames, counted in patches."""
        height, width = self.frame_size(
            num_frames, height, width, min_pixels=min_pixels, max_pixels=max_pixels
        )
        patch = self.pixels.patch_size
        time = math.ceil(num_frames / self.pixels.temporal_patch_size)
        return time, height // patch, width // patch

    def plan(self, opened: OpenVideo, video: VideoInput) -> VideoPlan:
        """Decide what to read of an open video."""
        indices = self.frame_indices(
            opened.frame_count,
            opened.frame_rate,
            fps=video.fps,
            num_frames=video.num_frames,
            do_sample_frames=video.do_sample_frames,
        )
        grid = self.grid(
            len(indices),
            opened.height,
            opened.width,
            min_pixels=video.min_pixels,
            max_pixels=video.max_pixels,
        )
        patch, temporal = self.pixels.patch_size, self.pixels.temporal_patch_size
        return VideoPlan(
            indices=tuple(indices),
            timestamps=tuple(_timestamps(indices, opened.frame_rate, temporal)),
            height=grid[1] * patch,
            width=grid[2] * patch,
            grid=grid,
        )

    def measure(self, video: VideoInput) -> VideoPlan:
        """The plan of one video, without decoding more than its first frame."""
        with open_video(video.source, self.limits, video.frame_rate) as opened:
            return self.plan(opened, video)

    def __call__(
        self, videos: Sequence[VideoSource | VideoInput]
    ) -> tuple[Tensor, Tensor, list[VideoPlan]]:
        """`pixel_values_videos` [patches, 1536], `video_grid_thw` [videos, 3], and the plans."""
        if not videos:
            raise VideoError("no videos were given; pass at least one")
        given = [one if isinstance(one, VideoInput) else VideoInput(one) for one in videos]
        rows, plans = zip(*(self._prepare(video) for video in given), strict=True)
        grids = torch.tensor([plan.grid for plan in plans])
        return rows[0] if len(rows) == 1 else torch.cat(rows), grids, list(plans)

    def _prepare(self, video: VideoInput) -> tuple[Tensor, VideoPlan]:
        with open_video(video.source, self.limits, video.frame_rate) as opened:
            plan = self.plan(opened, video)
            time, height, width = plan.grid
            rows = torch.empty(time, height * width, self.pixels.patch_dim)
            # Each pair of frames becomes patches at once: full-size frames never pile up.
            pair: list[Tensor] = []
            filled = 0
            for frame in opened.frames(plan.indices):
                pair.append(resize(frame, plan.height, plan.width))
                if len(pair) == self.pixels.temporal_patch_size:
                    rows[filled] = self._rows(pair)
                    pair, filled = [], filled + 1
            if pair:
                rows[filled] = self._rows(pair)
        return rows.flatten(0, 1), plan

    def _rows(self, frames: list[Tensor]) -> Tensor:
        """The patches of one temporal patch; its last frame fills the places that are left."""
        missing = self.pixels.temporal_patch_size - len(frames)
        stacked = torch.stack(frames + frames[-1:] * missing)
        return to_patches(normalise(stacked, self.pixels), self.pixels)


def smart_resize_video(
    num_frames: int,
    height: int,
    width: int,
    *,
    temporal_factor: int,
    factor: int,
    min_pixels: int,
    max_pixels: int,
) -> tuple[int, int]:
    """Like `smart_resize` for pictures, but the limits hold for frames x height x width.

    Small frames are first enlarged to one whole factor.
    """
    if height < factor or width < factor:
        scale = max(factor / height, factor / width)
        height, width = int(height * scale), int(width * scale)
    if max(height, width) > MAX_ASPECT_RATIO * min(height, width):
        raise VideoError(
            f"frames of {width}x{height} are too narrow: one side may be at most "
            f"{MAX_ASPECT_RATIO} times the other; crop or pad them"
        )
    rows, columns = round(height / factor), round(width / factor)
    volume = round(num_frames / temporal_factor) * temporal_factor * rows * columns * factor**2
    if volume > max_pixels:
        shrink = math.sqrt(num_frames * height * width / max_pixels)
        rows = max(1, math.floor(height / shrink / factor))
        columns = max(1, math.floor(width / shrink / factor))
    elif volume < min_pixels:
        grow = math.sqrt(min_pixels / (num_frames * height * width))
        rows = math.ceil(height * grow / factor)
        columns = math.ceil(width * grow / factor)
    return rows * factor, columns * factor


def _timestamps(indices: list[int], frame_rate: float, temporal: int) -> list[float]:
    """Seconds of each temporal patch: the mean of its first and its last frame."""
    padded = indices + indices[-1:] * (-len(indices) % temporal)
    seconds = [index / frame_rate for index in padded]
    return [
        (seconds[start] + seconds[start + temporal - 1]) / 2
        for start in range(0, len(seconds), temporal)
    ]


def _check_sampling(
    fps: float | None, num_frames: int | None, error: type[ConfigError | VideoError]
) -> None:
    if fps is not None and num_frames is not None:
        raise error("fps and num_frames exclude each other; give one of them (null for the other)")
    if fps is not None and not is_rate(fps):
        raise error(f"fps must be a number above 0, not {fps!r}")
    if num_frames is not None and (not isinstance(num_frames, int) or num_frames < 1):
        raise error(f"num_frames must be a whole number above 0, not {num_frames!r}")

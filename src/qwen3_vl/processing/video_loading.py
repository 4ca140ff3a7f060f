"""Opens a video, a file or a list of frames, and gives the wanted frames as RGB pictures."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Real
from types import ModuleType
from typing import Any, BinaryIO, Protocol

import numpy as np
import torch
from torch import Tensor

from qwen3_vl.errors import DependencyError, ImageError, VideoError
from qwen3_vl.processing.image import (
    ImageLimits,
    ImageSource,
    image_size,
    load_image,
    to_tensor,
)
from qwen3_vl.processing.sources import Source, describe, open_source

Frames = list[ImageSource] | tuple[ImageSource, ...] | np.ndarray | Tensor
VideoSource = Source | Frames

DEFAULT_FRAME_RATE = 24.0

# FFmpeg may open no further file or address by itself: a playlist could name any of them.
_NO_NESTED_OPENING = {"protocol_whitelist": "none"}


@dataclass(frozen=True)
class VideoLimits:
    """What one video may cost, and where it may come from. See `ImageLimits` about servers."""

    max_bytes: int = 2**30
    max_pixels: int = 8192 * 4320
    max_frames: int = 1_000_000
    allow_files: bool = True
    allow_remote: bool = False
    timeout_seconds: float = 60.0


class OpenVideo(Protocol):
    """A video whose size is known and whose frames are not decoded yet."""

    frame_count: int
    frame_rate: float
    height: int
    width: int

    def frames(self, indices: Sequence[int]) -> Iterator[Tensor]:
        """The frames at these rising indices, each uint8 [3, height, width], one at a time."""
        ...


@contextmanager
def open_video(
    source: VideoSource,
    limits: VideoLimits = VideoLimits(),
    frame_rate: float | None = None,
) -> Iterator[OpenVideo]:
    """Open a path, bytes, a file object, a URL, a list of pictures, or a uint8 array of frames.

    An array is [time, height, width, 3], a tensor [time, 3, height, width]. `frame_rate` says how
    many frames of a list or array make one second (24 if not given); a file knows its own.
    """
    if isinstance(source, (list, tuple, np.ndarray, Tensor)):
        yield FrameList(source, limits, DEFAULT_FRAME_RATE if frame_rate is None else frame_rate)
        return
    if frame_rate is not None:
        raise VideoError(
            "frame_rate belongs to a list of frames; a video file says its own. "
            "To choose how many frames are read, pass fps or num_frames"
        )
    with open_source(source, limits, VideoError) as stream:
        yield VideoFile(stream, describe(source), limits)


class FrameList:
    """Frames that are already in memory, or one picture file each."""

    def __init__(self, frames: Frames, limits: VideoLimits, rate: float):
        if isinstance(frames, (np.ndarray, Tensor)) and frames.ndim != 4:
            raise VideoError(
                f"a video array needs four axes, [time, height, width, 3], or as a tensor "
                f"[time, 3, height, width]; this one has shape {tuple(frames.shape)}"
            )
        if not is_rate(rate):
            raise VideoError(f"frame_rate must be a number above 0, not {rate!r}")
        if len(frames) == 0:
            raise VideoError("the video has no frames")
        _check_length(len(frames), limits)
        self._frames = frames
        self._limits = ImageLimits(
            max_bytes=limits.max_bytes,
            max_pixels=limits.max_pixels,
            allow_files=limits.allow_files,
            allow_remote=limits.allow_remote,
            timeout_seconds=limits.timeout_seconds,
        )
        self.frame_count = len(frames)
        self.frame_rate = float(rate)
        with _naming_frame(0):
            self.height, self.width = image_size(frames[0], self._limits)

    def frames(self, indices: Sequence[int]) -> Iterator[Tensor]:
        """The frames at these indices, loaded one at a time."""
        for index in indices:
            with _naming_frame(index):
                picture = to_tensor(load_image(self._frames[index], self._limits))
            yield _same_size(picture, index, self.height, self.width)


class VideoFile:
    """A video file, decoded by PyAV as a stream: only one frame is in memory at a time."""

    def __init__(self, stream: BinaryIO, name: str, limits: VideoLimits):
        self._av = _import_av()
        self._stream = stream
        self._name = name
        with self._container() as container:
            video = container.streams.video[0]
            rate = video.average_rate or video.guessed_rate
            self.frame_rate = float(rate) if rate else DEFAULT_FRAME_RATE
            self.frame_count = video.frames
            _check_pixels(video.width, video.height, limits)
            first = next(container.decode(video=0), None)
            if first is None:
                raise VideoError(f"{name}: not one frame could be decoded; the video is damaged")
            self.height, self.width = _upright(first).shape[-2:]
        if self.frame_count <= 0:  # Matroska, WebM and raw streams do not say
            self.frame_count = self._counted()
        _check_length(self.frame_count, limits)

    def frames(self, indices: Sequence[int]) -> Iterator[Tensor]:
        """The frames at these rising indices, from one pass over the file."""
        wanted = iter(indices)
        index = next(wanted, None)
        decoded, last = 0, None
        with self._container() as container:
            for frame in container.decode(video=0):
                if index is None:
                    return
                if decoded == index:
                    yield self._picture(frame, index)
                    index = next(wanted, None)
                decoded, last = decoded + 1, frame
            if index is None:
                return
            # A container may announce a frame or two that an edit list hides.
            if last is None or self.frame_count - decoded > max(2, self.frame_count // 100):
                raise VideoError(
                    f"{self._name} announces {self.frame_count} frames, but ends after {decoded}; "
                    "the file is damaged or cut short"
                )
            while index is not None:
                yield self._picture(last, index)
                index = next(wanted, None)

    def _picture(self, frame: Any, index: int) -> Tensor:
        if frame.is_corrupt:
            raise VideoError(f"{self._name}: frame {index} is damaged")
        return _same_size(_upright(frame), index, self.height, self.width)

    def _counted(self) -> int:
        with self._container() as container:
            return sum(packet.size > 0 for packet in container.demux(video=0))

    @contextmanager
    def _container(self) -> Iterator[Any]:
        self._stream.seek(0, io.SEEK_SET)
        try:
            # Titles in old files are often not UTF-8; nobody reads them here.
            with self._av.open(
                self._stream, options=_NO_NESTED_OPENING, metadata_errors="replace"
            ) as container:
                if not container.streams.video:
                    raise VideoError(f"{self._name} holds no video stream")
                container.streams.video[0].thread_type = "AUTO"
                yield container
        except self._av.error.FFmpegError as problem:
            message = f"cannot read {self._name} as a video: {problem.strerror}"
            raise VideoError(message) from problem


def is_rate(value: Any) -> bool:
    """Whether this can be a number of frames a second."""
    return isinstance(value, Real) and 0 < float(value) < float("inf")


@contextmanager
def _naming_frame(index: int) -> Iterator[None]:
    """What is wrong with a picture is wrong with the video."""
    try:
        yield
    except ImageError as problem:
        raise VideoError(f"frame {index} of the video: {problem}") from problem


def _import_av() -> ModuleType:
    try:
        import av
    except ImportError as problem:
        raise DependencyError(
            'video files need the package av: pip install "qwen3-vl[video]"; '
            "lists of frames work without it"
        ) from problem
    return av


def _upright(frame: Any) -> Tensor:
    """A decoded frame as uint8 [3, height, width], turned the way a player shows it."""
    picture = torch.from_numpy(frame.to_ndarray(format="rgb24"))
    quarter_turns = round(frame.rotation / 90) % 4  # counterclockwise
    return torch.rot90(picture, quarter_turns).permute(2, 0, 1).contiguous()


def _same_size(picture: Tensor, index: int, height: int, width: int) -> Tensor:
    if picture.shape[-2:] != (height, width):
        raise VideoError(
            f"frame {index} is {picture.shape[-1]}x{picture.shape[-2]}, but the first one is "
            f"{width}x{height}; all frames of a video must have one size"
        )
    return picture


def _check_pixels(width: int, height: int, limits: VideoLimits) -> None:
    if width * height > limits.max_pixels:
        raise VideoError(
            f"frames of {width}x{height} have more than the limit of {limits.max_pixels} pixels; "
            "raise max_pixels in VideoLimits to allow them"
        )


def _check_length(frame_count: int, limits: VideoLimits) -> None:
    if frame_count > limits.max_frames:
        raise VideoError(
            f"the video has {frame_count} frames, more than the limit of {limits.max_frames}; "
            "cut it, or raise max_frames in VideoLimits"
        )

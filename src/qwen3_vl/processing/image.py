"""Prepares pictures for the model: how large each becomes, what it costs in tokens, its patches."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from qwen3_vl.errors import ImageError
from qwen3_vl.processing.image_loading import ImageLimits, ImageSource, image_size, load_image
from qwen3_vl.processing.pixels import (
    MAX_ASPECT_RATIO,
    PixelSettings,
    normalise,
    resize,
    to_patches,
)
from qwen3_vl.processing.settings import read_processor_part, refuse_unknown

__all__ = [
    "ImageInput",
    "ImageLimits",
    "ImageProcessor",
    "ImageSource",
    "image_size",
    "load_image",
    "smart_resize",
]

Grid = tuple[int, int, int]


@dataclass(frozen=True)
class ImageInput:
    """A picture together with its own pixel limits."""

    source: ImageSource
    min_pixels: int | None = None
    max_pixels: int | None = None


@dataclass(frozen=True)
class ImageProcessor:
    """Turns pictures into `pixel_values` and `image_grid_thw`."""

    pixels: PixelSettings = PixelSettings(min_pixels=65_536, max_pixels=16_777_216)
    limits: ImageLimits = ImageLimits()

    @classmethod
    def from_folder(cls, folder: str | Path) -> ImageProcessor:
        """Read the settings in a checkpoint folder."""
        files = ("preprocessor_config.json",)
        return cls.from_dict(read_processor_part(Path(folder), "image_processor", files))

    @classmethod
    def from_dict(cls, settings: dict[str, Any]) -> ImageProcessor:
        """Read the content of a preprocessor_config.json; an unknown key is an error."""
        refuse_unknown(settings, PixelSettings.keys(), "the image processor's settings")
        return cls(pixels=cls().pixels.updated(settings))

    def with_limits(self, limits: ImageLimits | None) -> ImageProcessor:
        """A copy with other limits; None keeps them."""
        return self if limits is None else dataclasses.replace(self, limits=limits)

    def to_dict(self) -> dict[str, Any]:
        """The settings as preprocessor_config.json holds them; the limits are not part of it."""
        return self.pixels.to_dict() | {"image_processor_type": "Qwen2VLImageProcessor"}

    def grid(
        self,
        height: int,
        width: int,
        *,
        min_pixels: int | None = None,
        max_pixels: int | None = None,
    ) -> Grid:
        """(time, height, width) of a picture, counted in patches."""
        pixels = self.pixels.limited(min_pixels, max_pixels)
        height, width = _resized(height, width, pixels)
        return 1, height // pixels.patch_size, width // pixels.patch_size

    def count_tokens(
        self,
        height: int,
        width: int,
        *,
        min_pixels: int | None = None,
        max_pixels: int | None = None,
    ) -> int:
        """How many prompt tokens a picture of this size takes."""
        grid = self.grid(height, width, min_pixels=min_pixels, max_pixels=max_pixels)
        return math.prod(grid) // self.pixels.merge_size**2

    def measure(self, image: ImageInput) -> Grid:
        """The grid of one picture, from its header alone."""
        height, width = image_size(image.source, self.limits)
        return self.grid(height, width, min_pixels=image.min_pixels, max_pixels=image.max_pixels)

    def __call__(self, images: Sequence[ImageSource | ImageInput]) -> tuple[Tensor, Tensor]:
        """`pixel_values` [patches, 1536] float32 and `image_grid_thw` [images, 3]."""
        if not images:
            raise ImageError("no pictures were given; pass at least one")
        rows, grids = [], []
        for image in images:
            given = image if isinstance(image, ImageInput) else ImageInput(image)
            patches, grid = self._prepare(given)
            rows.append(patches)
            grids.append(grid)
        return rows[0] if len(rows) == 1 else torch.cat(rows), torch.tensor(grids)

    def _prepare(self, image: ImageInput) -> tuple[Tensor, Grid]:
        pixels = self.pixels.limited(image.min_pixels, image.max_pixels)
        picture = to_tensor(load_image(image.source, self.limits))
        height, width = _resized(picture.shape[1], picture.shape[2], pixels)
        picture = normalise(resize(picture, height, width), pixels)
        # A still picture fills the temporal patch by repeating itself.
        frames = picture.expand(pixels.temporal_patch_size, -1, -1, -1)
        grid = (1, height // pixels.patch_size, width // pixels.patch_size)
        return to_patches(frames, pixels), grid


def smart_resize(
    height: int, width: int, factor: int, min_pixels: int, max_pixels: int
) -> tuple[int, int]:
    """The (height, width) nearest to the given ones that the model can take.

    Both are multiples of `factor`, rounded half to even; their product lies within the limits as
    far as that allows; the shape is kept as well as it can be.
    """
    if max(height, width) > MAX_ASPECT_RATIO * min(height, width):
        raise ImageError(
            f"a picture of {width}x{height} is too narrow: one side may be at most "
            f"{MAX_ASPECT_RATIO} times the other; crop or pad it"
        )
    rows, columns = round(height / factor), round(width / factor)
    if rows * columns * factor**2 > max_pixels:
        shrink = math.sqrt(height * width / max_pixels)
        rows = max(1, math.floor(height / shrink / factor))
        columns = max(1, math.floor(width / shrink / factor))
    elif rows * columns * factor**2 < min_pixels:
        grow = math.sqrt(min_pixels / (height * width))
        rows = math.ceil(height * grow / factor)
        columns = math.ceil(width * grow / factor)
    return rows * factor, columns * factor


def to_tensor(image: Image.Image) -> Tensor:
    """An RGB image as uint8 [3, h, w]."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


def _resized(height: int, width: int, pixels: PixelSettings) -> tuple[int, int]:
    if pixels.do_resize:
        return smart_resize(height, width, pixels.factor, pixels.min_pixels, pixels.max_pixels)
    if height % pixels.factor or width % pixels.factor:
        raise ImageError(
            f"do_resize is off, and a picture of {width}x{height} is not a multiple of "
            f"{pixels.factor} on both sides; resize it or switch do_resize on"
        )
    return height, width

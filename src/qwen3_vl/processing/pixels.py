"""From uint8 pictures to the rows of patches that the vision tower reads: resize, scale, cut."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from pydantic import ConfigDict
from torch import Tensor

from qwen3_vl.config.reading import checked
from qwen3_vl.errors import ConfigError, InputError

MAX_ASPECT_RATIO = 200
_LARGEST_MIN_PIXELS = 2**28
"""A picture of 262144 tokens, which fills the whole context."""


@dataclass(frozen=True)
class PixelSettings:
    """How pixels become patches. The two pixel limits have no default: they differ for videos."""

    __pydantic_config__: ClassVar = ConfigDict(strict=True)

    min_pixels: int
    max_pixels: int
    patch_size: int = 16
    temporal_patch_size: int = 2
    merge_size: int = 2
    image_mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    image_std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    rescale_factor: float = 1 / 255
    do_resize: bool = True
    do_rescale: bool = True
    do_normalize: bool = True

    def __post_init__(self) -> None:
        for name in ("min_pixels", "max_pixels", "patch_size", "temporal_patch_size", "merge_size"):
            _check_positive_int(name, getattr(self, name))
        if self.min_pixels > self.max_pixels:
            raise ConfigError(
                f"min_pixels ({self.min_pixels}) is above max_pixels ({self.max_pixels})"
            )
        for name in ("image_mean", "image_std"):
            if len(getattr(self, name)) != 3:
                raise ConfigError(f"{name} must hold three numbers: red, green, blue")
        if 0 in self.image_std or not self.rescale_factor > 0:
            raise ConfigError("image_std must not hold 0, and rescale_factor must be above 0")

    @property
    def factor(self) -> int:
        """Both sides of a resized picture are multiples of this many pixels (one token's side)."""
        return self.patch_size * self.merge_size

    @property
    def patch_dim(self) -> int:
        """How many numbers describe one patch."""
        return 3 * self.temporal_patch_size * self.patch_size**2

    @classmethod
    def keys(cls) -> frozenset[str]:
        """The settings that a config file may hold for this record."""
        return frozenset({field.name for field in dataclasses.fields(cls)} | {"size"})

    def updated(self, settings: dict[str, Any]) -> PixelSettings:
        """A copy with the values of a config file; `null` keeps what was there."""
        names = self.keys() - {"size"}
        changes = _edges(settings.get("size"))
        changes |= {k: v for k, v in settings.items() if k in names and v is not None}
        return checked(PixelSettings, dataclasses.asdict(self) | changes)

    def limited(self, min_pixels: int | None, max_pixels: int | None) -> PixelSettings:
        """A copy with the limits of one call; None keeps the limit that was there."""
        low = self.min_pixels if min_pixels is None else min_pixels
        high = self.max_pixels if max_pixels is None else max_pixels
        for name, value in (("min_pixels", low), ("max_pixels", high)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InputError(f"{name} must be a whole number of pixels above 0, not {value!r}")
        if low > _LARGEST_MIN_PIXELS:
            raise InputError(f"min_pixels is {low}; it must be at most {_LARGEST_MIN_PIXELS}")
        if low > high:
            raise InputError(
                f"min_pixels ({low}) is above max_pixels ({high}); give both limits in the call"
            )
        return dataclasses.replace(self, min_pixels=low, max_pixels=high)

    def to_dict(self) -> dict[str, Any]:
        """The settings as a config file holds them."""
        values = dataclasses.asdict(self)
        size = {"shortest_edge": values.pop("min_pixels"), "longest_edge": values.pop("max_pixels")}
        lists = {name: list(values[name]) for name in ("image_mean", "image_std")}
        return values | lists | {"size": size, "resample": 3, "do_convert_rgb": True}


def resize(picture: Tensor, height: int, width: int) -> Tensor:
    """Antialiased bicubic resize of one uint8 picture [3, h, w]."""
    if picture.shape[-2:] == (height, width):
        return picture
    # torch's own uint8 kernel: the same arithmetic that torchvision's resize ends in.
    return torch.nn.functional.interpolate(
        picture.contiguous()[None], size=(height, width), mode="bicubic", antialias=True
    )[0]


def normalise(pictures: Tensor, settings: PixelSettings) -> Tensor:
    """uint8 [..., 3, h, w] to float32; rescale and normalise are one subtraction and division."""
    values = pictures.to(torch.float32)
    if not settings.do_normalize:
        return values * settings.rescale_factor if settings.do_rescale else values
    mean, std = torch.tensor(settings.image_mean), torch.tensor(settings.image_std)
    if settings.do_rescale:
        mean, std = mean * (1.0 / settings.rescale_factor), std * (1.0 / settings.rescale_factor)
    return values.sub_(mean.view(3, 1, 1)).div_(std.view(3, 1, 1))


def to_patches(frames: Tensor, settings: PixelSettings) -> Tensor:
    """Cut frames [time, 3, h, w] into rows [patches, 3 * temporal * patch * patch].

    `time` is a multiple of the temporal patch size. The rows of one merge block (the patches that
    become one token) follow each other; blocks go left to right, top to bottom, then in time.
    """
    time, _, height, width = frames.shape
    patch, merge, temporal = settings.patch_size, settings.merge_size, settings.temporal_patch_size
    block = patch * merge
    rows = frames.reshape(
        time // temporal, temporal, 3, height // block, merge, patch, width // block, merge, patch
    )
    return rows.permute(0, 3, 6, 4, 7, 2, 1, 5, 8).reshape(-1, settings.patch_dim)


def _check_positive_int(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"{name} must be a whole number above 0, not {value!r}")


def _edges(size: Any) -> dict[str, Any]:
    """The pixel limits in the `size` entry of a config file."""
    if size is None:
        return {}
    if not isinstance(size, dict) or set(size) != {"shortest_edge", "longest_edge"}:
        raise ConfigError(
            f"size = {size!r} is not supported; expected "
            '{"shortest_edge": <min pixels>, "longest_edge": <max pixels>}'
        )
    return {"min_pixels": size["shortest_edge"], "max_pixels": size["longest_edge"]}

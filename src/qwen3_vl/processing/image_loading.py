"""Turns any picture a user may have into an upright 8-bit RGB image, or says why it cannot.

The rules, in order:
- the EXIF orientation is applied, and an animation gives its first frame;
- 16-bit grey is divided by 257; 32-bit integers must lie in 0..65535 and are treated the same;
- floats are read as 0..1 where no value is above 1, else as 0..255;
- transparency is laid on white; palettes, grey, black-and-white and CMYK become RGB.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO, cast

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from qwen3_vl.errors import DependencyError, ImageError, Qwen3VLError
from qwen3_vl.processing.pixels import MAX_ASPECT_RATIO
from qwen3_vl.processing.sources import Source, describe, open_source

ImageSource = Source | Image.Image | np.ndarray | torch.Tensor

_HEIC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})
_SIDEWAYS = frozenset({5, 6, 7, 8})  # EXIF orientations that swap width and height
_ALPHA_MODES = {"La": "LA", "RGBa": "RGBA"}  # premultiplied modes and the plain ones


@dataclass(frozen=True)
class ImageLimits:
    """What one picture may cost, and where it may come from.

    `allow_remote` lets this process open http(s) URLs that a user names, on any host it can
    reach: leave it off in a server that strangers can use, and set `allow_files` off there too.
    """

    max_bytes: int = 64 * 2**20
    max_pixels: int = 178_956_970
    allow_files: bool = True
    allow_remote: bool = False
    timeout_seconds: float = 20.0


def load_image(source: ImageSource, limits: ImageLimits = ImageLimits()) -> Image.Image:
    """The picture as an upright RGB image.

    `source` is a path, bytes, a file object, a data: or http(s) URL, a PIL image, a uint8 array
    [h, w], [h, w, 1|3|4], or a uint8 tensor [h, w], [1|3|4, h, w].
    """
    with _decoding(source), _opened(source, limits) as image:
        _check_size(image.size, limits)
        image.load()
        return _to_rgb(ImageOps.exif_transpose(image))  # always a copy


def image_size(source: ImageSource, limits: ImageLimits = ImageLimits()) -> tuple[int, int]:
    """(height, width) of the upright picture, from its header alone where the format allows.

    A PNG is read to its end, since its orientation may stand after the pixels; HEIC is decoded.
    """
    with _decoding(source), _opened(source, limits) as image:
        _check_size(image.size, limits)
        width, height = image.size
        sideways = image.getexif().get(ExifTags.Base.Orientation) in _SIDEWAYS
        return (width, height) if sideways else (height, width)


@contextmanager
def _decoding(source: ImageSource) -> Iterator[None]:
    """Whatever a decoder raises for a bad file becomes an ImageError."""
    try:
        yield
    except (Qwen3VLError, MemoryError):
        raise
    except UnidentifiedImageError as problem:
        raise ImageError(
            f"{describe(source)} is not a picture in a known format "
            "(JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF, HEIC, ...), or its header is damaged"
        ) from problem
    except Image.DecompressionBombError as problem:
        raise ImageError(f"{describe(source)} is refused before decoding: {problem}") from problem
    except Exception as problem:  # a damaged file can make a decoder fail in any way
        raise ImageError(
            f"cannot decode {describe(source)}: {problem}. The file is damaged or cut short"
        ) from problem


@contextmanager
def _opened(source: ImageSource, limits: ImageLimits) -> Iterator[Image.Image]:
    """The picture, not decoded yet; a file that was opened for it is closed again."""
    if isinstance(source, Image.Image):
        yield source
    elif isinstance(source, (np.ndarray, torch.Tensor)):
        yield _from_array(source)
    else:
        with open_source(source, limits, ImageError) as stream:
            yield _identify(stream, limits)


def _identify(stream: BinaryIO, limits: ImageLimits) -> Image.Image:
    head = stream.read(64)
    stream.seek(0)
    if _is_heic(head):
        return _open_heic(stream, limits)
    with warnings.catch_warnings():
        # Pillow warns at half of our own limit; `_check_size` decides here.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return Image.open(stream)


def _is_heic(head: bytes) -> bool:
    """True for HEIC; AVIF shares the container, and Pillow reads it by itself."""
    if head[4:8] != b"ftyp":
        return False
    brands = {head[start : start + 4] for start in range(8, min(len(head), head[3]), 4)}
    return head[8:12] in _HEIC_BRANDS and not brands & {b"avif", b"avis"}


def _open_heic(stream: BinaryIO, limits: ImageLimits) -> Image.Image:
    try:
        import pillow_heif
    except ImportError as problem:
        raise DependencyError(
            'HEIC pictures need the package pillow-heif: pip install "qwen3-vl[heif]"'
        ) from problem
    # Opened directly, not through Pillow's plugin list, which the whole program shares.
    heic = pillow_heif.open_heif(stream)
    _check_size(heic.size, limits)
    return heic.to_pillow()


def _from_array(array: np.ndarray | torch.Tensor) -> Image.Image:
    is_tensor = isinstance(array, torch.Tensor)
    layout = "[1|3|4, height, width]" if is_tensor else "[height, width, 1|3|4]"
    if array.dtype not in (np.uint8, torch.uint8):
        raise ImageError(
            f"an array picture must be uint8 with values 0..255, not {array.dtype}; convert it"
        )
    if array.ndim == 3 and is_tensor:
        array = cast(torch.Tensor, array).permute(1, 2, 0)
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise ImageError(
            f"a picture of shape {tuple(array.shape)} (channels last) is not one of [height, width]"
            f" or {layout}; permute its axes"
        )
    if 0 in array.shape:
        raise ImageError(f"a picture of shape {tuple(array.shape)} has no pixels")
    pixels = array.cpu().numpy() if isinstance(array, torch.Tensor) else array
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    return Image.fromarray(np.ascontiguousarray(pixels))


def _check_size(size: tuple[int, int], limits: ImageLimits) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise ImageError(f"a picture of {width}x{height} has no pixels")
    if width * height > limits.max_pixels:
        raise ImageError(
            f"a picture of {width}x{height} has more than the limit of {limits.max_pixels} pixels; "
            "make it smaller, or raise max_pixels in ImageLimits"
        )
    if max(width, height) > MAX_ASPECT_RATIO * min(width, height):
        raise ImageError(
            f"a picture of {width}x{height} is too narrow: one side may be at most "
            f"{MAX_ASPECT_RATIO} times the other; crop or pad it"
        )


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        image = _to_eight_bits(image)
    if image.has_transparency_data or image.mode in _ALPHA_MODES:
        image = image.convert(_ALPHA_MODES.get(image.mode, image.mode)).convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, image).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _to_eight_bits(image: Image.Image) -> Image.Image:
    values = np.asarray(image)
    if image.mode == "F":
        values = values * 255.0 if values.max() <= 1 else values
        top = 255
    else:
        top = 65_535
    if not (values.min() >= 0 and values.max() <= top):  # also false for NaN
        raise ImageError(
            f"a picture of mode {image.mode} must hold values from 0 to {top}, this one holds "
            f"{values.min()} to {values.max()}; scale it to 8 bits yourself"
        )
    if top == 65_535:
        return Image.fromarray(((values.astype(np.uint32) + 128) // 257).astype(np.uint8))
    return Image.fromarray(np.rint(values).astype(np.uint8))

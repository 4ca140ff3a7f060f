"""Each rule of how a picture becomes upright 8-bit RGB."""

from __future__ import annotations

import base64
import io
import struct
import sys
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from qwen3_vl.errors import DependencyError, ImageError
from qwen3_vl.processing.image_loading import ImageLimits, image_size, load_image

RED, WHITE = (255, 0, 0), (255, 255, 255)


def _encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _photo(height: int = 40, width: int = 60) -> Image.Image:
    y, x = np.mgrid[:height, :width]
    return Image.fromarray(np.stack([x * 4, y * 6, x + y], -1).astype(np.uint8))


def _pixel(source: object, x: int = 0, y: int = 0) -> tuple[int, ...]:
    image = load_image(source)  # type: ignore[arg-type]
    assert image.mode == "RGB"
    return image.getpixel((x, y))  # type: ignore[return-value]


def test_all_kinds_of_sources_give_the_same_picture(tmp_path: Path) -> None:
    photo = _photo()
    png = _encoded(photo, "PNG")
    (tmp_path / "p.png").write_bytes(png)
    array = np.asarray(photo)
    for source in (
        photo,
        png,
        tmp_path / "p.png",
        str(tmp_path / "p.png"),
        "data:image/png;base64," + base64.b64encode(png).decode(),
        array,
        np.flip(array, 1)[:, ::-1],
        torch.from_numpy(array.copy()).permute(2, 0, 1),
    ):
        assert np.array_equal(np.asarray(load_image(source)), array)
        assert image_size(source) == (40, 60)
    assert np.array_equal(np.asarray(load_image(io.BytesIO(png))), array)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WebP", "GIF", "BMP", "TIFF", "AVIF"])
def test_formats(kind: str) -> None:
    image = load_image(_encoded(Image.new("RGB", (20, 10), RED), kind))
    assert image.size == (20, 10)
    difference = np.abs(np.asarray(image).astype(int) - np.array(RED)).max()
    assert difference <= 6


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    upright = Image.new("RGB", (24, 16), WHITE)
    upright.paste(RED, (0, 0, 8, 8))
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(undo[orientation]) if orientation in undo else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    png = _encoded(stored, "PNG", exif=exif)
    assert np.array_equal(np.asarray(load_image(png)), np.asarray(upright))
    assert image_size(png) == (16, 24)


def test_a_picture_of_the_caller_is_not_changed() -> None:
    image = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    load_image(image)
    assert image.mode == "RGBA"
    plain = Image.new("RGB", (4, 4), RED)
    assert load_image(plain) is not plain


def test_transparency_is_laid_on_white() -> None:
    half_red = (255, 127, 127)
    assert _pixel(Image.new("RGBA", (4, 4), (*RED, 0))) == WHITE
    assert _pixel(Image.new("RGBA", (4, 4), (*RED, 128))) == half_red
    assert _pixel(np.full((4, 4, 4), (255, 0, 0, 128), np.uint8)) == half_red
    assert _pixel(Image.new("LA", (4, 4), (0, 0))) == WHITE
    assert _pixel(Image.new("LA", (4, 4), (0, 255))) == (0, 0, 0)
    assert _pixel(Image.new("La", (4, 4), (0, 0))) == WHITE
    assert _pixel(Image.new("RGBa", (4, 4), (0, 0, 0, 0))) == WHITE
    assert _pixel(Image.new("PA", (4, 4), (0, 0))) == WHITE


def test_transparency_that_a_png_keeps_beside_the_pixels() -> None:
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([0, 0, 0, *RED])
    assert _pixel(_encoded(palette, "PNG")) == RED
    assert _pixel(_encoded(palette, "PNG", transparency=1)) == WHITE
    assert _pixel(_encoded(palette, "PNG", transparency=b"\xff\x80")) == (255, 127, 127)
    assert _pixel(_encoded(Image.new("RGB", (4, 4), RED), "PNG", transparency=RED)) == WHITE
    assert _pixel(_encoded(Image.new("L", (4, 4), 9), "PNG", transparency=9)) == WHITE


def test_grey_and_black_and_white() -> None:
    assert _pixel(Image.new("L", (4, 4), 77)) == (77, 77, 77)
    assert _pixel(Image.new("1", (4, 4), 1)) == WHITE
    assert _pixel(np.full((4, 4), 77, np.uint8)) == (77, 77, 77)
    assert _pixel(np.full((4, 4, 1), 77, np.uint8)) == (77, 77, 77)
    assert _pixel(torch.full((1, 4, 4), 77, dtype=torch.uint8)) == (77, 77, 77)


@pytest.mark.parametrize(("deep", "grey"), [(0, 0), (128, 0), (129, 1), (257, 1), (65535, 255)])
def test_sixteen_bits_are_divided_by_257(deep: int, grey: int) -> None:
    sixteen = Image.fromarray(np.full((4, 4), deep, np.uint16))
    assert sixteen.mode == "I;16"
    assert _pixel(sixteen) == (grey,) * 3
    assert _pixel(_encoded(sixteen, "PNG")) == (grey,) * 3
    assert _pixel(_encoded(sixteen, "TIFF")) == (grey,) * 3
    assert _pixel(Image.fromarray(np.full((4, 4), deep, np.int32))) == (grey,) * 3


def test_floats_are_0_to_1_or_0_to_255() -> None:
    assert _pixel(Image.fromarray(np.full((4, 4), 0.5, np.float32))) == (128,) * 3
    assert _pixel(Image.fromarray(np.full((4, 4), 100.4, np.float32))) == (100,) * 3


@pytest.mark.parametrize("value", [-1.0, 256.0, float("nan")])
def test_floats_outside_are_refused(value: float) -> None:
    with pytest.raises(ImageError, match="from 0 to 255"):
        load_image(Image.fromarray(np.full((4, 4), value, np.float32)))


def test_integers_outside_are_refused() -> None:
    with pytest.raises(ImageError, match="from 0 to 65535"):
        load_image(Image.fromarray(np.full((4, 4), 70_000, np.int32)))


def test_cmyk_from_a_jpeg() -> None:
    cyan = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    for source in (cyan, _encoded(cyan, "JPEG", quality=95)):
        red, green, blue = _pixel(source)
        assert red < 8
        assert green > 247
        assert blue > 247


def test_an_animation_gives_its_first_frame() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, (0, 0, 255))]
    for kind in ("GIF", "WebP", "PNG"):
        options = {"lossless": True} if kind == "WebP" else {}
        data = _encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        assert _pixel(data) == RED


def test_heic_through_its_own_package() -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    known = set(Image.registered_extensions())
    data = io.BytesIO()
    pillow_heif.from_pillow(Image.new("RGB", (64, 32), RED)).save(data, quality=95)
    red, green, blue = _pixel(data.getvalue())
    assert (red > 245, green < 10, blue < 10) == (True, True, True)
    assert image_size(data.getvalue()) == (32, 64)
    assert set(Image.registered_extensions()) == known
    with pytest.raises(ImageError, match="64x32 has more than the limit"):
        load_image(data.getvalue(), ImageLimits(max_pixels=100))
    with pytest.raises(ImageError):
        load_image(data.getvalue()[: len(data.getvalue()) // 2])


def test_avif_needs_no_package_even_with_the_brand_of_heic(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    data = _encoded(Image.new("RGB", (20, 10), RED), "AVIF")
    assert data[8:12] == b"avif"
    assert load_image(data[:8] + b"mif1" + data[12:]).size == (20, 10)


def test_heic_without_its_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(DependencyError, match=r'pip install "qwen3-vl\[heif\]"'):
        load_image(struct.pack(">I", 24) + b"ftypheic" + bytes(4) + b"mif1heic")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WebP", "GIF", "BMP", "TIFF"])
def test_a_truncated_file_is_refused_not_half_grey(kind: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (80, 80, 3), dtype=np.uint8)
    data = _encoded(Image.fromarray(noise), kind)
    for part in (0.3, 0.6, 0.9):
        with pytest.raises(ImageError):
            load_image(data[: int(len(data) * part)])


@pytest.mark.parametrize("data", [b"", b"hello", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0"])
def test_what_is_no_picture_is_refused(data: bytes) -> None:
    with pytest.raises(ImageError, match=r"not a picture|cannot read"):
        load_image(data)


def _bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that announces a huge picture."""

    def chunk(name: bytes, body: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(name + body))
        return struct.pack(">I", len(body)) + name + body + checksum

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(9)))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("side", [13_500, 40_000, 2_000_000])
def test_a_bomb_is_refused_before_decoding(side: int) -> None:
    with pytest.raises(ImageError, match=r"limit|refused"):
        load_image(_bomb(side, side))
    with pytest.raises(ImageError, match=r"limit|refused"):
        image_size(_bomb(side, side))


def test_a_photo_of_108_megapixels_is_measured_without_a_warning() -> None:
    data = _encoded(Image.new("1", (12_000, 9_000)), "TIFF", compression="group4")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert image_size(data) == (9_000, 12_000)


def test_a_damaged_header_is_an_image_error_when_measured() -> None:
    with pytest.raises(ImageError, match="damaged or cut short"):
        image_size(_bomb(100, 100))


def test_the_limit_is_a_setting_and_also_holds_for_arrays() -> None:
    limits = ImageLimits(max_pixels=99)
    assert load_image(np.zeros((9, 11), np.uint8), limits).size == (11, 9)
    with pytest.raises(ImageError, match="10x10 has more than the limit of 99"):
        load_image(np.zeros((10, 10), np.uint8), limits)


def test_narrow_pictures() -> None:
    assert load_image(np.zeros((1, 200), np.uint8)).size == (200, 1)
    with pytest.raises(ImageError, match="201x1 is too narrow"):
        load_image(np.zeros((1, 201), np.uint8))


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (np.zeros((4, 4, 3), np.float32), "must be uint8"),
        (np.zeros((4, 4), np.uint16), "must be uint8"),
        (torch.zeros(3, 4, 4), "must be uint8"),
        (np.zeros((3, 4, 5), np.uint8), "height, width, 1"),
        (torch.zeros(8, 9, 3, dtype=torch.uint8), "permute"),
        (np.zeros((2, 4, 4, 3), np.uint8), "permute"),
        (np.zeros(4, np.uint8), "permute"),
        (np.zeros((0, 4), np.uint8), "no pixels"),
    ],
)
def test_arrays_of_another_kind_are_refused(array: object, text: str) -> None:
    with pytest.raises(ImageError, match=text):
        load_image(array)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WebP", "GIF", "BMP", "TIFF", "AVIF"])
def test_damaged_files_give_a_picture_or_an_image_error(kind: str) -> None:
    data = _encoded(_photo(), kind)
    generator = np.random.default_rng(0)
    refused = 0
    for _ in range(60):
        damaged = np.frombuffer(data, np.uint8).copy()
        where = generator.integers(0, min(len(data), 400), 4)
        damaged[where] = generator.integers(0, 256, 4)
        try:
            assert load_image(damaged.tobytes()).mode == "RGB"
        except ImageError:
            refused += 1
    assert refused > 0

"""How large a picture becomes, what it costs, and its settings."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from qwen3_vl.errors import ConfigError, ImageError, InputError
from qwen3_vl.processing.image import ImageInput, ImageLimits, ImageProcessor, smart_resize
from tests.support.tiny_processor import image_settings

OFFICIAL = ImageProcessor()
TINY = ImageProcessor.from_dict(image_settings())


def _picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@given(st.integers(1, 5000), st.integers(1, 5000))
def test_smart_resize_keeps_its_promises(height: int, width: int) -> None:
    if max(height, width) > 200 * min(height, width):
        with pytest.raises(ImageError, match="200 times"):
            smart_resize(height, width, 32, 65_536, 16_777_216)
        return
    new_height, new_width = smart_resize(height, width, 32, 65_536, 1_048_576)
    assert new_height % 32 == new_width % 32 == 0
    assert new_height * new_width >= 65_536
    # Only a side that cannot shrink below one factor may break the upper limit.
    assert new_height * new_width <= 1_048_576 or 32 in (new_height, new_width)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((512, 512), (512, 512)),
        ((1080, 1920), (1088, 1920)),
        ((272, 272), (256, 256)),  # 8.5 rounds to 8, half to even
        ((304, 304), (320, 320)),  # 9.5 rounds to 10
        ((10, 10), (256, 256)),
        ((1, 200), (32, 3648)),
        ((10_000, 10_000), (4096, 4096)),
    ],
)
def test_known_sizes(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert smart_resize(*size, 32, 65_536, 16_777_216) == expected


def test_tokens_can_be_counted_and_capped() -> None:
    assert OFFICIAL.grid(1080, 1920) == (1, 68, 120)
    assert OFFICIAL.count_tokens(1080, 1920) == 2040
    assert OFFICIAL.count_tokens(1080, 1920, max_pixels=256 * 32 * 32) <= 256
    assert OFFICIAL.count_tokens(16, 16) == 64
    assert OFFICIAL.count_tokens(16, 16, min_pixels=1) == 1


def test_pixels_and_grids_of_several_pictures() -> None:
    pixels, grids = TINY([_picture(64, 64), Image.fromarray(_picture(96, 160)), _picture(64, 64)])
    assert grids.tolist() == [[1, 4, 4], [1, 6, 10], [1, 4, 4]]
    assert pixels.shape == (16 + 60 + 16, 1536)
    assert pixels.dtype == torch.float32
    assert torch.equal(pixels[:16], pixels[-16:])


def test_pictures_of_one_size_are_not_merged_or_swapped() -> None:
    first, second = _picture(64, 64, 1), _picture(64, 64, 2)
    together, _ = TINY([first, second])
    assert torch.equal(together[:16], TINY([first])[0])
    assert torch.equal(together[16:], TINY([second])[0])


def test_a_picture_fills_both_frames_of_its_patch() -> None:
    patches = TINY([_picture(64, 64)])[0].view(16, 3, 2, 256)
    assert torch.equal(patches[:, :, 0], patches[:, :, 1])


def test_a_picture_can_carry_its_own_limits() -> None:
    large = _picture(300, 300)
    _, grids = TINY([ImageInput(large, max_pixels=4096), large])
    assert grids.tolist() == [[1, 4, 4], [1, 16, 16]]
    assert TINY.measure(ImageInput(large, max_pixels=4096)) == (1, 4, 4)
    with pytest.raises(InputError, match="give both"):
        TINY([ImageInput(large, max_pixels=1024)])


def test_no_pictures_are_refused() -> None:
    with pytest.raises(ImageError, match="no pictures"):
        TINY([])


def test_without_resize_the_sides_must_fit() -> None:
    exact = ImageProcessor.from_dict(image_settings() | {"do_resize": False})
    assert exact([_picture(32, 64)])[1].tolist() == [[1, 2, 4]]
    with pytest.raises(ImageError, match="64x33 is not a multiple of 32"):
        exact([_picture(33, 64)])


def test_limits_reach_the_loader() -> None:
    strict = TINY.with_limits(ImageLimits(max_pixels=100))
    assert TINY.with_limits(None) is TINY
    with pytest.raises(ImageError, match="limit of 100 pixels"):
        strict([_picture(64, 64)])


def test_settings_come_from_either_file_and_are_written_back(tmp_path: Path) -> None:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(image_settings()))
    assert ImageProcessor.from_folder(tmp_path) == TINY
    nested = {"image_processor": TINY.to_dict() | {"patch_size": 8}}
    (tmp_path / "processor_config.json").write_text(json.dumps(nested))
    assert ImageProcessor.from_folder(tmp_path).pixels.patch_size == 8
    assert ImageProcessor.from_dict(TINY.to_dict()) == TINY


def test_an_unknown_setting_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"image processor's .* 'max_pixel'"):
        ImageProcessor.from_dict(image_settings() | {"max_pixel": 5})

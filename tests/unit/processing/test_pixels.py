"""Resize, scale and cut: the arithmetic between a uint8 picture and the patches."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from qwen3_vl.errors import ConfigError, InputError
from qwen3_vl.processing.pixels import PixelSettings, normalise, resize, to_patches

SETTINGS = PixelSettings(min_pixels=1024, max_pixels=65_536)


def _picture(height: int, width: int, seed: int = 0) -> torch.Tensor:
    values = np.random.default_rng(seed).integers(0, 256, (3, height, width), dtype=np.uint8)
    return torch.from_numpy(values)


def _difference(picture: torch.Tensor, image: Image.Image) -> int:
    ours = picture.permute(1, 2, 0).numpy().astype(int)
    return int(np.abs(ours - np.asarray(image).astype(int)).max())


@settings(max_examples=100, deadline=None)
@given(*[st.integers(1, 90)] * 2, *[st.integers(2, 90)] * 2, st.integers(0, 9))
def test_resize_is_within_two_grey_levels_of_pillow(
    height: int, width: int, new_height: int, new_width: int, seed: int
) -> None:
    # The bound found, on noise: both round their weights to integers, at different scales, once
    # per axis. Rows go first here. Pillow 13 may take columns first; two calls fix its order.
    picture = _picture(height, width, seed)
    image = Image.fromarray(picture.permute(1, 2, 0).numpy())
    for size in ((new_width, height), (new_width, new_height)):
        image = image.resize(size, Image.Resampling.BICUBIC)
    assert _difference(resize(picture, new_height, new_width), image) <= 2


@pytest.mark.parametrize("size", [(96, 160), (224, 320), (384, 608)])
def test_resize_of_a_smooth_picture_equals_pillow_in_any_order(size: tuple[int, int]) -> None:
    y, x = np.mgrid[:240, :320]
    waves = 128 + 100 * np.sin(np.stack([x / 30, y / 20, (x + y) / 40], -1))
    image = Image.fromarray(waves.astype(np.uint8))
    picture = torch.from_numpy(waves.astype(np.uint8)).permute(2, 0, 1)
    height, width = size
    pillow = image.resize((width, height), Image.Resampling.BICUBIC)
    assert _difference(resize(picture, height, width), pillow) <= 1


def test_resize_clamps_instead_of_wrapping_around() -> None:
    edge = torch.zeros(3, 32, 32, dtype=torch.uint8)
    edge[:, :, 16:] = 255  # bicubic overshoots on both sides of an edge
    larger = resize(edge, 96, 96)
    assert larger[:, :, :40].max() < 128
    assert larger[:, :, 56:].min() > 128


def test_the_same_size_is_the_same_picture() -> None:
    picture = _picture(32, 64)
    assert resize(picture, 32, 64) is picture


def test_normalise_maps_0_to_minus_1_and_255_to_1() -> None:
    picture = torch.tensor([0, 255], dtype=torch.uint8).repeat(3, 1, 1)
    values = normalise(picture, SETTINGS)
    assert values.dtype == torch.float32
    assert values[0, 0].tolist() == [-1.0, 1.0]
    assert picture.max() == 255  # the input is left alone


def test_normalise_uses_each_channel_and_each_switch() -> None:
    picture = torch.full((3, 1, 1), 100, dtype=torch.uint8)
    uneven = dataclasses.replace(SETTINGS, image_mean=(0.1, 0.2, 0.3), image_std=(1.0, 2.0, 4.0))
    expected = [(100 / 255 - mean) / std for mean, std in ((0.1, 1), (0.2, 2), (0.3, 4))]
    assert normalise(picture, uneven).flatten().tolist() == pytest.approx(expected, rel=1e-5)
    scaled = dataclasses.replace(uneven, do_normalize=False)
    assert normalise(picture, scaled).flatten().tolist() == pytest.approx([100 / 255] * 3)
    raw = dataclasses.replace(scaled, do_rescale=False)
    assert normalise(picture, raw).flatten().tolist() == [100.0] * 3
    shifted = dataclasses.replace(uneven, do_rescale=False)
    assert normalise(picture, shifted).flatten().tolist() == pytest.approx([99.9, 49.9, 24.925])


def test_patches_are_in_merge_block_order() -> None:
    # Each pixel holds the number of its patch, counted row by row over a 4 x 6 grid.
    grid = torch.arange(24.0).view(4, 6).repeat_interleave(16, 0).repeat_interleave(16, 1)
    rows = to_patches(grid.expand(2, 3, -1, -1), SETTINGS)
    assert rows.shape == (24, SETTINGS.patch_dim)
    assert (rows == rows[:, :1]).all()
    block = [0, 1, 6, 7]
    assert rows[:8, 0].tolist() == [*block, *(index + 2 for index in block)]
    assert rows[12:16, 0].tolist() == [12, 13, 18, 19]


def test_a_row_holds_channel_then_time_then_pixels() -> None:
    frames = torch.randn(4, 3, 32, 32)
    rows = to_patches(frames, SETTINGS).view(2, 2, 2, 3, 2, 16, 16)
    for time, y, x, channel, frame in ((0, 0, 0, 0, 0), (1, 1, 0, 2, 1), (0, 1, 1, 1, 1)):
        expected = frames[2 * time + frame, channel, 16 * y : 16 * y + 16, 16 * x : 16 * x + 16]
        assert torch.equal(rows[time, y, x, channel, frame], expected)


def test_settings_survive_a_config_file() -> None:
    other = PixelSettings(1, 9, patch_size=14, image_mean=(0.1, 0.2, 0.3), do_resize=False)
    assert SETTINGS.updated(other.to_dict() | {"merge_size": None}) == other


def test_older_limits_beat_the_size_entry() -> None:
    size = {"shortest_edge": 5, "longest_edge": 500}
    assert SETTINGS.updated({"size": size}).max_pixels == 500
    changed = SETTINGS.updated({"size": size, "max_pixels": 400})
    assert (changed.min_pixels, changed.max_pixels) == (5, 400)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"size": {"height": 5, "width": 5}}, "shortest_edge"),
        ({"size": 224}, "shortest_edge"),
        ({"patch_size": 0}, "patch_size"),
        ({"merge_size": 1.5}, "merge_size"),
        ({"min_pixels": 70_000}, "min_pixels .70000. is above max_pixels .65536."),
        ({"image_mean": [0.5]}, "image_mean"),
        ({"image_std": [0.5, 0, 0.5]}, "image_std"),
        ({"rescale_factor": 0}, "rescale_factor"),
        ({"image_mean": 5}, "image_mean is 5"),
        ({"rescale_factor": "x"}, "rescale_factor is 'x'"),
        ({"do_resize": "no"}, "do_resize is 'no'"),
    ],
)
def test_wrong_settings_are_refused(changes: dict[str, object], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        SETTINGS.updated(changes)


def test_limits_of_a_call() -> None:
    limited = SETTINGS.limited(None, 2048)
    assert (limited.min_pixels, limited.max_pixels) == (1024, 2048)
    assert SETTINGS.limited(None, None) == SETTINGS
    with pytest.raises(InputError, match="give both"):
        SETTINGS.limited(None, 100)
    with pytest.raises(InputError, match=f"min_pixels is {10**14}; it must be at most {2**28}"):
        SETTINGS.limited(10**14, 10**15)
    for wrong in (0, -1, 1.5, True, "big"):
        with pytest.raises(InputError, match="max_pixels must be a whole number"):
            SETTINGS.limited(None, wrong)  # type: ignore[arg-type]

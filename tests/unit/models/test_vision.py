"""The vision tower: the patch product, frames that keep to themselves, and what it gives."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from qwen3_vl.errors import InputError
from qwen3_vl.models.vision import PatchProjection
from tests.support.tiny_models import CONFIGS, tiny_model

VISION = CONFIGS["dense_tied"].vision_config


@pytest.fixture(scope="module")
def model():
    return tiny_model("dense_tied")


def random(*shape: int, seed: int = 0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def patches(count: int, seed: int = 0, *, still: bool = False):
    if not still:
        return random(count, VISION.patch_dim, seed=seed)
    frame = random(count, 3, 1, VISION.patch_size**2, seed=seed)
    return frame.expand(-1, -1, 2, -1).flatten(1)


def projection(dtype: torch.dtype = torch.float32) -> PatchProjection:
    layer = PatchProjection(VISION)
    layer.weight.data = random(*layer.weight.shape, seed=1)
    layer.bias.data = random(*layer.bias.shape, seed=2)
    return layer.to(dtype)


def flops(layer: PatchProjection, x: torch.Tensor) -> int:
    with FlopCounterMode(display=False) as counter:
        layer(x)
    return counter.get_total_flops()


@torch.no_grad()
@pytest.mark.parametrize("still", [True, False], ids=["still", "moving"])
def test_the_projection_is_the_convolution_of_the_checkpoint(still):
    layer, x = projection(), patches(7, still=still)
    cubes = x.view(-1, 3, *layer.kernel)
    expected = F.conv3d(cubes, layer.stored()["weight"], layer.bias, stride=layer.kernel)
    torch.testing.assert_close(layer(x), expected.flatten(1), rtol=1e-5, atol=1e-4)


@torch.no_grad()
def test_a_still_picture_costs_half_and_gives_the_same():
    layer, x = projection(), patches(7, still=True)
    expected = F.linear(x, layer.weight, layer.bias)
    torch.testing.assert_close(layer(x), expected, rtol=1e-5, atol=1e-4)
    assert 2 * flops(layer, x) == flops(layer, patches(7))


@torch.no_grad()
def test_one_pixel_that_moves_is_enough_to_be_no_still_picture():
    layer, x = projection(), patches(7, still=True)
    x[3, -1] += 1.0
    torch.testing.assert_close(layer(x), F.linear(x, layer.weight, layer.bias))


@torch.no_grad()
def test_a_still_picture_in_bfloat16_is_no_further_from_the_truth_than_the_full_product():
    layer, x = projection(torch.bfloat16), patches(64, still=True)
    exact = F.linear(x.double(), layer.weight.double(), layer.bias.double())
    folded = layer(x)
    assert folded.dtype == torch.bfloat16
    full = F.linear(x.bfloat16(), layer.weight, layer.bias)
    assert (folded - exact).abs().mean() < (full - exact).abs().mean()


@torch.no_grad()
def test_a_picture_gives_the_same_features_alone_and_beside_others(model):
    grids = [(1, 4, 6), (1, 2, 2), (1, 4, 4)]
    counts = [rows * columns for _, rows, columns in grids]
    pictures = [patches(count, seed) for seed, count in enumerate(counts)]
    together = model.model.get_image_features(torch.cat(pictures), torch.tensor(grids))
    tokens = [count // 4 for count in counts]
    for index, (picture, grid) in enumerate(zip(pictures, grids, strict=True)):
        alone = model.model.get_image_features(picture, torch.tensor([grid]))
        beside = together.tokens.split(tokens)[index]
        torch.testing.assert_close(alone.tokens, beside, rtol=1e-4, atol=1e-5)
        for tap_alone, tap in zip(alone.deepstack, together.deepstack, strict=True):
            torch.testing.assert_close(tap_alone, tap.split(tokens)[index], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_frames_of_a_video_do_not_see_each_other(model):
    video = patches(48)
    together = model.model.get_image_features(video, torch.tensor([(3, 4, 4)]))
    for frame, tokens in zip(video.split(16), together.tokens.split(4), strict=True):
        alone = model.model.get_image_features(frame, torch.tensor([(1, 4, 4)]))
        torch.testing.assert_close(alone.tokens, tokens, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_patches_of_a_picture_see_each_other_and_know_their_place(model):
    picture, grid = patches(16), torch.tensor([(1, 4, 4)])
    before = model.model.get_image_features(picture, grid).tokens
    changed = picture.clone()
    changed[0] += 1.0
    after = model.model.get_image_features(changed, grid).tokens
    assert ((after - before).abs().amax(dim=1) > 1e-3).all()
    moved = model.model.get_image_features(picture.roll(4, dims=0), grid).tokens
    assert ((moved.roll(-1, dims=0) - before).abs().amax(dim=1) > 1e-3).all()


@torch.no_grad()
def test_one_feature_a_block_and_one_tap_a_deepstack_layer(model):
    features = model.model.get_image_features(patches(24), torch.tensor([(1, 4, 6)]))
    assert features.tokens.shape == (6, 64)
    assert [tap.shape for tap in features.deepstack] == [(6, 64)] * 3


@pytest.mark.parametrize(
    ("count", "grid", "message"),
    [
        (15, [(1, 4, 4)], r"\[15, 96\] do not fit the grids, which need \[16, 96\]"),
        (12, [(1, 3, 4)], r"grid \[1, 3, 4\] is not whole blocks of 2×2"),
        (0, [(1, 0, 4)], r"grid \[1, 0, 4\] is not whole blocks"),
        (16, [1, 4, 4], r"a grid tensor is \[pictures, 3\], not \[3\]"),
    ],
)
def test_pixels_and_grids_must_agree(model, count, grid, message):
    with pytest.raises(InputError, match=message):
        model.model.get_image_features(patches(count), torch.tensor(grid))

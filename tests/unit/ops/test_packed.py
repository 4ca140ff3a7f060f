"""Packed weights stand for numbers that are as near as their format allows."""

from __future__ import annotations

import pytest
import torch

from qwen3_vl.ops import packed
from qwen3_vl.ops.packed import Bits

SIZES = [(16, 128), (50, 200), (1, 1), (33, 384)]


@pytest.fixture
def weight() -> torch.Tensor:
    """Rows of different reach, one of them zeros, with some large numbers in them."""
    generator = torch.Generator().manual_seed(0)
    made = torch.randn(50, 200, generator=generator) * torch.logspace(-3, 1, 50).unsqueeze(1)
    made[7] = 0
    made[:, ::37] *= 8
    return made


@pytest.mark.parametrize("bits", [4, 8, 16])
@pytest.mark.parametrize(("outputs", "inputs"), SIZES)
def test_any_size_comes_back(outputs: int, inputs: int, bits: Bits) -> None:
    weight = torch.randn(outputs, inputs, generator=torch.Generator().manual_seed(1))
    data = packed.pack(weight, bits)
    assert (data.shape, data.dtype) == (packed.empty(outputs, inputs, bits).shape, torch.uint8)
    assert data.shape[1] % 64 == 0, "lines of the cache"
    assert packed.unpack(data, outputs, inputs, bits).shape == weight.shape


def test_an_error_of_8_bits_is_at_most_half_a_step(weight: torch.Tensor) -> None:
    restored = packed.unpack(packed.pack(weight, 8), *weight.shape, 8)
    step = weight.abs().amax(dim=1, keepdim=True) / 127
    # Beside the rounding of the code that of the product in float32.
    most = step / 2 + weight.abs() * torch.finfo(torch.float32).eps
    assert ((restored - weight).abs() <= most).all()


def test_4_bits_are_better_than_a_step_that_holds_the_largest(weight: torch.Tensor) -> None:
    restored = packed.unpack(packed.pack(weight, 4), *weight.shape, 4)
    groups = torch.nn.functional.pad(weight, (0, 56)).reshape(50, -1, 32)
    step = groups.abs().amax(dim=2, keepdim=True).clamp(min=1e-30) / 7
    plain = ((groups / step).round() * step).reshape(50, -1)[:, :200]
    ours, theirs = (restored - weight).norm(dim=1), (plain - weight).norm(dim=1)
    assert (ours[weight.any(dim=1)] < theirs[weight.any(dim=1)]).all()
    assert not restored[7].any()


@pytest.mark.parametrize("bits", [4, 8, 16])
def test_what_was_packed_packs_to_the_same(weight: torch.Tensor, bits: Bits) -> None:
    restored = packed.unpack(packed.pack(weight, bits), *weight.shape, bits)
    again = packed.unpack(packed.pack(restored, bits), *weight.shape, bits)
    assert (again - restored).norm() < 0.01 * restored.norm()


@pytest.mark.parametrize(("outputs", "inputs"), [*SIZES, (4100, 130)])
def test_halves_are_joined_to_what_they_were(outputs: int, inputs: int) -> None:
    weight = torch.randn(outputs, inputs, generator=torch.Generator().manual_seed(1))
    data = packed.pack(weight, 4)
    halves = packed.in_halves(data)
    assert halves.shape == data.shape
    assert not torch.equal(halves, data)
    assert torch.equal(packed.rejoined(halves), data)


def test_the_upper_half_of_a_code_leaves_four_open(weight: torch.Tensor) -> None:
    """It becomes the third of them: zeros, which are the first, move by two steps up."""
    data = packed.pack(weight, 4)
    exact = packed.unpack(data, *weight.shape, 4)
    known = packed.unpack(packed.known_by_upper(data), *weight.shape, 4)
    codes, scales, row_scales = packed.round_int4(weight)
    steps = (scales * row_scales).repeat_interleave(packed.GROUP, dim=1)[:, :200]
    moved = ((known - exact) / steps)[weight.any(dim=1)].round()
    assert torch.equal(moved, 2 - (codes[:, :200] % 4).float()[weight.any(dim=1)])


def test_16_bits_are_the_nearest_bfloat16_numbers(weight: torch.Tensor) -> None:
    rounded = weight.bfloat16()
    for given in (weight, rounded):
        restored = packed.unpack(packed.pack(given, 16), *weight.shape, 16)
        assert torch.equal(restored, rounded.float())

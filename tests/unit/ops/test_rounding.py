from __future__ import annotations

import pytest
import torch

from qwen3_vl.ops.rounding import pack_nibbles, quantise, restore, unpack_nibbles


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("size", [1e-30, 1.0, 1e30])
def test_the_error_is_at_most_half_a_scale(bits: int, size: float) -> None:
    x = torch.randn(5, 32, generator=torch.Generator().manual_seed(bits)) * size
    codes, scale = quantise(x, bits)
    error = (restore(codes, scale, torch.float32) - x).abs()
    assert codes.abs().max() == 2 ** (bits - 1) - 1
    assert (error <= scale * (0.5 + 1e-5)).all()


def test_zeros_stay_zero() -> None:
    codes, scale = quantise(torch.zeros(2, 4), 8)
    assert torch.equal(restore(codes, scale, torch.float32), torch.zeros(2, 4))


def test_two_codes_fit_into_a_byte() -> None:
    codes = torch.arange(-7, 9, dtype=torch.int8).clamp(max=7).view(2, 8)
    packed = pack_nibbles(codes)
    assert packed.shape == (2, 4)
    assert torch.equal(unpack_nibbles(packed), codes)

"""Numbers to small integers with a scale, and back: symmetric, rounded to nearest."""

from __future__ import annotations

import torch
from torch import Tensor


def quantise(x: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Codes (int8, of so many bits) and float32 scales, one for each last dimension.

    The largest number of each group becomes the largest code; the error of a number is at most
    half its group's scale.
    """
    top = 2 ** (bits - 1) - 1
    scale = x.float().abs().amax(dim=-1, keepdim=True) / top
    codes = (x.float() / scale.clamp(min=torch.finfo(torch.float32).tiny)).round()
    return codes.clamp(-top, top).to(torch.int8), scale


def restore(codes: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
    """The numbers that codes and scales stand for."""
    return (codes.float() * scale).to(dtype)


def pack_nibbles(codes: Tensor) -> Tensor:
    """Two codes of 4 bits in a byte; the last dimension is halved."""
    low, high = codes[..., 0::2], codes[..., 1::2]
    return (low & 0xF) | (high << 4)


def unpack_nibbles(packed: Tensor) -> Tensor:
    """The codes of `pack_nibbles`."""
    low = (packed << 4) >> 4  # the shift back carries the sign
    return torch.stack((low, packed >> 4), dim=-1).flatten(-2)

"""What tests of an op need: a derived tolerance, a comparison that explains itself, guarded memory.

Public, so that authors of plug-ins test their ops as this package tests its own.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterator


def tolerance(magnitude: Tensor, terms: int, dtype: torch.dtype, *, roundings: int = 1) -> Tensor:
    """How far each element of an honest result may lie from the exact one.

    A float32 sum of `terms` products drifts like a random walk, by `eps · sqrt(terms) · |a|·|b|`;
    each time the value is then written in `dtype`, that format's own `eps` is added. `eps` is
    twice the largest rounding error, which is all the slack there is. Below the smallest normal
    number a format may flush to zero.

    Args:
        magnitude: `|a|·|b|`, the sum of the absolute products, for each element of the result.
        terms: How many products were added for one element.
        dtype: The format of the result.
        roundings: How many times on its way the value is rounded to that format.
    """
    summed = torch.finfo(torch.float32).eps * terms**0.5
    written = torch.finfo(dtype).eps * roundings
    return magnitude.double().abs() * (summed + written) + torch.finfo(dtype).smallest_normal


def check_op(actual: Tensor, exact: Tensor, allowed: Tensor) -> None:
    """Check `|actual - exact| <= allowed` everywhere; the error names the worst element."""
    assert actual.shape == exact.shape, f"shape {tuple(actual.shape)}, not {tuple(exact.shape)}"
    share = (actual.double() - exact.double()).abs() / allowed
    share = share.nan_to_num(nan=torch.inf)  # a NaN is as wrong as can be
    worst = int(share.argmax())
    assert share.flatten()[worst] <= 1, (
        f"element {worst} is {actual.flatten()[worst].item()!r}, "
        f"not {exact.flatten()[worst].item()!r}: {share.flatten()[worst].item():.3g} times the "
        f"allowed error; {int((share > 1).sum())} of {share.numel()} elements are wrong"
    )


@contextmanager
def guarded(shape: tuple[int, ...], dtype: torch.dtype, *, shift: int = 0) -> Iterator[Tensor]:
    """Give memory for a result, with bytes around it that nobody may touch.

    `shift` moves it by that many elements away from a multiple of 64 bytes, so that a kernel that
    counts on alignment fails.
    """
    guard = 256
    size = torch.Size(shape).numel() * dtype.itemsize
    memory = torch.full((guard + 64 + size + guard,), 0xA5, dtype=torch.uint8)
    start = guard + -(memory.data_ptr() + guard) % 64 + shift * dtype.itemsize
    yield memory[start : start + size].view(dtype).view(shape)
    assert (memory[:start] == 0xA5).all(), "bytes before the result were written"
    assert (memory[start + size :] == 0xA5).all(), "bytes behind the result were written"

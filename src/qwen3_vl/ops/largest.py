"""Which numbers of long rows are the largest."""

from __future__ import annotations

import torch
from torch import Tensor

from qwen3_vl.ops import native


def largest(x: Tensor, count: int) -> Tensor:
    """The places [rows, count] of the largest numbers of `x` [rows, width], the largest first.

    There must be so many. NaN is larger than any number.
    """
    kernels = native.kernels_for(x)
    many = 256 * count > x.shape[1]  # so that hardly a block of it could be left out
    if kernels is None or x.dtype != torch.float32 or many:
        return x.topk(count, dim=1).indices
    x, (rows, width) = x.contiguous(), x.shape
    places = torch.empty(rows, count, dtype=torch.int64)
    kernels.largest(native.pool(), x.data_ptr(), rows, width, count, places.data_ptr())
    return places

"""RMSNorm over the last dimension: `weight · x / sqrt(mean(x²) + eps)` (arXiv:1910.07467)."""

from __future__ import annotations

import torch
from torch import Tensor

from qwen3_vl.errors import InputError
from qwen3_vl.ops import native


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Normalise the last dimension of `x`; `weight` has one value for each of its places."""
    if weight.shape != x.shape[-1:]:
        raise InputError(
            f"weight has shape {tuple(weight.shape)}, but the last dimension of x "
            f"{tuple(x.shape)} asks for {tuple(x.shape[-1:])}"
        )
    kernels = native.kernels_for(x, weight)
    if kernels is None or x.dtype != weight.dtype or not x.numel():
        return meaning(x, weight, eps)
    if x.dtype == torch.float32:
        kernel = kernels.rms_norm_f32
    elif x.dtype == torch.bfloat16:
        kernel = kernels.rms_norm_bf16
    else:
        return meaning(x, weight, eps)
    # A copy of strided input costs less than the many passes of the meaning.
    x, weight = x.contiguous(), weight.contiguous()
    out = torch.empty_like(x)
    width = weight.numel()
    kernel(x.data_ptr(), weight.data_ptr(), out.data_ptr(), x.numel() // width, width, eps)
    return out


def meaning(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Say in plain torch what `rms_norm` is: the oracle in tests and the portable path.

    The row is normalised in float32 at least and rounded to the dtype of `x` before the weight.
    """
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    normal = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
    return weight * normal.to(x.dtype)

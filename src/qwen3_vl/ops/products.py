"""Products of float32 tokens with packed matrices, and what surrounds them, in one native call.

`weights · norm(x) + bias`, then nothing, a GELU, a gate, or an addition to what is there. The
meaning multiplies with the restored weights. For weights in 4 or 8 bits the kernels round the
tokens to 8 bits besides: up to eight of them by groups of 32 inputs, more of them each as a whole.
For weights in bfloat16 they round nothing, but more than eight tokens to bfloat16 where the
processor multiplies that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from qwen3_vl.errors import InputError
from qwen3_vl.ops import native, rms_norm
from qwen3_vl.ops.packed import (
    ALIGNMENT,
    ROWS,
    Bits,
    known_by_upper,
    lower_bytes,
    rejoined,
    unpack,
)

Finish = Literal["store", "add", "gelu", "gate"]
"""What becomes of the results: `gate` is silu of the first matrix' times the second's."""


FEW = 8
"""As many tokens meet weights as these come from memory, and choose what is worth a look: panels of
words, and of a sequence's pages those they see."""


@dataclass(frozen=True)
class Packed:
    """A matrix [outputs, inputs] in packed bytes."""

    data: Tensor
    outputs: int
    inputs: int
    bits: Bits
    promising: int = 0
    """Of weights in halves (`in_halves`): up to eight tokens meet the upper ones, and then in full
    so many panels, those with the largest results of each token."""

    @property
    def read_bytes(self) -> int:
        """As many a single token reads."""
        panels, all_ = len(self.data), self.data.nbytes
        if not self.promising:
            return all_
        return all_ - lower_bytes(self.data) + min(self.promising, panels) * all_ // panels

    @property
    def whole(self) -> Tensor:
        """The bytes of all of it, if it lies in halves joined."""
        return rejoined(self.data) if self.promising else self.data

    @property
    def weight(self) -> Tensor:
        """The restored matrix, in float32."""
        return unpack(self.whole, self.outputs, self.inputs, self.bits)


@dataclass(frozen=True)
class Norm:
    """RMSNorm, or with a bias LayerNorm."""

    weight: Tensor
    eps: float
    bias: Tensor | None = None


class Product:
    """Some packed matrices of the same input, whose results stand side by side."""

    def __init__(self, *matrices: Packed, finish: Finish = "store") -> None:
        if any(one.data.data_ptr() % ALIGNMENT for one in matrices):
            raise InputError(
                f"packed weights must begin at a multiple of {ALIGNMENT} bytes; clone() them"
            )
        if len({one.bits == 16 for one in matrices}) > 1:
            raise InputError(
                "a product takes matrices of 16 bits, or of 4 and 8, not both; "
                "make a product of each kind"
            )
        halves = [one for one in matrices if one.promising]
        if halves and (matrices[1:] or finish != "store" or halves[0].bits != 4):
            raise InputError("a matrix in halves has 4 bits, and a product of its own, as it is")
        self.matrices = matrices
        self.finish: Finish = finish
        kept = matrices[:1] if finish == "gate" else matrices
        self.outputs = sum(one.outputs for one in kept)
        self.joined = None
        """As kernels are told of it; None without them."""
        if all(one.data.is_cpu for one in matrices):
            self.joined = native.join(
                [(one.bits, one.data.data_ptr(), one.outputs, one.promising) for one in matrices],
                matrices[0].inputs,
                finish,
            )

    def __call__(
        self,
        x: Tensor,
        norm: Norm | None = None,
        bias: Tensor | None = None,
        out: Tensor | None = None,
    ) -> Tensor:
        """The results [tokens, outputs] for `x` [tokens, inputs], in the dtype of `x`.

        `add` adds them to `out`, which is in float32.
        """
        kernels = native.kernels_for(x)
        if kernels is None or self.joined is None or x.dtype == torch.float64:
            return self._meaning(x, norm, bias, out)
        wide, bias = x.float().contiguous(), None if bias is None else bias.float()
        written = wide.new_empty(len(x), self.outputs) if out is None else out
        kernels.multiply(
            native.pool(),
            self.joined,
            wide.data_ptr(),
            len(x),
            norm.weight.data_ptr() if norm else 0,
            norm.bias.data_ptr() if norm and norm.bias is not None else 0,
            norm.eps if norm else 0.0,
            0 if bias is None else bias.data_ptr(),
            written.data_ptr(),
        )
        return written.to(x.dtype) if out is None else out

    def _meaning(
        self, x: Tensor, norm: Norm | None, bias: Tensor | None, out: Tensor | None
    ) -> Tensor:
        result = meaning(x, self.matrices, self.finish, norm, bias)
        if self.finish != "add" or out is None:
            return result
        return out.add_(result)


def meaning(
    x: Tensor,
    matrices: Sequence[Packed],
    finish: Finish = "store",
    norm: Norm | None = None,
    bias: Tensor | None = None,
) -> Tensor:
    """Say in plain torch what a product is, but for what `add` adds to."""
    if norm is not None and norm.bias is not None:
        x = F.layer_norm(x, x.shape[-1:], norm.weight, norm.bias, norm.eps)
    elif norm is not None:
        x = rms_norm.meaning(x, norm.weight, norm.eps)
    weight = torch.cat([one.weight for one in matrices]).to(x.dtype)
    result = F.linear(x, weight, None if bias is None else bias.to(x.dtype))
    if len(x) <= FEW and matrices[0].promising:
        result = _looked_at_closer(x, matrices[0], result, bias)
    if finish == "gate":
        first, second = result.chunk(2, dim=-1)
        return F.silu(first) * second
    return F.gelu(result, approximate="tanh") if finish == "gelu" else result


def _looked_at_closer(x: Tensor, matrix: Packed, exact: Tensor, bias: Tensor | None) -> Tensor:
    """The exact results of promising panels among those by the upper halves of weights."""
    known = unpack(known_by_upper(matrix.whole), matrix.outputs, matrix.inputs, matrix.bits)
    rough = F.linear(x, known.to(x.dtype))
    filled = F.pad(rough, (0, -matrix.outputs % ROWS))  # as kernels see the last panel
    most = filled.unflatten(1, (-1, ROWS)).amax(dim=2)
    kept = min(matrix.promising, most.shape[1])
    seen = most >= most.topk(kept, dim=1).values[:, -1:]
    seen = seen.repeat_interleave(ROWS, dim=1)[:, : matrix.outputs]
    return torch.where(seen, exact, rough if bias is None else rough + bias.to(x.dtype))

"""A block of the vision tower whose weights are packed, in six native calls."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from qwen3_vl.models.packed_parts import PackedParts
from qwen3_vl.models.vision import VisionBlock
from qwen3_vl.ops.products import Norm, Product
from qwen3_vl.seams import PatchAttention

_TOGETHER = 1024
"""Patches that pass the MLP together: what lies between its products stays in the cache."""


class FusedBlock:
    """Runs a block whose weights are packed; any other, and in training any, as it is."""

    def __init__(self, block: VisionBlock) -> None:
        self._block = block
        self._steps: _Steps | None = None

    def __call__(self, x: Tensor, frames: PatchAttention) -> Tensor:
        """Run the block."""
        steps = self._steps  # looked at once: another thread may make it anew
        if steps is None or not steps.parts.stand:
            parts = packed_parts(self._block)
            self._steps = steps = _Steps(self._block, parts) if parts else None
        if steps is None or not x.is_cpu or torch.is_grad_enabled():
            return self._block(x, frames)
        return steps.run(x, frames)


class _Steps:
    """The calls of one block, as long as its weights stay where they are."""

    def __init__(self, block: VisionBlock, parts: PackedParts) -> None:
        self.parts = parts
        qkv, proj, first, second = parts.matrices
        self._into, self._out = Product(qkv.matrix), Product(proj.matrix, finish="add")
        self._first = Product(first.matrix, finish="gelu")
        self._second = Product(second.matrix, finish="add")
        self._biases = [one.bias for one in parts.matrices]
        self._before_attention, self._before_mlp = _norm(block.norm1), _norm(block.norm2)
        self._dtype = block.norm1.weight.dtype

    def run(self, x: Tensor, frames: PatchAttention) -> Tensor:
        stream = x.to(torch.float32, copy=True)
        into, out, first, second = self._biases
        seen = frames.attend(self._into(stream, self._before_attention, into), self._dtype)
        self._out(seen, bias=out, out=stream)
        for some in stream.split(_TOGETHER):
            inner = self._first(some, self._before_mlp, first)
            self._second(inner, bias=second, out=some)
        return stream


def _norm(norm: nn.LayerNorm) -> Norm:
    return Norm(norm.weight.detach().float(), norm.eps, norm.bias.detach().float())


def packed_parts(block: VisionBlock) -> PackedParts | None:
    """The four matrices of a block, if calls can be made for them."""
    attention, mlp = block.attn, block.mlp
    parts = PackedParts(
        [(attention, "qkv"), (attention, "proj"), (mlp, "linear_fc1"), (mlp, "linear_fc2")]
    )
    return parts if parts.complete else None

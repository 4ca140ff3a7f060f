"""A block of the tower whose weights are packed: one native call, or four where torch attends."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from qwen3_vl.models.packed_parts import PackedParts
from qwen3_vl.models.vision import VisionBlock
from qwen3_vl.ops.layers import Layer, LayerParts, Room
from qwen3_vl.ops.products import Norm, Product
from qwen3_vl.seams import PatchAttention


class FusedBlock:
    """Runs a block whose weights are packed; any other, and in training any, as it is."""

    def __init__(self, block: VisionBlock, room: Room) -> None:
        self._block = block
        self._room = room
        self._steps: _Steps | None = None

    def __call__(self, x: Tensor, frames: PatchAttention) -> Tensor:
        """Run the block."""
        steps = self._steps  # looked at once: another thread may make it anew
        if steps is None or not steps.parts.stand:
            parts = packed_parts(self._block)
            self._steps = steps = _Steps(self._block, parts, self._room) if parts else None
        if steps is None or not x.is_cpu or torch.is_grad_enabled():
            return self._block(x, frames)
        return steps.run(x, frames)


class _Steps:
    """The calls of one block, as long as its weights stay where they are."""

    def __init__(self, block: VisionBlock, parts: PackedParts, room: Room) -> None:
        self.parts = parts
        self._dtype = block.norm1.weight.dtype
        qkv, proj, first, second = parts.matrices
        self._layer = Layer(
            LayerParts(
                into=Product(qkv.matrix),
                out=Product(proj.matrix, finish="add"),
                first=Product(first.matrix, finish="gelu"),
                second=Product(second.matrix, finish="add"),
                before_attention=_norm(block.norm1),
                before_mlp=_norm(block.norm2),
                biases=(qkv.bias, proj.bias, first.bias, second.bias),
                causal=False,
            ),
            room,
        )

    def run(self, x: Tensor, frames: PatchAttention) -> Tensor:
        stream = x.float().contiguous()  # in place from the second block on: copies are large
        if frames.paged is not None:
            return self._layer(stream, *frames.paged)
        return self._layer.around(stream, lambda qkv: frames.attend(qkv, self._dtype))


def _norm(norm: nn.LayerNorm) -> Norm:
    return Norm(norm.weight.detach().float(), norm.eps, norm.bias.detach().float())


def packed_parts(block: VisionBlock) -> PackedParts | None:
    """The four matrices of a block, if calls can be made for them."""
    attention, mlp = block.attn, block.mlp
    parts = PackedParts(
        [(attention, "qkv"), (attention, "proj"), (mlp, "linear_fc1"), (mlp, "linear_fc2")]
    )
    return parts if parts.complete else None

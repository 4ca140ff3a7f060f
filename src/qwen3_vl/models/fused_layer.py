"""A decoder layer whose weights are packed: one native call, or four where torch attends."""

from __future__ import annotations

import torch
from torch import Tensor

from qwen3_vl.models.packed_parts import PackedParts
from qwen3_vl.models.positions import rotate
from qwen3_vl.models.text import DecoderLayer, RMSNorm, TextMLP
from qwen3_vl.ops.layers import Layer, LayerParts, Room
from qwen3_vl.ops.pages import PagedPass
from qwen3_vl.ops.products import Norm, Product
from qwen3_vl.ops.rms_norm import rms_norm
from qwen3_vl.ops.rotation import Angles
from qwen3_vl.seams import CacheView


class FusedLayer:
    """Runs a layer whose weights are packed; any other as it is."""

    def __init__(self, layer: DecoderLayer, room: Room) -> None:
        self._layer = layer
        self._room = room
        self._steps: LayerSteps | None = None

    def __call__(self, x: Tensor, rotary: Angles, view: CacheView) -> Tensor:
        """Run the layer."""
        steps = self.steps()
        if steps is None or not x.is_cpu:
            return self._layer(x, rotary, view)
        return steps.run(x, rotary, view)

    def steps(self) -> LayerSteps | None:
        """Its calls, if its weights are packed."""
        steps = self._steps  # looked at once: another thread may make it anew
        if steps is None or not steps.parts.stand:
            parts = packed_parts(self._layer)
            self._steps = steps = LayerSteps(self._layer, parts, self._room) if parts else None
        return steps


class LayerSteps:
    """The calls of one layer, as long as its weights stay where they are."""

    def __init__(self, layer: DecoderLayer, parts: PackedParts, room: Room) -> None:
        self.parts = parts
        attention = layer.self_attn
        q, k, v, o, gate, up, down = parts.matrices
        self._index = attention.layer
        self._heads, kv_heads = (one.out_features // attention.head_dim for one in (q, k))
        self._keys = torch.empty(0, kv_heads, attention.head_dim)
        norms = [_norm(attention.q_norm), _norm(attention.k_norm)]
        self._head_norms = [(norm.weight, norm.eps) for norm in norms]
        biases = [one.bias.detach() for one in (q, k, v) if one.bias is not None]
        self.layer = Layer(
            LayerParts(
                into=Product(q.matrix, k.matrix, v.matrix),
                out=Product(o.matrix, finish="add"),
                first=Product(gate.matrix, up.matrix, finish="gate"),
                second=Product(down.matrix, finish="add"),
                before_attention=_norm(layer.input_layernorm),
                before_mlp=_norm(layer.post_attention_layernorm),
                head_norms=(norms[0].weight, norms[1].weight),
                eps=norms[0].eps,
                biases=(torch.cat(biases) if biases else None, o.bias, None, None),
            ),
            room,
        )

    def run(self, x: Tensor, rotary: Angles, view: CacheView) -> Tensor:
        """What leaves the layer."""
        stream, pages = in_place(x), self.pages(view)
        if pages is not None:
            return self.layer(stream, pages, rotary.turns)

        def attend(qkv: Tensor) -> Tensor:
            kv_heads, dim = self._keys.shape[1:]
            heads = qkv.view(len(qkv), -1, dim).split([self._heads, kv_heads, kv_heads], dim=1)
            q, k = (
                rotate(rms_norm(one.contiguous(), *norm), *rotary.pair)
                for one, norm in zip(heads[:2], self._head_norms, strict=True)
            )
            seen = view.attend(self._index, *(one.to(x.dtype) for one in (q, k, heads[2])))
            return seen.float().flatten(1)

        return self.layer.around(stream, attend)

    def pages(self, view: CacheView) -> PagedPass | None:
        """The way of the new tokens through its pages, if they attend there."""
        return view.pages(self._index, self._heads, self._keys)


def in_place(x: Tensor) -> Tensor:
    """Give what layers write to: `x` itself if it can be, for copies take time."""
    return x.to(torch.float32, copy=torch.is_grad_enabled()).contiguous()


def _norm(norm: RMSNorm) -> Norm:
    return Norm(norm.weight.detach().float(), norm.eps)


def packed_parts(layer: DecoderLayer) -> PackedParts | None:
    """The seven matrices of a layer, if calls can be made for them.

    Those of one product must be bfloat16 together; experts are not packed.
    """
    if not isinstance(layer.mlp, TextMLP):
        return None
    attention, mlp = layer.self_attn, layer.mlp
    parts = PackedParts(
        [
            *((attention, name) for name in ("q_proj", "k_proj", "v_proj", "o_proj")),
            *((mlp, name) for name in ("gate_proj", "up_proj", "down_proj")),
        ]
    )
    is_bf16 = [one.bits == 16 for one in parts.matrices]
    alike = len(set(is_bf16[:3])) == len(set(is_bf16[4:6])) == 1
    return parts if parts.complete and alike else None

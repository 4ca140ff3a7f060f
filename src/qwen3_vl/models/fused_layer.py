"""A decoder layer whose weights are packed, in six native calls."""

from __future__ import annotations

import torch
from torch import Tensor

from qwen3_vl.models.packed_parts import PackedParts
from qwen3_vl.models.positions import rotate
from qwen3_vl.models.text import DecoderLayer, RMSNorm, TextMLP
from qwen3_vl.ops.pages import Turning
from qwen3_vl.ops.products import Norm, Product
from qwen3_vl.ops.rms_norm import rms_norm
from qwen3_vl.seams import CacheView


class Angles:
    """The cosines and sines of a pass, as kernels read them; made once for all layers."""

    def __init__(self) -> None:
        self._latest: tuple[tuple[Tensor, Tensor], Tensor] | None = None

    def of(self, rotary: tuple[Tensor, Tensor]) -> Tensor:
        """[tokens, dim]: the cosines of half the dimensions, then the sines."""
        latest = self._latest  # looked at once: another thread may run another pass
        if latest is None or latest[0] is not rotary:
            half = rotary[0].shape[-1] // 2
            latest = rotary, torch.cat([x[:, :half].float() for x in rotary], dim=1)
            self._latest = latest
        return latest[1]


class FusedLayer:
    """Runs a layer whose weights are packed; any other as it is."""

    def __init__(self, layer: DecoderLayer, angles: Angles) -> None:
        self._layer = layer
        self._angles = angles
        self._steps: _Steps | None = None

    def __call__(self, x: Tensor, rotary: tuple[Tensor, Tensor], view: CacheView) -> Tensor:
        """Run the layer."""
        steps = self._steps  # looked at once: another thread may make it anew
        if steps is None or not steps.parts.stand:
            parts = packed_parts(self._layer)
            self._steps = steps = _Steps(self._layer, parts) if parts else None
        if steps is None or not x.is_cpu:
            return self._layer(x, rotary, view)
        return steps.run(x, rotary, self._angles, view)


class _Steps:
    """The calls of one layer, as long as its weights stay where they are."""

    def __init__(self, layer: DecoderLayer, parts: PackedParts) -> None:
        self.parts = parts
        attention = layer.self_attn
        q, k, v, o, gate, up, down = parts.matrices
        self._index, self._dim = attention.layer, attention.head_dim
        self._heads, self._kv_heads = (one.out_features // self._dim for one in (q, k))
        self._into = Product(q.matrix, k.matrix, v.matrix)
        biases = [one.bias for one in (q, k, v)]
        self._bias = torch.cat([one.float() for one in biases if one is not None] or [q.written])
        self._out = Product(o.matrix, finish="add")
        self._out_bias = o.bias
        self._gate = Product(gate.matrix, up.matrix, finish="gate")
        self._down = Product(down.matrix, finish="add")
        self._before_attention = _norm(layer.input_layernorm)
        self._before_mlp = _norm(layer.post_attention_layernorm)
        norms = [_norm(attention.q_norm), _norm(attention.k_norm)]
        self._head_norms = (norms[0].weight, norms[1].weight)
        self._eps = norms[0].eps

    def run(
        self, x: Tensor, rotary: tuple[Tensor, Tensor], angles: Angles, view: CacheView
    ) -> Tensor:
        stream = x.to(torch.float32, copy=True)
        bias = self._bias if len(self._bias) else None
        qkv = self._into(stream, self._before_attention, bias).view(len(x), -1, self._dim)
        self._out(self._attend(qkv, x.dtype, rotary, angles, view), bias=self._out_bias, out=stream)
        inner = self._gate(stream, self._before_mlp)
        return self._down(inner, out=stream)

    def _attend(
        self,
        qkv: Tensor,
        dtype: torch.dtype,
        rotary: tuple[Tensor, Tensor],
        angles: Angles,
        view: CacheView,
    ) -> Tensor:
        pages = view.pages(self._index, self._heads, qkv[:, -self._kv_heads :])
        if pages is not None:
            turning = Turning(angles.of(rotary), self._head_norms, self._eps)
            return pages.attend(pages.remember(qkv, turning)).flatten(1)
        q, k, v = qkv.split([self._heads, self._kv_heads, self._kv_heads], dim=1)
        q, k = (
            rotate(rms_norm(x.contiguous(), norm, self._eps), *rotary)
            for x, norm in zip((q, k), self._head_norms, strict=True)
        )
        return view.attend(self._index, q.to(dtype), k.to(dtype), v.to(dtype)).float().flatten(1)


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

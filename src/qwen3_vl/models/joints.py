"""Where channels of a decoder layer can be made larger, and read as smaller, with nothing changed.

With powers of two not even a last digit changes: only exponents do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from qwen3_vl.errors import ConfigError
from qwen3_vl.models.experts import MoeLayer
from qwen3_vl.models.qwen3_vl import Qwen3VLForConditionalGeneration
from qwen3_vl.models.text import DecoderLayer, Qwen3VLAttention


@dataclass(frozen=True)
class Side:
    """Slices of a parameter that belong to channels."""

    module: nn.Module
    dim: int = 0
    parameter: str = "weight"
    channels: Tensor | None = None
    """Which channel each slice belongs to, -1 for none; else they follow each other."""

    def spread(self, factors: Tensor) -> Tensor:
        """The factor of each slice."""
        if self.channels is None:
            return factors
        return torch.cat((factors, factors.new_ones(1)))[self.channels]

    def scale(self, factors: Tensor) -> None:
        """Give the module a parameter of its own, with its slices times these."""
        old = cast(Tensor, getattr(self.module, self.parameter))
        shape = [1] * old.ndim
        shape[self.dim] = -1
        new = old.detach() * self.spread(factors).to(old).view(shape)
        self.module.register_parameter(self.parameter, nn.Parameter(new))


@dataclass(frozen=True)
class Joint:
    """Channels, what writes them, and all that reads them."""

    count: int
    writers: tuple[Side, ...]
    readers: tuple[Side, ...]

    def scale(self, factors: Tensor) -> None:
        """Make each of the `count` channels so many times as large for those that read it."""
        for side in self.writers:
            side.scale(factors)
        for side in self.readers:
            side.scale(1 / factors)


def joints(layer: DecoderLayer) -> Mapping[str, Joint]:
    """All of a layer by name."""
    attention, mlp = layer.self_attn, layer.mlp
    read = (attention.q_proj, attention.k_proj, attention.v_proj)
    found = {
        "attention": _after(layer.input_layernorm, tuple(Side(one, 1) for one in read)),
        "keys": _keys(attention),
        "values": _values(attention),
    }
    if isinstance(mlp, MoeLayer):
        experts = mlp.experts
        inner = experts.down_proj.shape[1]
        up = torch.arange(-inner, inner).clamp(min=-1)  # behind the gates, which bend
        readers = (Side(mlp.gate, 1), Side(experts, 1, "gate_up_proj"))
        writer, reader = Side(experts, 2, "gate_up_proj", up), Side(experts, 1, "down_proj")
    else:
        inner = mlp.up_proj.out_features
        readers = (Side(mlp.gate_proj, 1), Side(mlp.up_proj, 1))
        writer, reader = Side(mlp.up_proj), Side(mlp.down_proj, 1)
    return found | {
        "mlp": _after(layer.post_attention_layernorm, readers),
        "neurons": Joint(inner, (writer,), (reader,)),
    }


def _after(norm: nn.Module, readers: tuple[Side, ...]) -> Joint:
    """What leaves a norm."""
    return Joint(len(cast(Tensor, norm.weight)), (Side(norm),), readers)


def _keys(attention: Qwen3VLAttention) -> Joint:
    """Pairs of keys, read by the same pairs of queries.

    Element i and element i + dim / 2 turn together, whichever axis of M-RoPE turns them; scaled
    alike, they turn as before, and each product of a query and a key stays as it was.
    """
    half = attention.head_dim // 2
    pairs = torch.arange(half).repeat(2)
    writer, reader = (Side(norm, channels=pairs) for norm in (attention.k_norm, attention.q_norm))
    return Joint(half, (writer,), (reader,))


def _values(attention: Qwen3VLAttention) -> Joint:
    """Values, read from each query head that shares them."""
    writer, reader, dim = attention.v_proj, attention.o_proj, attention.head_dim
    channels = torch.arange(writer.out_features).view(-1, 1, dim)
    sharing = reader.in_features // writer.out_features
    shared = channels.expand(-1, sharing, -1).flatten()
    bias = (Side(writer, 0, "bias"),) if writer.bias is not None else ()
    return Joint(writer.out_features, (Side(writer), *bias), (Side(reader, 1, channels=shared),))


def scalable(model: Qwen3VLForConditionalGeneration) -> Qwen3VLForConditionalGeneration:
    """A copy whose channels can be scaled; it shares its parameters until they are."""
    if model.dtype == torch.float16:
        raise ConfigError(
            "float16 has no room for numbers much smaller than those that the model has; "
            "load it in float32"
        )
    if model.seams.linear or model.seams.adapter:
        raise ConfigError(
            "the model has a recipe that changes its weights; scale channels of the plain model, "
            "and apply the recipe to the result"
        )
    return model.with_seams(model.seams)

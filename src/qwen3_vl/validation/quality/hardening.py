"""A small model made as hard to round as a large one, and still the same function.

Large models have channels of keys and activations that are many times larger than the others;
small ones have not, and so look easier to quantise than they are. Here such outliers are put in,
each with its inverse where the number is used, so that every answer stays as it was.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from qwen3_vl.errors import ConfigError
from qwen3_vl.models.experts import MoeLayer
from qwen3_vl.models.qwen3_vl import Qwen3VLForConditionalGeneration
from qwen3_vl.models.text import DecoderLayer, Qwen3VLAttention, TextMLP

STRENGTHS = (1, 4, 16, 64)
"""Those that tests and docs use."""
_SHARE = 1 / 16
"""Of all channels so many become outliers; at least one does."""


def harden(
    model: Qwen3VLForConditionalGeneration, strength: float, seed: int = 0
) -> Qwen3VLForConditionalGeneration:
    """A model that answers as `model` does, with outliers `strength` times as large; 1 has none.

    A power of two changes no digit of any number, only its exponent: the logits are equal to the
    last bit. What is not changed is shared with `model`. The channels follow from the seed; those
    of the activations are the same in all layers, as in trained models.
    """
    if not (strength >= 1 and math.frexp(strength)[0] == 0.5):
        raise ConfigError(
            f"strength is {strength}; it must be a power of two such as 1, 4, 16 or 64, "
            "with which nothing is rounded"
        )
    if model.dtype == torch.float16:
        raise ConfigError(
            "float16 has no room for numbers much smaller than those that the model has; "
            "load it in float32"
        )
    if model.seams.linear or model.seams.adapter:
        raise ConfigError(
            "the model has a recipe that changes its weights; harden the plain model, and apply "
            "the recipe to the result"
        )
    hard = model.with_seams(model.seams)
    generator = torch.Generator().manual_seed(seed)
    channels = _drawn(model.config.text_config.hidden_size, generator)
    for layer in hard.model.language_model.layers:
        _harden_layer(cast(DecoderLayer, layer), strength, channels, generator)
    return hard


def _harden_layer(
    layer: DecoderLayer, strength: float, channels: Tensor, generator: torch.Generator
) -> None:
    attention, mlp = layer.self_attn, layer.mlp
    projections = (attention.q_proj, attention.k_proj, attention.v_proj)
    _activations(layer.input_layernorm, projections, channels, strength)
    _keys(attention, strength, generator)
    if isinstance(mlp, MoeLayer):
        experts = mlp.experts
        _activations(layer.post_attention_layernorm, (mlp.gate,), channels, strength)
        experts.gate_up_proj = _scaled(experts.gate_up_proj, 1, channels, 1 / strength)
        inner = experts.down_proj.shape[1]
        neurons = _drawn(inner, generator)
        experts.gate_up_proj = _scaled(experts.gate_up_proj, 2, inner + neurons, strength)
        experts.down_proj = _scaled(experts.down_proj, 1, neurons, 1 / strength)
    else:
        inputs = (mlp.gate_proj, mlp.up_proj)
        _activations(layer.post_attention_layernorm, inputs, channels, strength)
        _neurons(mlp, strength, generator)


def _activations(
    norm: nn.Module, consumers: Sequence[nn.Module], channels: Tensor, strength: float
) -> None:
    """What leaves a norm: some channels larger, and their columns smaller in all that read them."""
    _scale(norm, 0, channels, strength)
    for consumer in consumers:
        _scale(consumer, 1, channels, 1 / strength)


def _keys(attention: Qwen3VLAttention, strength: float, generator: torch.Generator) -> None:
    """Keys: some pairs larger, and the same pairs of the queries smaller.

    Element i and element i + dim / 2 turn together, whichever axis of M-RoPE turns them; scaled
    alike, they turn as before, and each product of a query and a key stays as it was.
    """
    half = attention.head_dim // 2
    pairs = _drawn(half, generator)
    both = torch.cat((pairs, half + pairs))
    _scale(attention.k_norm, 0, both, strength)
    _scale(attention.q_norm, 0, both, 1 / strength)


def _neurons(mlp: TextMLP, strength: float, generator: torch.Generator) -> None:
    """Some neurons larger by their `up` row, which the gate does not bend, and read as smaller."""
    neurons = _drawn(mlp.up_proj.out_features, generator)
    _scale(mlp.up_proj, 0, neurons, strength)
    _scale(mlp.down_proj, 1, neurons, 1 / strength)


def _drawn(count: int, generator: torch.Generator) -> Tensor:
    """Some of so many channels."""
    return torch.randperm(count, generator=generator)[: max(1, int(_SHARE * count))]


def _scale(module: nn.Module, dim: int, index: Tensor, factor: float) -> None:
    """Give a module a weight of its own, some slices of which are scaled."""
    weight = cast(Tensor, module.weight)
    module.register_parameter("weight", _scaled(weight, dim, index, factor))


def _scaled(weight: Tensor, dim: int, index: Tensor, factor: float) -> nn.Parameter:
    factors = torch.ones(weight.shape[dim])
    factors[index] = factor
    shape = [1] * weight.ndim
    shape[dim] = -1
    return nn.Parameter(weight.detach() * factors.to(weight).view(shape))

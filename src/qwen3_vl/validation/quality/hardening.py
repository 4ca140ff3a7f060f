"""A small model made as hard to round as a large one, and still the same function.

Large models have channels of keys and activations that are many times larger than the others;
small ones have not, and so look easier to quantise than they are. Here such outliers are put in,
each with its inverse where the number is used, so that every answer stays as it was.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor

from qwen3_vl.errors import ConfigError
from qwen3_vl.models.joints import joints, scalable
from qwen3_vl.models.qwen3_vl import Qwen3VLForConditionalGeneration
from qwen3_vl.models.text import DecoderLayer

STRENGTHS = (1, 4, 16, 64)
"""Those that tests and docs use."""
_SHARE = 1 / 16
"""Of all channels so many become outliers; at least one does."""
_STREAM = ("attention", "mlp")
"""What leaves the two norms of a layer: the same channels in all layers, as in trained models."""
_OWN = ("keys", "neurons")
"""Each layer has outliers of its own among these; neurons by their `up` row."""


def harden(
    model: Qwen3VLForConditionalGeneration, strength: float, seed: int = 0
) -> Qwen3VLForConditionalGeneration:
    """A model that answers as `model` does, with outliers `strength` times as large; 1 has none.

    A power of two changes no digit of any number, only its exponent: the logits are equal to the
    last bit. What is not changed is shared with `model`. The channels follow from the seed.
    """
    if not (strength >= 1 and math.frexp(strength)[0] == 0.5):
        raise ConfigError(
            f"strength is {strength}; it must be a power of two such as 1, 4, 16 or 64, "
            "with which nothing is rounded"
        )
    hard = scalable(model)
    generator = torch.Generator().manual_seed(seed)
    stream = _some(model.config.text_config.hidden_size, strength, generator)
    for layer in hard.model.language_model.layers:
        found = joints(cast(DecoderLayer, layer))
        for name in _STREAM:
            found[name].scale(stream)
        for name in _OWN:
            found[name].scale(_some(found[name].count, strength, generator))
    return hard


def _some(count: int, strength: float, generator: torch.Generator) -> Tensor:
    """Factors of so many channels, one for most."""
    factors = torch.ones(count)
    factors[torch.randperm(count, generator=generator)[: max(1, int(_SHARE * count))]] = strength
    return factors

"""What a model is made of: counted on its skeleton, before a weight is read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from qwen3_vl.config.footprint import cache_numbers
from qwen3_vl.config.model import Qwen3VLConfig
from qwen3_vl.models.qwen3_vl import Qwen3VLForConditionalGeneration

# The first pattern that is found in a parameter's name tells its part.
_PARTS = {
    "vision patches and positions": r"visual\.(patch|pos)_embed",
    "vision blocks": r"visual\.blocks",
    "vision merger": r"visual\.merger",
    "DeepStack mergers": r"deepstack_merger_list",
    "text embeddings": r"embed_tokens",
    "text attention": r"self_attn",
    "text MLP": r"\.mlp\.",
    "text head": r"lm_head",
    "text norms": r"norm",
}


@dataclass(frozen=True)
class Anatomy:
    """The parts of a model and their sizes."""

    summary: str
    parts: Mapping[str, int]
    """Parameters by part; a shared table counts once."""
    cache_numbers_per_token: int
    """How many numbers a token leaves in the cache."""

    @property
    def parameters(self) -> int:
        """All of them."""
        return sum(self.parts.values())

    @classmethod
    def of(cls, config: Qwen3VLConfig) -> Anatomy:
        """Count the parts of a model of this shape."""
        text, vision = config.text_config, config.vision_config
        parts = dict.fromkeys(_PARTS, 0)
        for name, parameter in Qwen3VLForConditionalGeneration.skeleton(config).named_parameters():
            part = next(part for part, pattern in _PARTS.items() if re.search(pattern, name))
            parts[part] += parameter.numel()
        heads = f"{text.num_attention_heads}/{text.num_key_value_heads} heads"
        return cls(
            f"{config.model_type}, {text.num_hidden_layers} layers of {text.hidden_size}, {heads}, "
            f"vision {vision.depth} blocks of {vision.hidden_size}, "
            f"context {text.max_position_embeddings:,}",
            {part: count for part, count in parts.items() if count},
            cache_numbers(config),
        )

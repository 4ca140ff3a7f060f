"""How much memory a model of some shape takes, and in which format its files are.

Counted and looked up without building it, or reading a weight.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from qwen3_vl.config.model import Qwen3VLConfig, TextConfig, VisionConfig
from qwen3_vl.config.reading import read_object

BYTES: Mapping[str, int] = {"auto": 2, "float32": 4, "bfloat16": 2, "float16": 2}
"""Of one number; auto is the format of the files, which for official checkpoints is bfloat16."""

OFFICIAL = "bfloat16"
"""The format of the official checkpoints."""
_HEADERS: Mapping[str, str] = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}


@dataclass(frozen=True)
class Footprint:
    """Bytes that stay as long as the model is used; what a pass needs in between is not counted."""

    weights: int
    cache_per_token: int

    @classmethod
    def of(cls, model: Qwen3VLConfig, dtype: str = "auto") -> Footprint:
        """The plain model in this format, with a cache in the same one."""
        return cls(parameters(model) * BYTES[dtype], cache_numbers(model) * BYTES[dtype])

    def with_context(self, tokens: int) -> int:
        """Bytes of the weights and of a cache of so many tokens."""
        return self.weights + tokens * self.cache_per_token

    def tokens_within(self, limit: int) -> int:
        """How many tokens the cache may have; negative if not even the weights fit."""
        return (limit - self.weights) // self.cache_per_token


def parameters(model: Qwen3VLConfig) -> int:
    """How many numbers the weights are; a shared table counts once."""
    text = model.text_config
    tables = text.vocab_size * text.hidden_size * (1 if model.tie_word_embeddings else 2)
    layers = sum(_decoder_layer(text, layer) for layer in range(text.num_hidden_layers))
    return tables + layers + text.hidden_size + _vision(model.vision_config)


def stored_dtype(folder: Path) -> str:
    """The format of a model's files, of several the one that holds them all without loss.

    The headers of the weights tell it. Where these are not downloaded yet, config.json does, or
    else it is that of the official checkpoints.
    """
    found = {dtype for path in folder.glob("*.safetensors") for dtype in _header(path)}
    if len(found) > 1:
        return "float32"
    return found.pop() if found else _announced(folder)


def _header(path: Path) -> set[str]:
    """The formats in one file; those that no model can be in are left to the loader."""
    try:
        with safe_open(path, framework="np") as file:
            names = {file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError):
        return set()  # the loader opens it too, and tells what is wrong with it
    return {_HEADERS[name] for name in names if name in _HEADERS}


def _announced(folder: Path) -> str:
    config = read_object(folder / "config.json")
    text = config.get("text_config")
    for section in (config, text if isinstance(text, dict) else {}):
        for key in ("dtype", "torch_dtype"):
            if section.get(key) in _HEADERS.values():
                return section[key]
    return OFFICIAL


def cache_numbers(model: Qwen3VLConfig) -> int:
    """How many numbers one token leaves in the cache: a key and a value in each layer."""
    text = model.text_config
    return 2 * text.num_hidden_layers * text.num_key_value_heads * text.head_dim


def _decoder_layer(text: TextConfig, layer: int) -> int:
    hidden = text.hidden_size
    queries = text.num_attention_heads * text.head_dim
    keys = text.num_key_value_heads * text.head_dim
    attention = 2 * hidden * (queries + keys) + 2 * text.head_dim
    if text.attention_bias:
        attention += queries + 2 * keys + hidden
    if text.experts is not None and text.has_experts(layer):
        expert = 3 * hidden * text.experts.moe_intermediate_size
        mlp = text.experts.num_experts * (expert + hidden)  # and its row of the router
    else:
        mlp = 3 * hidden * text.intermediate_size
    return attention + mlp + 2 * hidden


def _vision(vision: VisionConfig) -> int:
    hidden, joined = vision.hidden_size, vision.hidden_size * vision.merge_area
    norm = 2 * hidden
    attention = _linear(hidden, 3 * hidden) + _linear(hidden, hidden)
    mlp = _linear(hidden, vision.intermediate_size) + _linear(vision.intermediate_size, hidden)
    blocks = vision.depth * (2 * norm + attention + mlp)
    mergers = 1 + len(vision.deepstack_visual_indexes)
    merging = mergers * (_linear(joined, joined) + _linear(joined, vision.out_hidden_size))
    merging += norm + (mergers - 1) * 2 * joined  # a DeepStack merger normalises after joining
    positions = vision.num_position_embeddings * hidden
    return _linear(vision.patch_dim, hidden) + positions + blocks + merging


def _linear(inputs: int, outputs: int) -> int:
    return inputs * outputs + outputs

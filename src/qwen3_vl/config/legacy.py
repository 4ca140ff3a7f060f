"""The flat dictionaries of older versions, such as {"gpu_memory": 4, "use_flash_attention": true}.

`_PLACES` and `SWITCHES` tell where each old key went; a key that is in neither is an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qwen3_vl.config.machine import bytes_of
from qwen3_vl.config.origins import Setting, Settings
from qwen3_vl.config.reading import refuse_unknown
from qwen3_vl.errors import ConfigError

_GIGABYTES = frozenset({"gpu_memory", "memory_gb"})
_PLACES: Mapping[str, str] = {
    "cpu_cores": "cpu.threads",
    "num_threads": "cpu.threads",
    "memory_gb": "memory.max_bytes",
    "max_sequence_length": "memory.max_context",
    "gpu_memory": "gpu.max_bytes",
    "device": "gpu.device",
    "torch_dtype": "optimization.dtype",
    "max_new_tokens": "generation.max_new_tokens",
    "do_sample": "generation.do_sample",
    "temperature": "generation.temperature",
    "top_k": "generation.top_k",
    "top_p": "generation.top_p",
    "repetition_penalty": "generation.repetition_penalty",
}
SWITCHES: Mapping[str, str] = {
    "use_flash_attention": "flash_attention_2",
    "use_memory_efficient_attention": "memory_efficient_attention",
    "use_sliding_window": "sliding_window",
    "use_sparse_attention": "block_sparse_attention",
    "use_token_merging": "cross_modal_token_merging",
    "use_adaptive_depth": "adaptive_depth",
    "use_heavy_hitter": "heavy_hitter",
    "use_kv_quantization": "quantized_kv",
    "use_weight_quantization": "weight_int8",
}
"""Each was on or off, and is now a step of the recipe or none."""


def read_legacy(old: Mapping[str, Any]) -> Settings:
    """The settings that an old flat dictionary stands for."""
    refuse_unknown(old, _PLACES.keys() | SWITCHES.keys(), "old config: ")
    settings: Settings = {}
    for key in old.keys() & _PLACES.keys():
        path = _PLACES[key]
        if path in settings:
            raise ConfigError(f"old config: {key} and {settings[path].origin} say the same twice")
        settings[path] = Setting(_value(key, old[key]), f"old key {key}")
    recipe = [name for key, name in SWITCHES.items() if _is_on(key, old.get(key, False))]
    if recipe:
        settings["optimization.recipe"] = Setting("|".join(recipe), "old keys use_…")
    return settings


def _value(key: str, value: Any) -> Any:
    if key not in _GIGABYTES:
        return value
    return bytes_of(f"old config: {key}", value)


def _is_on(key: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ConfigError(f"old config: {key} is {value!r}; it must be true or false")
    return value

"""Configs with a name: how much exactness is given for memory and speed.

What each costs in quality is told here in words only; the playground measures it on pictures.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from qwen3_vl.config.footprint import Footprint, parameters
from qwen3_vl.config.machine import ARITHMETIC, MachineSpecs
from qwen3_vl.config.model import Qwen3VLConfig
from qwen3_vl.config.origins import Settings, build, settings_from
from qwen3_vl.config.runtime import UnifiedConfig
from qwen3_vl.errors import ConfigError, DeviceError

AUTO = "auto"
"""The preset that follows from the machine."""

_ROUNDED = "weight_int8|quantized_kv(bits=8)"
_WORTHWHILE = 4096
"""With a shorter context than this a format does not count as one that fits."""
_SHARE = 0.8
"""Of the memory for weights and cache; the rest is for passes over the model and other programs."""


@dataclass(frozen=True)
class Preset:
    """What a name stands for."""

    cost: str
    """What is given up, in one line."""
    settings: Mapping[str, Any] = field(default_factory=dict)


PRESETS: Mapping[str, Preset] = {
    "minimal": Preset("nothing; the answers are those of the plain model"),
    "balanced": Preset(
        "exact weights and cache, which are rounded to 8 bits, and contexts above 32768 tokens",
        {
            "optimization.recipe": _ROUNDED,
            "memory.max_context": 32768,
        },
    ),
    "aggressive": Preset(
        "exact weights and cache, rounded to 8 and 4 bits, and contexts above 8192 tokens",
        {
            "optimization.recipe": "weight_int8|quantized_kv(bits=4)",
            "memory.max_context": 8192,
            "power.on_battery": "save",
        },
    ),
    AUTO: Preset(
        "contexts that would not fit the machine, and where no exact format fits it either, "
        "exact weights and cache"
    ),
}


def preset(
    name: str, machine: MachineSpecs | None = None, model: Qwen3VLConfig | None = None
) -> UnifiedConfig:
    """The config of this name; `auto` follows from the machine and the model, by default the 2B."""
    return build(preset_settings(name, machine, model))


def preset_settings(
    name: str, machine: MachineSpecs | None = None, model: Qwen3VLConfig | None = None
) -> Settings:
    """The settings of this preset that are not the defaults."""
    if name not in PRESETS:
        raise ConfigError(f"there is no preset {name!r}; there are: {', '.join(PRESETS)}")
    if name != AUTO:
        return settings_from(PRESETS[name].settings, f"preset {name}")
    if machine is None:
        raise ConfigError(
            f"the preset {AUTO} follows from the machine: give its MachineSpecs, "
            "or name one of the others"
        )
    values = _automatic(machine, model or Qwen3VLConfig.preset("2b-instruct"))
    return settings_from(values, f"preset {AUTO}")


@dataclass(frozen=True)
class _Way:
    """One way to hold the model."""

    device: str
    room: int
    footprint: Footprint
    dtype: str = "auto"
    recipe: str = ""

    @property
    def context(self) -> int:
        return self.footprint.tokens_within(int(_SHARE * self.room))


def _automatic(machine: MachineSpecs, model: Qwen3VLConfig) -> dict[str, Any]:
    longest = model.text_config.max_position_embeddings
    for way in _ways(machine, model):
        if way.context >= min(_WORTHWHILE, longest):
            return {
                "gpu.device": way.device,
                "optimization.dtype": way.dtype,
                "optimization.recipe": way.recipe,
                "memory.max_context": min(way.context, longest),
                "power.on_battery": "save",
            }
    raise DeviceError(
        f"no preset makes this model fit {machine.memory_bytes / 1e9:.1f} GB of memory and "
        f"{machine.gpu_bytes / 1e9:.1f} GB on the GPU: it has {parameters(model) / 1e9:.1f} "
        "billion weights, of a byte each at best"
    )


def _ways(machine: MachineSpecs, model: Qwen3VLConfig) -> Iterator[_Way]:
    """The ways, the best first: exact before rounded, GPU before CPU, fast before slow."""
    stored, full = Footprint.of(model), Footprint.of(model, "float32")
    gpu, memory = machine.gpu_bytes, machine.memory_bytes
    bfloat16 = ARITHMETIC["bfloat16"]
    if (machine.gpu_capability or (0, 0)) >= bfloat16.capability:
        yield _Way("cuda", gpu, stored)
    yield _Way("cuda", gpu, full, "float32")
    if set(bfloat16.sets).isdisjoint(
        machine.isa
    ):  # then float32 is faster, if there is room for it
        yield _Way("cpu", memory, full, "float32")
    yield _Way("cpu", memory, stored)
    rounded = Footprint(parameters(model), stored.cache_per_token // 2)
    yield _Way("cpu", memory, rounded, recipe=_ROUNDED)

"""How the program runs: one frozen object, with a section for each thing that can be set.

The defaults are the plain, exact model on whatever the machine has. An object made directly from
wrong values raises pydantic's `ValidationError`; all readers of files, texts and dictionaries raise
`ConfigError`, which also tells where the wrong value came from.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_type_hints

from pydantic import BaseModel, ByteSize, ConfigDict, Field, TypeAdapter, field_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from qwen3_vl.config.generation import GenerationConfig, GenerationOptions
from qwen3_vl.config.machine import MachineSpecs
from qwen3_vl.config.reading import refuse_unknown
from qwen3_vl.config.recipe import parse
from qwen3_vl.errors import ConfigError

Kernels = Literal[
    "amx", "avx512bf16", "avx512vnni", "avx512", "avxvnni", "avx2", "neondot", "neon", "scalar"
]
"""Variants of the compiled kernels, fastest first."""


class _Section(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True
    )


class MemoryConfig(_Section):
    """What the model and its conversations may take of the main memory."""

    max_bytes: ByteSize | None = Field(default=None, gt=0, lt=2**63)
    """Most memory for weights and cache together, such as "6 GB"; null: all that is there."""
    max_context: int | None = Field(default=None, ge=1, lt=2**63)
    """Most tokens of a prompt and its answer together; null: as many as the model was made for."""


class CPUConfig(_Section):
    """How the processor is used."""

    threads: int | None = Field(default=None, ge=1)
    """Threads that compute; null: one for each fast core, at most what control groups grant."""
    kernels: Kernels | None = None
    """Variant of the compiled kernels, as `QWEN3_VL_CPU` forces it; null: the fastest."""


class GPUConfig(_Section):
    """Whether and how a graphics card is used."""

    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:[0-9]+)?)$")
    """Where the model lives: cpu, cuda, cuda:1, …; auto: the GPU if one can hold the model."""
    max_bytes: ByteSize | None = Field(default=None, gt=0, lt=2**63)
    """Most memory of the GPU for weights and cache together; null: all that is there."""


class PowerManagementConfig(_Section):
    """What changes when the machine runs on its battery."""

    on_battery: Literal["keep", "save"] = "keep"
    """keep: nothing changes; save: half the threads, so slower and cooler."""


class OptimizationConfig(_Section):
    """Which techniques change the model, and in which format it computes."""

    recipe: str = ""
    """Techniques, such as "weight_int8|quantized_kv(bits=8)"; empty: the plain, exact model."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Number format of the weights; auto: as the files have them, or float32 where 16 bits are slow
    and float32 fits."""

    @field_validator("recipe")
    @classmethod
    def _follows_the_grammar(cls, recipe: str) -> str:
        parse(recipe)
        return recipe


class _OnlyGiven:
    """Checks options as `GenerationConfig` does, and keeps those given and no defaults.

    The checkpoint has a say in the others, so a default must not look like a wish.
    """

    def __get_pydantic_core_schema__(self, *_: Any) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(_checked_options)

    def __get_pydantic_json_schema__(self, *_: Any) -> JsonSchemaValue:
        return TypeAdapter(GenerationConfig).json_schema()


def _checked_options(given: Any) -> GenerationOptions:
    if not isinstance(given, Mapping):
        raise ConfigError(f"generation is {given!r}; it must be a table of options")
    refuse_unknown(given, GenerationConfig.__dataclass_fields__)
    settings = GenerationConfig.from_dict(given)
    options: Any = {
        key: getattr(settings, key) for key, value in given.items() if value is not None
    }
    GenerationConfig().change(options)
    return options


class UnifiedConfig(_Section):
    """All that can be set for a run."""

    memory: MemoryConfig = MemoryConfig()
    cpu: CPUConfig = CPUConfig()
    gpu: GPUConfig = GPUConfig()
    power: PowerManagementConfig = PowerManagementConfig()
    optimization: OptimizationConfig = OptimizationConfig()
    generation: Annotated[GenerationOptions, _OnlyGiven()] = Field(
        default_factory=GenerationOptions
    )
    """How an answer is made; what is not set here is as the checkpoint says."""

    def threads_on(self, machine: MachineSpecs) -> int:
        """How many threads compute there, now that it is plugged in or not."""
        return self.threads_among(machine.cpu_cores, machine.on_battery)

    def threads_among(self, cores: int, on_battery: bool) -> int:
        """How many threads compute on so many cores."""
        threads = self.cpu.threads or cores
        saves = on_battery and self.power.on_battery == "save"
        return max(1, threads // 2) if saves else threads


def setting_types() -> dict[str, Any]:
    """Every path that can be set, such as `cpu.threads`, with the type of its value."""
    types: dict[str, Any] = {}
    for section, field in UnifiedConfig.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            fields = {name: inner.annotation for name, inner in kind.model_fields.items()}
        else:
            fields = {name: hint | None for name, hint in get_type_hints(GenerationConfig).items()}
        types |= {f"{section}.{name}": kind for name, kind in fields.items()}
    return types

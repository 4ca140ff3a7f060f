"""Contradictions in a config, found before anything loads, each with what to change."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from qwen3_vl.config.footprint import Footprint
from qwen3_vl.config.generation import GenerationConfig
from qwen3_vl.config.machine import MachineSpecs
from qwen3_vl.config.model import Qwen3VLConfig
from qwen3_vl.config.runtime import Kernels, UnifiedConfig
from qwen3_vl.errors import ConfigError

_AVX2 = frozenset({"avx2", "fma", "f16c"})
_AVX512 = _AVX2 | {"avx512f", "avx512bw", "avx512dq", "avx512vl"}
_AVX512_BF16 = _AVX512 | {"avx512_vnni", "avx512_bf16"}
KERNELS_NEED: Mapping[Kernels, frozenset[str]] = {
    "amx": _AVX512_BF16 | {"amx_tile", "amx_int8", "amx_bf16"},
    "avx512bf16": _AVX512_BF16,
    "avx512vnni": _AVX512 | {"avx512_vnni"},
    "avx512": _AVX512,
    "avxvnni": _AVX2 | {"avx_vnni"},
    "avx2": _AVX2,
    "neondot": frozenset({"neon", "dotprod"}),
    "neon": frozenset({"neon"}),
    "scalar": frozenset(),
}
"""Instructions that each variant of the kernels is made of."""

_UNLIMITED = sys.maxsize


@dataclass(frozen=True)
class Problem:
    """One thing that cannot be as it is set."""

    setting: str
    """The path of the setting to look at, such as `cpu.threads`."""
    wrong: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.setting}: {self.wrong}; {self.remedy}"


def check(
    config: UnifiedConfig,
    machine: MachineSpecs | None = None,
    model: Qwen3VLConfig | None = None,
    footprint: Footprint | None = None,
    device: str | None = None,
) -> None:
    """Raise a ConfigError that tells all `problems`, if there are any."""
    found = problems(config, machine, model, footprint, device)
    if found:
        raise ConfigError("\n".join(map(str, found)))


def problems(
    config: UnifiedConfig,
    machine: MachineSpecs | None = None,
    model: Qwen3VLConfig | None = None,
    footprint: Footprint | None = None,
    device: str | None = None,
) -> list[Problem]:
    """What contradicts itself, the machine or the model, as far as these are known.

    Memory is checked with the footprint. Without one, it is that of the plain model: a recipe
    changes it in ways that only its techniques know, so then the footprint has to be given.
    `device` is where the model will live, once that is decided.
    """
    if footprint is None and model is not None and not config.optimization.recipe:
        footprint = Footprint.of(model, config.optimization.dtype)
    found = [*_within_itself(config)]
    if machine is not None:
        found += [*_on_the_processor(config, machine), *_on_the_graphics_card(config, machine)]
        found += _limits(config, machine)
    if model is not None:
        found += _in_the_model(config, model)
    if footprint is not None:
        found += _in_memory(config, machine, footprint, device)
    return found


def context_of(config: UnifiedConfig) -> int:
    """How many tokens there has to be room for: the longest context, or at least an answer."""
    return config.memory.max_context or _answer(config)


def _within_itself(config: UnifiedConfig) -> Iterator[Problem]:
    if config.gpu.device == "cpu" and config.gpu.max_bytes is not None:
        yield Problem(
            "gpu.max_bytes",
            "limits a GPU, but gpu.device is cpu",
            "remove it, or set gpu.device to auto or cuda",
        )
    longest = config.memory.max_context
    if longest is not None and _answer(config) >= longest:
        yield Problem(
            "generation.max_new_tokens",
            f"an answer of {_answer(config)} tokens leaves no room for a prompt, because "
            f"memory.max_context is {longest}",
            f"set it below {longest}, or max_context higher",
        )


def _on_the_processor(config: UnifiedConfig, machine: MachineSpecs) -> Iterator[Problem]:
    threads, kernels = config.cpu.threads, config.cpu.kernels
    if threads is not None and threads > machine.cpu_cores:
        yield Problem(
            "cpu.threads",
            f"{threads} threads on {machine.cpu_cores} cores would wait for each other",
            f"set at most {machine.cpu_cores}, or null for one a core",
        )
    missing = KERNELS_NEED[kernels] - set(machine.isa) if kernels and machine.isa else set()
    if missing:
        yield Problem(
            "cpu.kernels",
            f"{kernels} needs {', '.join(sorted(missing))}, which this processor lacks",
            "set null for the fastest that it runs",
        )


def _on_the_graphics_card(config: UnifiedConfig, machine: MachineSpecs) -> Iterator[Problem]:
    if config.gpu.device.startswith("cuda") and not machine.gpu_bytes:
        yield Problem(
            "gpu.device",
            f"is {config.gpu.device}, but there is no GPU that torch can use",
            "set it to cpu or auto",
        )


def _limits(config: UnifiedConfig, machine: MachineSpecs) -> Iterator[Problem]:
    for setting, limit, there in (
        ("memory.max_bytes", config.memory.max_bytes, machine.memory_bytes),
        ("gpu.max_bytes", config.gpu.max_bytes, machine.gpu_bytes),
    ):
        if limit is not None and limit > there:
            yield Problem(
                setting,
                f"allows {_told(limit)}, but there are only {_told(there)}",
                "set it lower, or null for all",
            )


def _in_the_model(config: UnifiedConfig, model: Qwen3VLConfig) -> Iterator[Problem]:
    longest, wanted = model.text_config.max_position_embeddings, config.memory.max_context
    if wanted is not None and wanted > longest:
        yield Problem(
            "memory.max_context",
            f"is {wanted}, but the model was made for {longest}",
            f"set at most {longest}, or null for that",
        )
    elif wanted is None and (config.generation.get("max_new_tokens") or 0) >= longest:
        yield Problem(
            "generation.max_new_tokens",
            f"an answer of {_answer(config)} tokens leaves no room for a prompt, because the "
            f"model was made for {longest}",
            f"set it below {longest}",
        )


def _in_memory(
    config: UnifiedConfig, machine: MachineSpecs | None, footprint: Footprint, device: str | None
) -> Iterator[Problem]:
    context = context_of(config)
    need = footprint.with_context(context)
    places = _places(config, machine, device)
    room, setting = max(_room(config, machine, place) for place in places)
    if need <= room:
        return
    tokens = footprint.tokens_within(room)
    fewer = f"a shorter memory.max_context (at most {tokens}), " if tokens > 0 else ""
    yield Problem(
        setting,
        f"{_told(need)} are needed for the weights and a context of {context} tokens, but "
        f"there are {_told(room)}",
        f"try {fewer}a smaller format or a recipe, or allow more",
    )


def _places(
    config: UnifiedConfig, machine: MachineSpecs | None, device: str | None
) -> tuple[str, ...]:
    """Where the model may come to live."""
    if device is not None or config.gpu.device != "auto":
        return (device or config.gpu.device,)
    return ("cuda", "cpu") if machine and machine.gpu_bytes else ("cpu",)


def _room(config: UnifiedConfig, machine: MachineSpecs | None, device: str) -> tuple[int, str]:
    """How much memory of a device there is, and the setting that limits it."""
    if device.startswith("cuda"):
        limit, there, setting = config.gpu.max_bytes, machine and machine.gpu_bytes, "gpu.max_bytes"
    else:
        limit, there = config.memory.max_bytes, machine and machine.memory_bytes
        setting = "memory.max_bytes"
    return min(limit or _UNLIMITED, there or _UNLIMITED), setting


def _answer(config: UnifiedConfig) -> int:
    return config.generation.get("max_new_tokens") or GenerationConfig.max_new_tokens


def _told(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count:,} bytes"

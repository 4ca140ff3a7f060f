"""What a machine has, as far as settings depend on it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pydantic import ConfigDict

from qwen3_vl.config.reading import checked, refuse_unknown
from qwen3_vl.errors import ConfigError

GIGABYTE = 2**30
"""As memory is sold: a machine "with 8 GB" has this many times 8."""


@dataclass(frozen=True)
class Arithmetic:
    """Who computes in a format of 16 bits; elsewhere it is far slower than float32."""

    sets: tuple[str, ...]
    """Instruction sets, any of which does."""
    capability: tuple[int, int]
    """The CUDA compute capability from which on GPUs do."""


ARITHMETIC: Mapping[str, Arithmetic] = {
    "bfloat16": Arithmetic(("amx_bf16", "avx512_bf16", "bf16"), (8, 0)),
    "float16": Arithmetic(("avx512_fp16", "fp16"), (7, 0)),
}

_PLAIN = ("cpu_cores", "memory_gb", "gpu_memory")


@dataclass(frozen=True)
class MachineSpecs:
    """The processor, memory, graphics card and power of one machine."""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)

    cpu_cores: int
    """Fast cores that may compute, within the share of time that control groups grant."""
    memory_bytes: int
    gpu_bytes: int = 0
    """Memory of the graphics card; 0 where there is none that torch can use."""
    gpu_capability: tuple[int, int] | None = None
    """CUDA compute capability; None if there is no card or it is not known."""
    isa: tuple[str, ...] = ()
    """Instruction sets by their names in Linux, such as avx2, avx512f, amx_bf16; on ARM neon and
    bf16. () means that they are not known."""
    on_battery: bool = False

    def __post_init__(self) -> None:
        if self.cpu_cores < 1 or self.memory_bytes < 1 or self.gpu_bytes < 0:
            raise ConfigError(
                "a machine has at least 1 core, 1 byte of memory and 0 bytes on a GPU, not "
                f"{self.cpu_cores}, {self.memory_bytes} and {self.gpu_bytes}"
            )

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> MachineSpecs:
        """Read the fields by name, or the plain form {"cpu_cores", "memory_gb", "gpu_memory"}."""
        if not data.keys() & {"memory_gb", "gpu_memory"}:
            refuse_unknown(data, cls.__dataclass_fields__)
            return checked(cls, data)
        refuse_unknown(data, _PLAIN)
        if not {"cpu_cores", "memory_gb"} <= data.keys():
            raise ConfigError("the specs of a machine need cpu_cores and memory_gb")
        read = {
            "cpu_cores": data["cpu_cores"],
            "memory_bytes": bytes_of("memory_gb", data["memory_gb"]),
            "gpu_bytes": bytes_of("gpu_memory", data.get("gpu_memory", 0)),
        }
        return checked(cls, read)

    @classmethod
    def of(cls, specs: MachineSpecs | Mapping[str, Any]) -> MachineSpecs:
        """The specs in either form."""
        return specs if isinstance(specs, MachineSpecs) else cls.from_dict(specs)


def bytes_of(key: str, gigabytes: Any) -> int:
    """So many gigabytes in bytes; `key` is what they are called in the error."""
    if isinstance(gigabytes, (int, float)) and not isinstance(gigabytes, bool):
        with suppress(OverflowError, ValueError):  # infinite, or no number
            return int(gigabytes * GIGABYTE)
    raise ConfigError(f"{key} is {gigabytes!r}; it must be a number of gigabytes, and finite")

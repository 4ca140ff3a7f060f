"""What Windows tells about itself, through kernel32 and the registry."""

from __future__ import annotations

import ctypes
import importlib
import os
import platform
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from qwen3_vl.hardware.device import Cpu, Memory, Power

# Numbers that winnt.h gives to instruction sets. For others, such as fma, it has none.
_FEATURES = {"neon": 19, "avx2": 40, "avx512f": 41, "dotprod": 43}
_CORE, _CACHE, _ALL = 0, 2, 0xFFFF
_INSTRUCTION_CACHE = 1
_UNKNOWN = 255


class _MemoryStatus(ctypes.Structure):
    """MEMORYSTATUSEX."""

    _fields_ = (
        ("length", ctypes.c_uint32),
        ("load", ctypes.c_uint32),
        ("total", ctypes.c_uint64),
        ("available", ctypes.c_uint64),
        ("page_total", ctypes.c_uint64),
        ("page_free", ctypes.c_uint64),
        ("virtual_total", ctypes.c_uint64),
        ("virtual_free", ctypes.c_uint64),
        ("extended_free", ctypes.c_uint64),
    )


class _PowerStatus(ctypes.Structure):
    """SYSTEM_POWER_STATUS."""

    _fields_ = (
        ("on_mains", ctypes.c_uint8),
        ("battery", ctypes.c_uint8),
        ("percent", ctypes.c_uint8),
        ("saver", ctypes.c_uint8),
        ("seconds_left", ctypes.c_uint32),
        ("seconds_full", ctypes.c_uint32),
    )


@dataclass(frozen=True)
class Topology:
    """Cores and caches, as GetLogicalProcessorInformationEx tells them."""

    cores: tuple[tuple[int, int], ...]
    """Kind (the higher, the faster) and mask of logical processors of each core."""
    caches: tuple[tuple[int, int], ...]
    """Level and size of each cache that holds data."""


def read_cpu(kernel32: Any = None) -> Cpu:
    """Ask for the processor; up to 64 logical processors, which is one group of Windows."""
    kernel32 = kernel32 or _load()
    topology = parse_topology(_topology_bytes(kernel32))
    fast = [mask for kind, mask in topology.cores if kind == max(topology.cores)[0]]
    allowed = _affinity(kernel32)
    numbers = _FEATURES.items()
    return Cpu(
        architecture=platform.machine(),
        model=_registry_name() or platform.processor() or None,
        logical=os.cpu_count(),
        physical=len(topology.cores) or None,
        performance=len(fast) or None,
        allowed=None if allowed is None else allowed.bit_count(),
        allowed_cores=_allowed_cores(topology, fast, allowed),
        instructions=tuple(sorted(n for n, i in numbers if kernel32.IsProcessorFeaturePresent(i))),
        l1d_bytes=max(_sizes(topology, 1), default=None),
        l2_bytes=max(_sizes(topology, 2), default=None),
        l3_bytes=sum(_sizes(topology, 3)) or None,
    )


def read_memory(kernel32: Any = None) -> Memory:
    """Ask for main memory; Windows counts the swap file and main memory together."""
    status = _MemoryStatus(length=ctypes.sizeof(_MemoryStatus))
    if not (kernel32 or _load()).GlobalMemoryStatusEx(ctypes.byref(status)):
        return Memory()
    return Memory(
        total=status.total,
        available=status.available,
        swap_total=max(0, status.page_total - status.total),
        swap_free=max(0, status.page_free - status.available),
    )


def read_power(kernel32: Any = None) -> Power:
    """Ask for the source of power; Windows does not tell temperatures here."""
    status = _PowerStatus()
    if not (kernel32 or _load()).GetSystemPowerStatus(ctypes.byref(status)):
        return Power()
    return Power(
        on_mains=None if status.on_mains == _UNKNOWN else status.on_mains == 1,
        battery_percent=None if status.percent == _UNKNOWN else status.percent,
    )


def parse_topology(data: bytes) -> Topology:
    """Read the records of SYSTEM_LOGICAL_PROCESSOR_INFORMATION_EX."""
    cores, caches = list[tuple[int, int]](), list[tuple[int, int]]()
    for relation, record in _records(data):
        if relation == _CORE:
            kind, mask = struct.unpack_from("<9xB22xQ", record)
            cores.append((kind, mask))
        elif relation == _CACHE:
            level, size, cache_type = struct.unpack_from("<8xB3xII", record)
            if cache_type != _INSTRUCTION_CACHE:
                caches.append((level, size))
    return Topology(tuple(cores), tuple(caches))


def _load() -> Any:
    return ctypes.CDLL("kernel32")


def _records(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Each record begins with what it relates to and its length."""
    start = 0
    while start < len(data):
        relation, size = struct.unpack_from("<II", data, start)
        yield relation, data[start : start + size]
        start += size


def _topology_bytes(kernel32: Any) -> bytes:
    """The records; empty if Windows does not give them."""
    size = ctypes.c_uint32()
    kernel32.GetLogicalProcessorInformationEx(_ALL, None, ctypes.byref(size))  # asks for the size
    buffer = ctypes.create_string_buffer(size.value)
    if not kernel32.GetLogicalProcessorInformationEx(_ALL, buffer, ctypes.byref(size)):
        return b""
    return buffer.raw[: size.value]


def _affinity(kernel32: Any) -> int | None:
    """The mask of processors that this process may run on; None if it spans several groups."""
    this_process = ctypes.c_void_p(-1)
    own, everyone = ctypes.c_size_t(), ctypes.c_size_t()
    if not kernel32.GetProcessAffinityMask(this_process, ctypes.byref(own), ctypes.byref(everyone)):
        return None
    return own.value or None


def _allowed_cores(topology: Topology, fast: list[int], allowed: int | None) -> int | None:
    if allowed is None:
        return None
    of_any_kind = sum(1 for _, mask in topology.cores if mask & allowed)
    return sum(1 for mask in fast if mask & allowed) or of_any_kind or None


def _sizes(topology: Topology, level: int) -> list[int]:
    return [size for one, size in topology.caches if one == level]


def _registry_name() -> str | None:
    """The processor's name, which no function of kernel32 tells."""
    try:
        winreg = importlib.import_module("winreg")
        path = r"HARDWARE\DESCRIPTION\System\CentralProcessor\0"
        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, path) as key:
            return str(winreg.QueryValueEx(key, "ProcessorNameString")[0]).strip()
    except (ImportError, OSError):
        return None

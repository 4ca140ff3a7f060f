"""What kernel32 of Windows answers, read; a small stand-in answers here."""

# ruff: noqa: N802, ARG002  (the names and arguments are those of kernel32)

from __future__ import annotations

import os
import struct
from typing import Any

import pytest

from qwen3_vl.hardware import windows
from qwen3_vl.hardware.device import Memory, Power
from qwen3_vl.hardware.windows import Topology, parse_topology


def core(kind: int, mask: int) -> bytes:
    """PROCESSOR_RELATIONSHIP: flags, kind, 20 reserved bytes, one group, its mask."""
    body = struct.pack("<BB20xHQH6x", 1, kind, 1, mask, 0)
    return struct.pack("<II", 0, 8 + len(body)) + body


def cache(level: int, size: int, kind: int = 0) -> bytes:
    """CACHE_RELATIONSHIP: level, ways, line, size, kind, 18 reserved bytes, one group, its mask."""
    body = struct.pack("<BBHII18xHQH6x", level, 8, 64, size, kind, 1, 1, 0)
    return struct.pack("<II", 2, 8 + len(body)) + body


PACKAGE = struct.pack("<II40x", 3, 48)
HYBRID = (
    PACKAGE
    + core(1, 0b11)
    + core(1, 0b1100)
    + core(0, 1 << 4)
    + core(0, 1 << 5)
    + cache(1, 48 << 10, kind=2)
    + cache(1, 32 << 10, kind=1)
    + cache(2, 1 << 20)
    + cache(3, 12 << 20)
)


class Kernel32:
    """Answers as kernel32 would; the arguments are ctypes references, as in the real calls."""

    def __init__(self, topology: bytes = HYBRID, affinity: int = 0b111111, fails: bool = False):
        self.topology, self.affinity, self.fails = topology, affinity, fails

    def IsProcessorFeaturePresent(self, number: int) -> int:
        return int(number == 40 and not self.fails)

    def GetLogicalProcessorInformationEx(self, kind: int, buffer: Any, size: Any) -> int:
        assert kind == 0xFFFF
        size._obj.value = len(self.topology)
        if buffer is None or self.fails:
            return 0
        buffer[: len(self.topology)] = self.topology
        return 1

    def GetProcessAffinityMask(self, process: Any, own: Any, everyone: Any) -> int:
        own._obj.value = everyone._obj.value = self.affinity
        return int(not self.fails)

    def GlobalMemoryStatusEx(self, status: Any) -> int:
        assert status._obj.length == 64
        status._obj.total, status._obj.available = 16 << 30, 9 << 30
        status._obj.page_total, status._obj.page_free = 20 << 30, 10 << 30
        return int(not self.fails)

    def GetSystemPowerStatus(self, status: Any) -> int:
        status._obj.on_mains, status._obj.percent = 0, 73
        return int(not self.fails)


def test_records_of_other_kinds_are_passed_over() -> None:
    assert parse_topology(HYBRID) == Topology(
        cores=((1, 0b11), (1, 0b1100), (0, 1 << 4), (0, 1 << 5)),
        caches=((1, 48 << 10), (2, 1 << 20), (3, 12 << 20)),
    )
    assert parse_topology(b"") == Topology((), ())


@pytest.mark.parametrize(("affinity", "cores"), [(0b111111, 2), (0b110011, 1), (0b110000, 2)])
def test_the_processor(affinity: int, cores: int) -> None:
    cpu = windows.read_cpu(Kernel32(affinity=affinity))
    assert (cpu.logical, cpu.physical, cpu.performance) == (os.cpu_count(), 4, 2)
    assert (cpu.allowed, cpu.allowed_cores) == (affinity.bit_count(), cores)
    assert cpu.instructions == ("avx2",)
    assert (cpu.l1d_bytes, cpu.l2_bytes, cpu.l3_bytes) == (48 << 10, 1 << 20, 12 << 20)


def test_memory_and_power() -> None:
    assert windows.read_memory(Kernel32()) == Memory(
        16 << 30, 9 << 30, swap_total=4 << 30, swap_free=1 << 30
    )
    assert windows.read_power(Kernel32()) == Power(on_mains=False, battery_percent=73)


def test_calls_that_fail_leave_nothing_known() -> None:
    cpu = windows.read_cpu(Kernel32(fails=True))
    assert (cpu.physical, cpu.performance, cpu.allowed, cpu.allowed_cores) == (None,) * 4
    assert cpu.l3_bytes is None
    assert windows.read_memory(Kernel32(fails=True)) == Memory()
    assert windows.read_power(Kernel32(fails=True)) == Power()

"""Main memory with and without limits."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from qwen3_vl.hardware import macos, windows
from qwen3_vl.hardware.device import Memory
from qwen3_vl.hardware.memory import read_linux_memory, read_memory

KIB, MIB = 1 << 10, 1 << 20
MEMINFO = {
    "proc/meminfo": "MemTotal:       8000000 kB\nMemFree:         500000 kB\n"
    "MemAvailable:   6000000 kB\nActive(anon):      1544 kB\nHugePages_Total:       0\n"
    "SwapTotal:      2000000 kB\nSwapFree:       1500000 kB"
}


def limited(total: int, taken: int) -> dict[str, str]:
    return {
        "proc/self/mountinfo": "31 27 0:29 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw",
        "proc/self/cgroup": "0::/",
        "sys/fs/cgroup/memory.max": str(total),
        "sys/fs/cgroup/memory.current": str(taken),
    }


def test_memory_without_a_limit(tree) -> None:
    memory = read_linux_memory(tree(MEMINFO))
    sizes = (8_000_000 * KIB, 6_000_000 * KIB, None, 2_000_000 * KIB, 1_500_000 * KIB)
    assert memory == Memory(*sizes)
    assert memory.usable == memory.total


def test_a_limit_lowers_what_is_usable_and_what_is_available(tree) -> None:
    memory = read_linux_memory(tree(MEMINFO | limited(1024 * MIB, 300 * MIB)))
    assert memory.usable == memory.limit == 1024 * MIB
    assert memory.available == 724 * MIB


def test_a_limit_above_the_machine_is_none(tree) -> None:
    memory = read_linux_memory(tree(MEMINFO | limited(64_000 * MIB, 0)))
    assert memory.limit is None
    assert memory.available == 6_000_000 * KIB


def test_nothing_to_read_is_nothing_known(tree) -> None:
    memory = read_linux_memory(tree({}))
    assert memory == Memory()
    assert memory.usable is None


@pytest.mark.parametrize(("system", "module"), [("Darwin", macos), ("Windows", windows)])
def test_other_systems_are_asked_in_their_own_way(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, system: str, module: object
) -> None:
    told = Memory(total=1)
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(module, "read_memory", lambda: told)
    assert read_memory(tmp_path) is told


def test_this_machine_is_consistent() -> None:
    memory = read_memory()
    assert memory.total is not None
    assert memory.available is not None
    assert memory.usable is not None
    assert 0 <= memory.available <= memory.usable <= memory.total

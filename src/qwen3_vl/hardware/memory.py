"""Main memory: how much there is, how much of it is left, and what control groups grant."""

from __future__ import annotations

import platform
import re
from pathlib import Path

from qwen3_vl.hardware import macos, windows
from qwen3_vl.hardware.cgroup import memory_limit
from qwen3_vl.hardware.device import Memory
from qwen3_vl.hardware.kernel_files import read_text


def read_memory(root: Path = Path("/")) -> Memory:
    """Ask the system for its memory; `root` is where Linux's /proc and /sys are."""
    if platform.system() == "Darwin":
        return macos.read_memory()
    if platform.system() == "Windows":
        return windows.read_memory()
    return read_linux_memory(root)


def read_linux_memory(root: Path) -> Memory:
    """Put together what /proc/meminfo and the control groups tell."""
    told = _meminfo(root)
    limit = memory_limit(root)
    # A group above the machine's own size limits nothing.
    total = told.get("MemTotal")
    granted = None if limit is None or (total and limit.total >= total) else limit.total
    rests = (told.get("MemAvailable"), None if limit is None else limit.free)
    return Memory(
        total=total,
        available=min((rest for rest in rests if rest is not None), default=None),
        limit=granted,
        swap_total=told.get("SwapTotal"),
        swap_free=told.get("SwapFree"),
    )


def _meminfo(root: Path) -> dict[str, int]:
    text = read_text(root / "proc/meminfo") or ""
    lines = re.findall(r"^(\w+):\s+([0-9]+) kB$", text, re.MULTILINE)
    return {name: int(kib) * 1024 for name, kib in lines}

"""The processor: its cores, those that this process may use, instruction sets, caches, clock."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TypeAlias

from qwen3_vl.hardware import macos, windows
from qwen3_vl.hardware.cgroup import cpu_quota
from qwen3_vl.hardware.device import Cpu
from qwen3_vl.hardware.kernel_files import (
    parse_processors,
    read_number,
    read_processors,
    read_text,
)

Core: TypeAlias = "frozenset[int]"
"""The logical processors of one core."""
Block: TypeAlias = "dict[str, str]"
"""What /proc/cpuinfo says of one processor, or of the board."""

# What Linux calls it: what we call it.
_X86 = {
    name: name
    for name in (
        "avx2",
        "fma",
        "f16c",
        "avx_vnni",
        "avx512f",
        "avx512bw",
        "avx512dq",
        "avx512vl",
        "avx512_vnni",
        "avx512_bf16",
        "avx512_fp16",
        "amx_tile",
        "amx_int8",
        "amx_bf16",
    )
}
_ARM = {
    "asimd": "neon",
    "asimdhp": "fp16",
    "asimddp": "dotprod",
    "i8mm": "i8mm",
    "bf16": "bf16",
    "sve": "sve",
    "sve2": "sve2",
    "sme": "sme",
}
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def read_cpu(root: Path = Path("/")) -> Cpu:
    """Ask the system for its processor; `root` is where Linux's /proc and /sys are."""
    if platform.system() == "Darwin":
        return macos.read_cpu()
    if platform.system() == "Windows":
        return windows.read_cpu()
    return read_linux_cpu(root)


def read_linux_cpu(root: Path) -> Cpu:
    """Put together what /proc and /sys tell; either may be missing."""
    folder = root / "sys/devices/system/cpu"
    blocks = _cpuinfo(root)
    online = read_processors(folder / "online") or _listed(blocks)
    cores = _cores(folder, online) or _cores_by_id(blocks)
    fast = _fast(root, online)
    allowed = _affinity(root, online)
    caches = _caches(folder, online)
    return Cpu(
        architecture=platform.machine(),
        model=_model(root, blocks),
        logical=len(online) or None,
        physical=len(cores) or None,
        performance=_touched(cores, fast) or None,
        allowed=None if allowed is None else len(allowed),
        allowed_cores=_allowed_cores(cores, fast, allowed),
        quota=cpu_quota(root),
        instructions=_instructions(blocks),
        l1d_bytes=max(caches.get("1 Data", ()), default=None),
        l2_bytes=max(caches.get("2 Unified", ()), default=None),
        l3_bytes=sum(caches.get("3 Unified", ())) or None,
        mhz=_clock(folder, online, "scaling_cur_freq") or _clock_by_cpuinfo(blocks),
        max_mhz=_clock(folder, online, "cpuinfo_max_freq"),
    )


def _cpuinfo(root: Path) -> list[Block]:
    text = read_text(root / "proc/cpuinfo") or ""
    lines = ([line.partition(":") for line in part.splitlines()] for part in text.split("\n\n"))
    return [{key.strip(): value.strip() for key, _, value in part} for part in lines]


def _listed(blocks: Iterable[Block]) -> frozenset[int]:
    numbers = (block.get("processor", "") for block in blocks)
    return frozenset(int(number) for number in numbers if number.isdigit())


def _cores(folder: Path, online: Iterable[int]) -> set[Core]:
    """The cores by the siblings that each processor names; empty if one does not name them."""
    cores = set[Core]()
    for number in online:
        topology = folder / f"cpu{number}/topology"
        siblings = read_processors(topology / "core_cpus_list")  # since Linux 5.3
        siblings = siblings or read_processors(topology / "thread_siblings_list")
        if siblings is None:
            return set()
        cores.add(siblings)
    return cores


def _cores_by_id(blocks: Iterable[Block]) -> set[Core]:
    """The cores by package and core number, as x86 tells them without /sys."""
    cores: dict[tuple[str, str], set[int]] = {}
    for block in blocks:
        if {"processor", "physical id", "core id"} <= block.keys():
            core = cores.setdefault((block["physical id"], block["core id"]), set())
            core.add(int(block["processor"]))
    return {frozenset(core) for core in cores.values()}


def _fast(root: Path, online: frozenset[int]) -> frozenset[int]:
    """The processors of the fast kind: Intel names them, Arm gives each a capacity."""
    named = read_processors(root / "sys/devices/cpu_core/cpus")
    if named is not None:
        return named & online
    folder = root / "sys/devices/system/cpu"
    capacities = {n: read_number(folder / f"cpu{n}/cpu_capacity") for n in online}
    known = {n: capacity for n, capacity in capacities.items() if capacity is not None}
    if known.keys() != capacities.keys():
        return online
    # Middle and big cores lie near each other; small ones have a third or less of a big one.
    return frozenset(n for n, capacity in known.items() if 2 * capacity > max(known.values()))


def _affinity(root: Path, online: frozenset[int]) -> frozenset[int] | None:
    """The processors that this process may run on; Linux also lists some that are not there."""
    status = read_text(root / "proc/self/status") or ""
    found = re.search(r"^Cpus_allowed_list:\s*(\S+)$", status, re.MULTILINE)
    allowed = parse_processors(found[1]) if found else None
    return allowed & online if allowed and online else allowed


def _allowed_cores(
    cores: set[Core], fast: frozenset[int], allowed: frozenset[int] | None
) -> int | None:
    if allowed is None:
        return None
    return _touched(cores, fast & allowed) or _touched(cores, allowed) or None


def _touched(cores: set[Core], processors: frozenset[int]) -> int:
    """How many of the cores have one of these processors."""
    return sum(1 for core in cores if core & processors)


def _model(root: Path, blocks: Iterable[Block]) -> str | None:
    told = {key: value for block in blocks for key, value in block.items()}
    tree = read_text(root / "sys/firmware/devicetree/base/model")
    name = told.get("model name") or told.get("Model") or tree or told.get("Hardware")
    if name is None and "CPU part" in told:
        return f"implementer {told.get('CPU implementer')}, part {told['CPU part']}"
    return name


def _instructions(blocks: Iterable[Block]) -> tuple[str, ...] | None:
    """What all processors have in common."""
    flags = [set(b["flags"].split()) for b in blocks if "flags" in b]
    features = [set(b["Features"].split()) for b in blocks if "Features" in b]
    if not flags and not features:
        return None
    common = set.intersection(*flags, *features)
    names = _X86 if flags else _ARM
    return tuple(sorted(ours for theirs, ours in names.items() if theirs in common))


def _caches(folder: Path, online: Iterable[int]) -> dict[str, list[int]]:
    """Sizes by level and type; a cache that several processors share counts once."""
    found: dict[tuple[str, str | None], int] = {}
    for number in online:
        for index in folder.glob(f"cpu{number}/cache/index[0-9]*"):
            kind = f"{read_text(index / 'level')} {read_text(index / 'type')}"
            size = re.fullmatch(r"([0-9]+)([KMG]?)", read_text(index / "size") or "")
            if size:
                shared = read_text(index / "shared_cpu_list") or f"{number}"
                found[kind, shared] = int(size[1]) * _UNITS[size[2]]
    sizes: dict[str, list[int]] = {}
    for (kind, _), size in found.items():
        sizes.setdefault(kind, []).append(size)
    return sizes


def _clock(folder: Path, online: Iterable[int], name: str) -> float | None:
    clocks = (read_number(folder / f"cpu{number}/cpufreq/{name}") for number in online)
    return max((clock / 1000 for clock in clocks if clock is not None), default=None)


def _clock_by_cpuinfo(blocks: Iterable[Block]) -> float | None:
    clocks = (block.get("cpu MHz", "") for block in blocks)
    numbers = (float(clock) for clock in clocks if re.fullmatch(r"[0-9]+(\.[0-9]+)?", clock))
    return max(numbers, default=None)

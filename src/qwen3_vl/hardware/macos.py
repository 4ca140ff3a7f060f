"""What macOS tells about itself, through its own small commands."""

from __future__ import annotations

import platform
import re
import subprocess
from collections.abc import Mapping

from qwen3_vl.hardware.device import Cpu, Memory, Power

_ARM = {
    "AdvSIMD": "neon",
    "FEAT_FP16": "fp16",
    "FEAT_DotProd": "dotprod",
    "FEAT_I8MM": "i8mm",
    "FEAT_BF16": "bf16",
    "FEAT_SME": "sme",
}
_X86 = {
    "avx2_0": "avx2",
    "fma": "fma",
    "f16c": "f16c",
    "avx512f": "avx512f",
    "avx512bw": "avx512bw",
    "avx512dq": "avx512dq",
    "avx512vl": "avx512vl",
}
_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def read_cpu() -> Cpu:
    """Ask `sysctl` for the processor."""
    return parse_cpu(_values(_output("sysctl", "hw", "machdep")))


def read_memory() -> Memory:
    """Ask `sysctl` and `vm_stat` for main memory."""
    return parse_memory(_values(_output("sysctl", "hw", "vm.swapusage")), _output("vm_stat"))


def read_power() -> Power:
    """Ask `pmset` for the source of power; macOS tells temperatures to administrators only."""
    return parse_power(_output("pmset", "-g", "batt"))


def parse_cpu(values: Mapping[str, str]) -> Cpu:
    """The processor, from the values of `sysctl`; perflevel0 is the fast kind of core."""
    physical = _number(values.get("hw.physicalcpu"))
    fast = _number(values.get("hw.perflevel0.physicalcpu")) or physical
    logical = _number(values.get("hw.logicalcpu"))
    hertz = _number(values.get("hw.cpufrequency_max"))
    return Cpu(
        architecture=platform.machine(),
        model=values.get("machdep.cpu.brand_string"),
        logical=logical,
        physical=physical,
        performance=fast,
        allowed=logical,  # macOS binds no process to processors
        allowed_cores=fast,
        instructions=_instructions(values),
        l1d_bytes=_cache(values, "l1dcachesize"),
        l2_bytes=_cache(values, "l2cachesize"),
        l3_bytes=_cache(values, "l3cachesize"),
        max_mhz=None if hertz is None else hertz / 1e6,
    )


def parse_memory(values: Mapping[str, str], vm_stat: str | None) -> Memory:
    """Main memory, from the values of `sysctl` and the text of `vm_stat`."""
    swap = values.get("vm.swapusage", "")
    total = _number(values.get("hw.memsize"))
    available = None if vm_stat is None else _available(vm_stat)
    return Memory(
        total=total,
        available=available,
        swap_total=_amount(swap, "total"),
        swap_free=_amount(swap, "free"),
    )


def parse_power(text: str | None) -> Power:
    """The source of power, from the text of `pmset -g batt`."""
    if text is None:
        return Power()
    source = re.search(r"drawing from '([^']+)'", text)
    charge = re.search(r"InternalBattery.*?([0-9]+)%", text)
    return Power(
        on_mains=None if source is None else source[1] == "AC Power",
        battery_percent=None if charge is None else int(charge[1]),
    )


def _output(*command: str) -> str | None:
    """What a command prints; None if there is no such command, or it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


def _values(text: str | None) -> dict[str, str]:
    pairs = (line.partition(": ") for line in (text or "").splitlines())
    return {key: value.strip() for key, _, value in pairs}


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdigit() else None


def _instructions(values: Mapping[str, str]) -> tuple[str, ...] | None:
    told = {name: values.get(f"hw.optional.arm.{name}") for name in _ARM}
    told |= {name: values.get(f"hw.optional.{name}") for name in _X86}
    if not any(told.values()):
        return None
    names = _ARM | _X86
    return tuple(sorted(names[name] for name, value in told.items() if value == "1"))


def _cache(values: Mapping[str, str], name: str) -> int | None:
    return _number(values.get(f"hw.perflevel0.{name}") or values.get(f"hw.{name}"))


def _available(vm_stat: str) -> int | None:
    """Free pages, and those that macOS gives up without writing them anywhere."""
    size = re.search(r"page size of ([0-9]+) bytes", vm_stat)
    kinds = ("free", "inactive", "speculative", "purgeable")
    counts = [re.search(rf"^Pages {kind}:\s+([0-9]+)\.", vm_stat, re.MULTILINE) for kind in kinds]
    if size is None or counts[0] is None:
        return None
    return int(size[1]) * sum(int(count[1]) for count in counts if count)


def _amount(swap: str, kind: str) -> int | None:
    """One of the amounts in `total = 2048.00M  used = 916.50M  free = 1131.50M`."""
    found = re.search(rf"{kind} = ([0-9.]+)([KMG])", swap)
    return round(float(found[1]) * _UNITS[found[2]]) if found else None

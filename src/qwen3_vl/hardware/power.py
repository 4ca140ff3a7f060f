"""Power and heat: both decide how fast a laptop still is after a minute."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from pathlib import Path

from qwen3_vl.hardware import macos, windows
from qwen3_vl.hardware.device import Power
from qwen3_vl.hardware.kernel_files import read_number, read_text

_CPU_CHIPS = ("coretemp", "k10temp", "zenpower", "cpu_thermal", "scpi_sensors")
_CPU_ZONES = ("x86_pkg_temp", "cpu", "soc")
"""How names of thermal zones begin that measure the CPU."""


def read_power(root: Path = Path("/")) -> Power:
    """Ask the system for power and heat; `root` is where Linux's /sys is."""
    if platform.system() == "Darwin":
        return macos.read_power()
    if platform.system() == "Windows":
        return windows.read_power()
    return read_linux_power(root)


def read_linux_power(root: Path) -> Power:
    """Put together what /sys tells."""
    supplies = sorted(root.glob("sys/class/power_supply/*"))
    batteries = [one for one in supplies if _kind(one) == "Battery" and not _of_a_gadget(one)]
    charges = [read_number(battery / "capacity") for battery in batteries]
    counts = root.glob("sys/devices/system/cpu/cpu[0-9]*/thermal_throttle/core_throttle_count")
    throttled = [count for path in counts if (count := read_number(path)) is not None]
    return Power(
        on_mains=_on_mains(supplies, batteries),
        battery_percent=next((charge for charge in charges if charge is not None), None),
        celsius=max(_temperatures(root), default=None),
        throttled=max(throttled, default=None),
    )


def _kind(supply: Path) -> str | None:
    return read_text(supply / "type")


def _of_a_gadget(supply: Path) -> bool:
    """Whether this is the battery of a mouse or the like."""
    return read_text(supply / "scope") == "Device"


def _on_mains(supplies: list[Path], batteries: list[Path]) -> bool | None:
    plugs = [read_number(one / "online") for one in supplies if _kind(one) in ("Mains", "USB")]
    if any(plugs):
        return True
    draining = any(read_text(one / "status") == "Discharging" for one in batteries)
    return False if draining or 0 in plugs else None


def _temperatures(root: Path) -> Iterator[float]:
    """All sensors of the CPU, in degrees."""
    for chip in root.glob("sys/class/hwmon/hwmon*"):
        if read_text(chip / "name") in _CPU_CHIPS:
            yield from map(_degrees, filter(None, map(read_number, chip.glob("temp*_input"))))
    for zone in root.glob("sys/class/thermal/thermal_zone*"):
        kind, value = read_text(zone / "type"), read_number(zone / "temp")
        if kind and kind.startswith(_CPU_ZONES) and value:
            yield _degrees(value)


def _degrees(thousandths: int) -> float:
    return thousandths / 1000

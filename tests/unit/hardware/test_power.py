"""Power supplies and sensors of laptops, servers and boards."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from qwen3_vl.hardware import macos, windows
from qwen3_vl.hardware.device import Power
from qwen3_vl.hardware.power import read_linux_power, read_power

SUPPLY = "sys/class/power_supply"


def plug(online: str, name: str = "AC", kind: str = "Mains") -> dict[str, str]:
    return {f"{SUPPLY}/{name}/type": kind, f"{SUPPLY}/{name}/online": online}


def battery(
    capacity: str, status: str, scope: str = "System", name: str = "BAT0"
) -> dict[str, str]:
    told = {"type": "Battery", "capacity": capacity, "status": status, "scope": scope}
    return {f"{SUPPLY}/{name}/{key}": value for key, value in told.items()}


@pytest.mark.parametrize(
    ("supplies", "on_mains", "charge"),
    [
        (plug("1") | battery("80", "Charging"), True, 80),
        (plug("0") | battery("55", "Discharging"), False, 55),
        (plug("0") | plug("1", "usb-c", "USB") | battery("55", "Charging"), True, 55),
        (battery("12", "Discharging"), False, 12),
        (battery("12", "Full"), None, 12),
        (battery("40", "Discharging", scope="Device", name="mouse"), None, None),
        (plug("1"), True, None),
        ({}, None, None),
    ],
)
def test_mains_and_battery(
    tree, supplies: dict[str, str], on_mains: bool | None, charge: int | None
) -> None:
    power = read_linux_power(tree(supplies))
    assert (power.on_mains, power.battery_percent) == (on_mains, charge)


def test_the_hottest_sensor_of_the_cpu_counts(tree) -> None:
    files = {
        "sys/class/hwmon/hwmon0/name": "nvme",
        "sys/class/hwmon/hwmon0/temp1_input": "99000",
        "sys/class/hwmon/hwmon1/name": "coretemp",
        "sys/class/hwmon/hwmon1/temp1_input": "61000",
        "sys/class/hwmon/hwmon1/temp2_input": "63500",
        "sys/class/thermal/thermal_zone0/type": "x86_pkg_temp",
        "sys/class/thermal/thermal_zone0/temp": "62000",
        "sys/class/thermal/thermal_zone1/type": "iwlwifi_1",
        "sys/class/thermal/thermal_zone1/temp": "90000",
    }
    assert read_linux_power(tree(files)).celsius == 63.5


def test_slowing_down_is_told_of_the_worst_core(tree) -> None:
    name = "sys/devices/system/cpu/cpu{}/thermal_throttle/core_throttle_count"
    power = read_linux_power(tree({name.format(0): "3", name.format(1): "17"}))
    assert power.throttled == 17


@pytest.mark.parametrize(("system", "module"), [("Darwin", macos), ("Windows", windows)])
def test_other_systems_are_asked_in_their_own_way(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, system: str, module: object
) -> None:
    told = Power(on_mains=True)
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(module, "read_power", lambda: told)
    assert read_power(tmp_path) is told

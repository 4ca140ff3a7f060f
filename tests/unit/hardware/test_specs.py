from __future__ import annotations

from dataclasses import replace

import pytest

from qwen3_vl.errors import DeviceError
from qwen3_vl.hardware.device import Gpu
from qwen3_vl.hardware.probe import probe
from qwen3_vl.hardware.specs import machine_specs


def test_this_machine_has_specs() -> None:
    machine = probe()
    specs = machine_specs(machine)
    assert specs.cpu_cores >= 1
    assert specs.memory_bytes == machine.memory.usable


def test_a_gpu_that_torch_cannot_use_is_none() -> None:
    machine = probe()
    pascal = Gpu(0, "GTX 1050", capability=(6, 1), total=2**31, obstacle="too old")
    ampere = Gpu(1, "RTX 3060", capability=(8, 6), total=12 * 2**30)
    assert machine_specs(replace(machine, gpus=(pascal,))).gpu_bytes == 0
    both = machine_specs(replace(machine, gpus=(pascal, ampere)))
    assert (both.gpu_bytes, both.gpu_capability) == (12 * 2**30, (8, 6))


def test_battery_counts_only_if_it_is_known() -> None:
    machine = probe()
    for on_mains, expected in ((None, False), (True, False), (False, True)):
        power = replace(machine.power, on_mains=on_mains)
        assert machine_specs(replace(machine, power=power)).on_battery is expected


def test_a_machine_that_tells_nothing_is_refused() -> None:
    machine = probe()
    silent = replace(machine.cpu, allowed_cores=None, physical=None, logical=None)
    with pytest.raises(DeviceError, match="give the specs yourself"):
        machine_specs(replace(machine, cpu=silent))

from __future__ import annotations

from dataclasses import replace

import pytest

from qwen3_vl.config.runtime import UnifiedConfig
from qwen3_vl.errors import DeviceError
from qwen3_vl.hardware.device import Gpu, Memory
from qwen3_vl.hardware.probe import probe
from qwen3_vl.hardware.routing import choose_threads, count_threads
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


def test_of_several_gpus_one_is_named_or_has_the_most_free_memory() -> None:
    small = Gpu(0, "RTX 3050", capability=(8, 6), total=2**33, free=2**32)
    large = Gpu(1, "RTX 2080", capability=(7, 5), total=2**34, free=2**33)
    machine = replace(probe(), gpus=(small, large))
    assert machine_specs(machine).gpu_bytes == 2**34
    assert machine_specs(machine, "cuda:0").gpu_bytes == 2**33
    assert machine_specs(machine, "cpu").gpu_bytes == 2**34


@pytest.mark.parametrize("quota", [None, 0.5, 1.0, 64.0])
def test_cores_are_counted_as_threads_are(quota: float | None) -> None:
    machine = probe()
    machine = replace(machine, cpu=replace(machine.cpu, quota=quota))
    cores = machine_specs(machine).cpu_cores
    assert cores == count_threads(machine.cpu).count == choose_threads(machine).count
    assert UnifiedConfig().threads_on(machine_specs(machine)) == cores


def test_battery_counts_only_if_it_is_known() -> None:
    machine = probe()
    for on_mains, expected in ((None, False), (True, False), (False, True)):
        power = replace(machine.power, on_mains=on_mains)
        assert machine_specs(replace(machine, power=power)).on_battery is expected


def test_a_machine_that_tells_nothing_is_refused() -> None:
    machine = replace(probe(), memory=Memory())
    with pytest.raises(DeviceError, match="give the specs yourself"):
        machine_specs(machine)

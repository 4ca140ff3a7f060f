"""What the commands of macOS print, read."""

from __future__ import annotations

import platform
import subprocess

import pytest

from qwen3_vl.hardware import macos
from qwen3_vl.hardware.device import Cpu, Memory, Power

APPLE = """hw.physicalcpu: 8
hw.logicalcpu: 8
hw.perflevel0.physicalcpu: 4
hw.perflevel0.l1dcachesize: 131072
hw.perflevel0.l2cachesize: 16777216
hw.l1dcachesize: 65536
hw.memsize: 17179869184
hw.optional.arm.AdvSIMD: 1
hw.optional.arm.FEAT_DotProd: 1
hw.optional.arm.FEAT_BF16: 1
hw.optional.arm.FEAT_SME: 0
machdep.cpu.brand_string: Apple M2
vm.swapusage: total = 2048.00M  used = 916.50M  free = 1131.50M  (encrypted)
"""
INTEL = """hw.physicalcpu: 4
hw.logicalcpu: 8
hw.cpufrequency_max: 2300000000
hw.l3cachesize: 8388608
hw.optional.avx2_0: 1
hw.optional.fma: 1
hw.optional.avx512f: 0
machdep.cpu.brand_string: Intel(R) Core(TM) i7-1068NG7 CPU @ 2.30GHz
"""
VM_STAT = """Mach Virtual Memory Statistics: (page size of 16384 bytes)
Pages free:                               10000.
Pages active:                            300000.
Pages inactive:                           20000.
Pages speculative:                         1000.
Pages purgeable:                            500.
"""
ON_MAINS = """Now drawing from 'AC Power'
 -InternalBattery-0 (id=1234)\t95%; charging; 0:20 remaining present: true
"""


def values(text: str) -> dict[str, str]:
    return dict(line.split(": ", 1) for line in text.splitlines())


def test_an_apple_chip_has_two_kinds_of_cores() -> None:
    assert macos.parse_cpu(values(APPLE)) == Cpu(
        architecture=platform.machine(),
        model="Apple M2",
        logical=8,
        physical=8,
        performance=4,
        allowed=8,
        allowed_cores=4,
        instructions=("bf16", "dotprod", "neon"),
        l1d_bytes=128 << 10,
        l2_bytes=16 << 20,
    )


def test_an_intel_mac() -> None:
    cpu = macos.parse_cpu(values(INTEL))
    assert (cpu.physical, cpu.performance, cpu.logical) == (4, 4, 8)
    assert cpu.instructions == ("avx2", "fma")
    assert (cpu.l3_bytes, cpu.max_mhz) == (8 << 20, 2300.0)


def test_memory() -> None:
    memory = macos.parse_memory(values(APPLE), VM_STAT)
    assert memory == Memory(
        total=16 << 30,
        available=31_500 * 16384,
        swap_total=2 << 30,
        swap_free=round(1131.5 * (1 << 20)),
    )


def test_power() -> None:
    assert macos.parse_power(ON_MAINS) == Power(on_mains=True, battery_percent=95)
    on_battery = ON_MAINS.replace("AC Power", "Battery Power")
    assert macos.parse_power(on_battery) == Power(on_mains=False, battery_percent=95)
    assert macos.parse_power("Now drawing from 'AC Power'\n") == Power(on_mains=True)


def test_a_command_is_asked_once_for_each_record(monkeypatch: pytest.MonkeyPatch) -> None:
    told = {"sysctl": APPLE, "vm_stat": VM_STAT, "pmset": ON_MAINS}

    def run(command: tuple[str, ...], **_: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 0, stdout=told[command[0]])

    monkeypatch.setattr(subprocess, "run", run)
    assert macos.read_cpu().model == "Apple M2"
    assert macos.read_memory().total == 16 << 30
    assert macos.read_power().battery_percent == 95


@pytest.mark.parametrize(
    "failure", [FileNotFoundError("sysctl"), subprocess.TimeoutExpired("sysctl", 5)]
)
def test_commands_that_fail_leave_nothing_known(
    monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    def run(*_: object, **__: object) -> None:
        raise failure

    monkeypatch.setattr(subprocess, "run", run)
    assert macos.read_cpu() == Cpu(platform.machine())
    assert macos.read_memory() == Memory()
    assert macos.read_power() == Power()

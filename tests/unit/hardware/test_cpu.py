"""Processors as Linux tells them, on small copies of /proc and /sys, and this one."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from pathlib import Path

import pytest

from qwen3_vl.hardware import macos, windows
from qwen3_vl.hardware.cpu import read_cpu, read_linux_cpu
from qwen3_vl.hardware.device import Cpu

FOLDER = "sys/devices/system/cpu"
COMET_LAKE = "fpu sse2 ssse3 fma sse4_1 sse4_2 popcnt avx f16c avx2 bmi2 clflushopt"
ALDER_LAKE = f"{COMET_LAKE} avx_vnni vaes"
ZEN_5 = (
    "fpu fma avx f16c avx2 avx512f avx512dq avx512bw avx512vl avx_vnni avx512_bf16 avx512_vnni "
    "hypervisor"
)
CORTEX = "fp asimd evtstrm aes crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"
NEOVERSE = f"{CORTEX} sve asimdfhm i8mm bf16"


def cpuinfo(name: str, flags: str, ids: Iterable[tuple[int, int]], mhz: float = 2000.0) -> str:
    """One block for each (processor, core) of one package."""
    return "\n\n".join(
        f"processor\t: {processor}\nvendor_id\t: GenuineIntel\nmodel name\t: {name}\n"
        f"cpu MHz\t\t: {mhz + processor:.3f}\nphysical id\t: 0\ncore id\t\t: {core}\n"
        f"flags\t\t: {flags}\npower management:"
        for processor, core in ids
    )


def arm_cpuinfo(count: int, features: str, part: str) -> str:
    return "\n\n".join(
        f"processor\t: {number}\nBogoMIPS\t: 48.00\nFeatures\t: {features}\n"
        f"CPU implementer\t: 0x41\nCPU part\t: {part}"
        for number in range(count)
    )


def status(allowed: str) -> dict[str, str]:
    return {"proc/self/status": f"Name:\tpython\nCpus_allowed:\tff\nCpus_allowed_list:\t{allowed}"}


def siblings(groups: Iterable[str], name: str = "core_cpus_list") -> dict[str, str]:
    """For each core, given as `0,4` or `0-1`, the file of each of its processors."""
    return {
        f"{FOLDER}/cpu{number}/topology/{name}": group
        for group in groups
        for number in group.replace("-", ",").split(",")
    }


def cache(number: int, index: int, level: int, kind: str, size: str, shared: str) -> dict[str, str]:
    folder = f"{FOLDER}/cpu{number}/cache/index{index}"
    told = {"level": str(level), "type": kind, "size": size, "shared_cpu_list": shared}
    return {f"{folder}/{name}": text for name, text in told.items()}


def comet_lake(allowed: str = "0-7") -> dict[str, str]:
    """An i5-10210U: 4 cores, 8 threads."""
    pairs = [(number, number % 4) for number in range(8)]
    files = {
        "proc/cpuinfo": cpuinfo("Intel(R) Core(TM) i5-10210U CPU @ 1.60GHz", COMET_LAKE, pairs),
        f"{FOLDER}/online": "0-7",
        **status(allowed),
        **siblings(["0,4", "1,5", "2,6", "3,7"]),
    }
    for number, core in pairs:
        pair = f"{core},{core + 4}"
        files |= cache(number, 0, 1, "Data", "32K", pair)
        files |= cache(number, 1, 1, "Instruction", "32K", pair)
        files |= cache(number, 2, 2, "Unified", "256K", pair)
        files |= cache(number, 3, 3, "Unified", "6144K", "0-7")
        files[f"{FOLDER}/cpu{number}/cpufreq/scaling_cur_freq"] = str(800_000 + number)
        files[f"{FOLDER}/cpu{number}/cpufreq/cpuinfo_max_freq"] = "4200000"
    return files


def alder_lake(allowed: str = "0-19") -> dict[str, str]:
    """An i7-12700: 8 fast cores of 2 threads, 4 small ones of 1."""
    cores = [f"{2 * core}-{2 * core + 1}" for core in range(8)] + ["16", "17", "18", "19"]
    ids = [(number, number // 2 if number < 16 else number) for number in range(20)]
    return {
        "proc/cpuinfo": cpuinfo("12th Gen Intel(R) Core(TM) i7-12700", ALDER_LAKE, ids),
        f"{FOLDER}/online": "0-19",
        "sys/devices/cpu_core/cpus": "0-15",
        "sys/devices/cpu_atom/cpus": "16-19",
        **status(allowed),
        **siblings(cores, "thread_siblings_list"),
    }


def test_a_laptop_of_four_cores(tree) -> None:
    cpu = read_linux_cpu(tree(comet_lake()))
    assert cpu == Cpu(
        architecture=platform.machine(),
        model="Intel(R) Core(TM) i5-10210U CPU @ 1.60GHz",
        logical=8,
        physical=4,
        performance=4,
        allowed=8,
        allowed_cores=4,
        quota=None,
        instructions=("avx2", "f16c", "fma"),
        l1d_bytes=32 << 10,
        l2_bytes=256 << 10,
        l3_bytes=6 << 20,
        mhz=800.007,
        max_mhz=4200.0,
    )


@pytest.mark.parametrize(("allowed", "cores"), [("0-3", 4), ("0,4", 1), ("0,1,4", 2), ("0-127", 4)])
def test_cores_are_counted_among_the_processors_allowed(tree, allowed: str, cores: int) -> None:
    cpu = read_linux_cpu(tree(comet_lake(allowed)))
    assert cpu.allowed_cores == cores
    assert cpu.allowed is not None
    assert cpu.allowed <= 8


@pytest.mark.parametrize(("allowed", "cores"), [("0-19", 8), ("0-3,16-19", 2), ("16-19", 4)])
def test_a_hybrid_counts_fast_cores_as_long_as_one_is_allowed(
    tree, allowed: str, cores: int
) -> None:
    cpu = read_linux_cpu(tree(alder_lake(allowed)))
    assert (cpu.logical, cpu.physical, cpu.performance) == (20, 12, 8)
    assert cpu.allowed_cores == cores
    assert cpu.instructions == ("avx2", "avx_vnni", "f16c", "fma")


def test_a_virtual_machine_without_sys(tree) -> None:
    text = cpuinfo("AMD EPYC 9B45", ZEN_5, [(0, 0), (1, 0), (2, 1), (3, 1)], mhz=2600.0)
    cpu = read_linux_cpu(tree({"proc/cpuinfo": text, **status("0-3")}))
    assert (cpu.logical, cpu.physical, cpu.performance, cpu.allowed_cores) == (4, 2, 2, 2)
    assert cpu.instructions is not None
    assert {"avx512_bf16", "avx512_vnni", "avx_vnni", "avx512vl"} <= set(cpu.instructions)
    assert (cpu.mhz, cpu.max_mhz, cpu.l3_bytes) == (2603.0, None, None)


def test_level_3_caches_add_up(tree) -> None:
    files = {"proc/cpuinfo": cpuinfo("AMD Ryzen", ZEN_5, [(n, n) for n in range(4)])}
    for number in range(4):
        files |= cache(number, 3, 3, "Unified", "32M", "0-1" if number < 2 else "2-3")
        files |= cache(number, 2, 2, "Unified", "1024K", str(number))
    cpu = read_linux_cpu(tree(files))
    assert (cpu.l2_bytes, cpu.l3_bytes) == (1 << 20, 64 << 20)


def test_an_arm_board_with_big_and_small_cores(tree) -> None:
    files = {
        "proc/cpuinfo": arm_cpuinfo(8, CORTEX, "0xd05"),
        f"{FOLDER}/online": "0-7",
        "sys/firmware/devicetree/base/model": "Radxa ROCK 5B\0",
        **status("0-7"),
        **siblings(map(str, range(8))),
    }
    for number in range(8):
        files[f"{FOLDER}/cpu{number}/cpu_capacity"] = "414" if number < 4 else "1024"
    cpu = read_linux_cpu(tree(files))
    assert cpu.model == "Radxa ROCK 5B"
    assert (cpu.physical, cpu.performance, cpu.allowed_cores) == (8, 4, 4)
    assert cpu.instructions == ("dotprod", "fp16", "neon")


def test_an_arm_server_is_named_by_its_numbers(tree) -> None:
    files = {"proc/cpuinfo": arm_cpuinfo(2, NEOVERSE, "0xd40"), **status("0-1")}
    cpu = read_linux_cpu(tree(files))
    assert cpu.model == "implementer 0x41, part 0xd40"
    assert cpu.instructions == ("bf16", "dotprod", "fp16", "i8mm", "neon", "sve")
    assert (cpu.logical, cpu.physical, cpu.allowed_cores) == (2, None, None)


def test_instruction_sets_are_those_of_all_processors(tree) -> None:
    text = f"{arm_cpuinfo(1, NEOVERSE, '0xd40')}\n\n{arm_cpuinfo(1, CORTEX, '0xd05')}"
    assert read_linux_cpu(tree({"proc/cpuinfo": text})).instructions == (
        "dotprod",
        "fp16",
        "neon",
    )


def test_a_container_with_a_quota(tree) -> None:
    limits = {
        "proc/self/mountinfo": "31 27 0:29 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw",
        "proc/self/cgroup": "0::/",
        "sys/fs/cgroup/cpu.max": "150000 100000",
    }
    assert read_linux_cpu(tree(comet_lake() | limits)).quota == 1.5


def test_nothing_to_read_is_nothing_known(tree) -> None:
    assert read_linux_cpu(tree({})) == Cpu(platform.machine())


@pytest.mark.parametrize(("system", "module"), [("Darwin", macos), ("Windows", windows)])
def test_other_systems_are_asked_in_their_own_way(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, system: str, module: object
) -> None:
    told = Cpu("arm64", model="a chip")
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(module, "read_cpu", lambda: told)
    assert read_cpu(tmp_path) is told


def test_this_machine_is_consistent() -> None:
    cpu = read_cpu()
    assert cpu.architecture
    assert cpu.logical is not None
    assert cpu.allowed is None or 0 < cpu.allowed <= cpu.logical
    if cpu.physical is not None:
        assert 0 < cpu.physical <= cpu.logical
        assert cpu.performance is not None
        assert 0 < cpu.performance <= cpu.physical
        assert cpu.allowed_cores is None or 0 < cpu.allowed_cores <= cpu.physical
    assert cpu.quota is None or cpu.quota > 0

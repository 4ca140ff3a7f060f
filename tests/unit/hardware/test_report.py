"""A machine in words: what is known, and what is not."""

from __future__ import annotations

from qwen3_vl.hardware.device import (
    Bandwidth,
    Cpu,
    Disk,
    Gpu,
    Machine,
    Memory,
    Power,
    ReadSpeed,
)
from qwen3_vl.hardware.report import NOT_READABLE, describe

KNOWN = Machine(
    system="Linux 6.8",
    cpu=Cpu(
        architecture="x86_64",
        model="i5-10210U",
        logical=8,
        physical=4,
        performance=4,
        allowed=8,
        allowed_cores=4,
        quota=1.5,
        instructions=("avx2", "fma"),
        l1d_bytes=32 << 10,
        l2_bytes=256 << 10,
        l3_bytes=6 << 20,
        mhz=800.0,
        max_mhz=4200.0,
    ),
    memory=Memory(16 << 30, 5 << 30, 8 << 30, 2 << 30, 1 << 30),
    gpus=(Gpu(0, "GTX 1060", (6, 1), 6 << 30, 5 << 30, "550.54", "torch is built without CUDA"),),
    disk=Disk(
        path="/m",
        file_system="ext4",
        device="nvme0n1",
        total=200 << 30,
        free=90 << 30,
        rotational=False,
        nvme=True,
        reading=ReadSpeed(9e8, 1 << 26, may_be_cached=True),
    ),
    power=Power(on_mains=False, battery_percent=55, celsius=61.4, throttled=3),
    bandwidth=Bandwidth(21.5e9, 256 << 20, 4),
)
UNKNOWN = Machine("Linux 6.8", Cpu("riscv64"), Memory(), (), Disk("/m"), Power())


def test_what_is_known_is_said() -> None:
    said = describe(KNOWN, measured=True)
    assert said["cores"] == "physical: 4, fast ones among them: 4, logical processors: 8"
    assert said["CPU quota"] == "processors: 1.5"
    assert said["caches"] == "L1d 32 KiB, L2 256 KiB, L3 in all 6.0 MiB"
    assert said["clock"] == "now 0.80 GHz, at most 4.20 GHz"
    assert said["memory"] == "16.0 GiB, limited to 8.0 GiB, 5.0 GiB available"
    assert said["GPU 0"].endswith("torch cannot use it: torch is built without CUDA")
    assert said["disk"] == "/m on nvme0n1 (ext4, NVMe), 90.0 GiB of 200.0 GiB free"
    assert said["power"] == "battery; battery at 55 %"
    assert said["heat"] == "61 °C; slowed down since the start: 3"
    assert said["memory bandwidth"] == "21.5 GB/s, reading 256.0 MiB, threads: 4"
    assert said["disk reading"].endswith("may come from the system's cache")
    assert NOT_READABLE not in " ".join(said.values())


def test_what_is_not_known_is_said_too() -> None:
    said = describe(UNKNOWN)
    for what in ("CPU", "cores", "instruction sets", "caches", "clock", "memory", "swap", "disk"):
        assert NOT_READABLE in said[what]
    assert said["GPU"] == "no NVIDIA GPU was found"
    assert said["memory bandwidth"] == "not measured"
    assert describe(UNKNOWN, measured=True)["disk reading"] == "could not be measured"

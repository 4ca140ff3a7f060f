"""Asks this machine everything, and returns one record."""

from __future__ import annotations

import platform
from pathlib import Path

from qwen3_vl.hardware.bandwidth import measure_bandwidth
from qwen3_vl.hardware.cpu import read_cpu
from qwen3_vl.hardware.cuda import read_gpus
from qwen3_vl.hardware.device import Machine
from qwen3_vl.hardware.disk import read_disk
from qwen3_vl.hardware.memory import read_memory
from qwen3_vl.hardware.power import read_power
from qwen3_vl.hardware.routing import count_threads


def probe(
    path: Path = Path(),
    measure: bool = False,
    root: Path = Path("/"),
    *,
    gpus: bool = True,
) -> Machine:
    """Look at the machine, and at the disk that `path` lies on; `measure` takes some seconds.

    `root` is where Linux's /proc and /sys are. To look at GPUs starts CUDA on each of them, which
    takes some of their memory; without `gpus` none is looked at.
    """
    cpu, memory = read_cpu(root), read_memory(root)
    threads = count_threads(cpu).count
    return Machine(
        system=f"{platform.system()} {platform.release()}",
        cpu=cpu,
        memory=memory,
        gpus=read_gpus() if gpus else (),
        disk=read_disk(path, measure, root),
        power=read_power(root),
        bandwidth=measure_bandwidth(cpu, memory, threads) if measure else None,
    )

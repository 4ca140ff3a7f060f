"""Measures how fast main memory is read: the speed limit of a model that answers word by word."""

from __future__ import annotations

import statistics
import time

import torch

from qwen3_vl.hardware.device import Bandwidth, Cpu, Memory

_SMALLEST = 256 << 20
_LARGEST = 1 << 30
_TIMES = 5
_MOST_SECONDS = 1.0


def measure_bandwidth(cpu: Cpu, memory: Memory, threads: int) -> Bandwidth | None:
    """Read a buffer five times with so many threads, and take the median.

    The number of torch's threads, which is one for the whole program, is put back at the end. None
    if there is no room for a buffer that is larger than the level 3 cache.
    """
    size = buffer_bytes(cpu, memory)
    if size is None:
        return None
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return Bandwidth(size / _median_seconds(size), size, threads)
    finally:
        torch.set_num_threads(before)


def buffer_bytes(cpu: Cpu, memory: Memory) -> int | None:
    """Four times the level 3 cache, within bounds and within a quarter of the available memory."""
    cache = cpu.l3_bytes or 0
    room = _SMALLEST if memory.available is None else memory.available // 4
    size = min(max(_SMALLEST, 4 * cache), _LARGEST, room)
    return size if size > max(cache, 1 << 20) else None


def _median_seconds(size: int) -> float:
    # The largest of all numbers: reads each byte once and computes next to nothing.
    buffer = torch.ones(size // 4, dtype=torch.float32)
    buffer.amax()
    times = list[float]()
    while len(times) < _TIMES and sum(times) < _MOST_SECONDS:
        started = time.perf_counter()
        buffer.amax()
        times.append(time.perf_counter() - started)
    return statistics.median(times)

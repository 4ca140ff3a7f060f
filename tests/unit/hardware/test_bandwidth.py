"""The buffer is larger than the cache, and torch's threads are as before."""

from __future__ import annotations

import pytest
import torch

from qwen3_vl.hardware import bandwidth
from qwen3_vl.hardware.bandwidth import buffer_bytes, measure_bandwidth
from qwen3_vl.hardware.device import Cpu, Memory

MIB = 1 << 20


@pytest.mark.parametrize(
    ("cache", "available", "size"),
    [
        (None, None, 256 * MIB),
        (6 * MIB, 8192 * MIB, 256 * MIB),
        (128 * MIB, 8192 * MIB, 512 * MIB),
        (512 * MIB, 65536 * MIB, 1024 * MIB),
        (6 * MIB, 400 * MIB, 100 * MIB),
        (128 * MIB, 400 * MIB, None),
        (2048 * MIB, 65536 * MIB, None),
        (None, 0, None),
    ],
)
def test_the_buffer(cache: int | None, available: int | None, size: int | None) -> None:
    assert buffer_bytes(Cpu("x86_64", l3_bytes=cache), Memory(available=available)) == size


def test_a_measurement_puts_the_threads_back() -> None:
    before = torch.get_num_threads()
    found = measure_bandwidth(Cpu("x86_64"), Memory(available=256 * MIB), threads=before + 1)
    assert found is not None
    assert found.bytes_per_second > 0
    assert (found.buffer_bytes, found.threads) == (64 * MIB, before + 1)
    assert torch.get_num_threads() == before


def test_a_failure_puts_the_threads_back_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> float:
        raise RuntimeError("no memory after all")

    before = torch.get_num_threads()
    monkeypatch.setattr(bandwidth, "_median_seconds", fail)
    with pytest.raises(RuntimeError, match="after all"):
        measure_bandwidth(Cpu("x86_64"), Memory(), threads=before + 1)
    assert torch.get_num_threads() == before


def test_without_room_nothing_is_measured() -> None:
    assert measure_bandwidth(Cpu("x86_64"), Memory(available=0), threads=1) is None

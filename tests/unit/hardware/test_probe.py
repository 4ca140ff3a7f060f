"""Everything at once, on this machine and where nothing can be read."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from qwen3_vl.hardware import probe as module
from qwen3_vl.hardware.device import Bandwidth, Cpu, Memory
from qwen3_vl.hardware.probe import probe
from qwen3_vl.hardware.report import describe
from qwen3_vl.hardware.routing import route


def test_this_machine_can_be_probed_routed_described_and_written_as_json(tmp_path: Path) -> None:
    machine = probe(tmp_path)
    assert machine.system
    assert machine.bandwidth is None
    assert machine.disk.reading is None
    assert route(machine).threads.count >= 1
    assert all(describe(machine).values())
    assert json.loads(json.dumps(dataclasses.asdict(machine)))["cpu"]["architecture"]


def test_a_machine_where_nothing_can_be_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("platform.system", lambda: "Linux")
    machine = probe(tmp_path, root=tmp_path)
    assert machine.cpu.logical is None
    assert machine.memory == Memory()
    assert machine.disk.file_system is None
    assert route(machine).threads.count == 1
    assert "not readable here" in describe(machine)["CPU"]


def test_gpus_are_left_alone_where_nobody_asks_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "read_gpus", lambda: pytest.fail("a GPU was looked at"))
    assert probe(gpus=False).gpus == ()


def test_measuring_uses_the_threads_that_the_model_will_use(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked = list[int]()

    def measure(_: Cpu, __: Memory, threads: int) -> Bandwidth:
        asked.append(threads)
        return Bandwidth(1e9, 1 << 28, threads)

    monkeypatch.setattr(module, "read_cpu", lambda _: Cpu("x86_64", allowed_cores=3))
    monkeypatch.setattr(module, "measure_bandwidth", measure)
    machine = probe(tmp_path, measure=True)
    assert asked == [3]
    assert machine.bandwidth is not None
    assert machine.disk.reading is not None

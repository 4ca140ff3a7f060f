"""GPUs through the driver and through torch; stand-ins answer for both where there is no GPU."""

# ruff: noqa: N802, ARG002  (the names and arguments are those of the driver's library)

from __future__ import annotations

import warnings
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from qwen3_vl.hardware import cuda
from qwen3_vl.hardware.cuda import capability_obstacle, read_driver, read_gpus, read_nvml
from qwen3_vl.hardware.device import Gpu

PASCAL = Gpu(
    index=0,
    name="NVIDIA GeForce GTX 1060",
    capability=(6, 1),
    total=6 << 30,
    free=5 << 30,
    driver="550.54.14",
    obstacle="a reason",
)


class Nvml:
    """Answers as libnvidia-ml would for one Pascal card; `fails` names the calls that do not."""

    def __init__(self, *fails: str):
        self.fails = fails
        self.opened = 0

    def _code(self, name: str) -> int:
        return 999 if name in self.fails else 0

    def nvmlInit_v2(self) -> int:
        self.opened += not self._code("init")
        return self._code("init")

    def nvmlShutdown(self) -> int:
        self.opened -= 1
        return 0

    def nvmlDeviceGetCount_v2(self, count: Any) -> int:
        count._obj.value = 1
        return self._code("count")

    def nvmlSystemGetDriverVersion(self, buffer: Any, size: Any) -> int:
        assert size.value == len(buffer)
        buffer.value = b"550.54.14"
        return self._code("driver")

    def nvmlDeviceGetHandleByIndex_v2(self, index: int, handle: Any) -> int:
        handle._obj.value = 1000 + index
        return self._code("handle")

    def nvmlDeviceGetName(self, handle: Any, buffer: Any, size: Any) -> int:
        assert handle.value == 1000
        buffer.value = b"NVIDIA GeForce GTX 1060"
        return self._code("name")

    def nvmlDeviceGetCudaComputeCapability(self, handle: Any, major: Any, minor: Any) -> int:
        major._obj.value, minor._obj.value = 6, 1
        return self._code("capability")

    def nvmlDeviceGetMemoryInfo(self, handle: Any, memory: Any) -> int:
        memory._obj.total, memory._obj.free = 6 << 30, 5 << 30
        return self._code("memory")


@pytest.fixture
def cuda_torch(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A torch with CUDA that sees one H200, as far as it is asked."""
    about = SimpleNamespace(name="NVIDIA H200", major=9, minor=0, total_memory=150 << 30)
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_80", "sm_90"])
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: about)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (140 << 30, 150 << 30))
    monkeypatch.setattr(cuda, "load_nvml", Nvml)
    return monkeypatch


def test_the_driver_tells_of_a_gpu_that_torch_cannot_use() -> None:
    nvml = Nvml()
    assert read_nvml(nvml, "a reason") == (PASCAL,)
    assert read_driver(nvml) == "550.54.14"
    assert nvml.opened == 0


@pytest.mark.parametrize(
    ("fails", "gpus"),
    [
        (("init",), ()),
        (("count",), ()),
        (
            ("handle",),
            (Gpu(0, "a GPU that the driver does not open", driver="550.54.14", obstacle="r"),),
        ),
        (
            ("name", "capability", "memory", "driver"),
            (Gpu(0, "a GPU without a name", obstacle="r"),),
        ),
    ],
)
def test_what_the_driver_does_not_tell_is_none(fails: tuple[str, ...], gpus: tuple) -> None:
    nvml = Nvml(*fails)
    assert read_nvml(nvml, "r") == gpus
    assert nvml.opened == 0


def test_a_torch_without_cuda_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(cuda, "load_nvml", Nvml)
    (gpu,) = read_gpus()
    assert gpu.name == PASCAL.name
    assert gpu.obstacle is not None
    assert "built without CUDA" in gpu.obstacle


def test_a_driver_that_is_too_old_is_told_in_torchs_words(
    cuda_torch: pytest.MonkeyPatch,
) -> None:
    def is_available() -> bool:
        warnings.warn("The NVIDIA driver on your system is too old", stacklevel=1)
        return False

    cuda_torch.setattr(torch.cuda, "is_available", is_available)
    (gpu,) = read_gpus()
    assert gpu.obstacle is not None
    assert gpu.obstacle.endswith("cannot start CUDA: The NVIDIA driver on your system is too old")


def test_torch_tells_of_a_gpu_that_it_can_use(cuda_torch: pytest.MonkeyPatch) -> None:
    h200 = Gpu(0, "NVIDIA H200", (9, 0), 150 << 30, 140 << 30, "550.54.14")
    assert read_gpus() == (h200,)
    cuda_torch.setattr(cuda, "load_nvml", lambda: None)
    assert read_gpus()[0].driver is None


def test_a_gpu_without_kernels_is_named_without_a_warning(cuda_torch: pytest.MonkeyPatch) -> None:
    def properties(_: int) -> SimpleNamespace:
        warnings.warn("sm_61 is not compatible", stacklevel=1)
        return SimpleNamespace(name="GTX 1060", major=6, minor=1, total_memory=6 << 30)

    cuda_torch.setattr(torch.cuda, "get_device_properties", properties)
    (gpu,) = read_gpus()
    assert gpu.obstacle is not None
    assert "kernels for sm_80, sm_90, and none for this GPU's sm_61" in gpu.obstacle


def test_a_gpu_that_is_taken_says_so(cuda_torch: pytest.MonkeyPatch) -> None:
    def taken(_: int) -> None:
        raise RuntimeError("CUDA error: all devices are busy\nmore words")

    cuda_torch.setattr(torch.cuda, "mem_get_info", taken)
    (gpu,) = read_gpus()
    assert (gpu.free, gpu.obstacle) == (None, "CUDA error: all devices are busy")


@pytest.mark.parametrize(
    ("capability", "built_for", "can"),
    [
        ((8, 6), ["sm_80"], True),
        ((8, 0), ["sm_86"], False),
        ((9, 0), ["sm_80", "sm_86"], False),
        ((12, 0), ["sm_80", "compute_90"], True),
        ((6, 1), ["sm_75", "compute_75"], False),
        ((6, 1), ["sm_60"], True),
        ((12, 0), ["sm_100", "sm_120"], True),
        ((9, 0), ["sm_90a"], True),
        ((9, 0), ["gfx90a"], False),
    ],
)
def test_kernels_of_an_architecture_run_on_later_ones_of_its_generation(
    capability: tuple[int, int], built_for: list[str], can: bool
) -> None:
    assert (capability_obstacle(capability, built_for) is None) is can


def test_this_machine_is_consistent() -> None:
    gpus = read_gpus()
    usable = [gpu for gpu in gpus if gpu.obstacle is None]
    assert bool(usable) <= torch.cuda.is_available()
    for gpu in gpus:
        assert gpu.name
        assert gpu.total is None or gpu.free is None or 0 <= gpu.free <= gpu.total

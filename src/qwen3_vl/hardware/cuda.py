"""NVIDIA GPUs: through torch if it can use them, else through the driver, with the reason why."""

from __future__ import annotations

import ctypes
import platform
import warnings
from collections.abc import Sequence
from typing import Any

import torch

from qwen3_vl.hardware.device import Gpu


class _NvmlMemory(ctypes.Structure):
    """nvmlMemory_t."""

    _fields_ = (
        ("total", ctypes.c_ulonglong),
        ("free", ctypes.c_ulonglong),
        ("used", ctypes.c_ulonglong),
    )


def read_gpus() -> tuple[Gpu, ...]:
    """All NVIDIA GPUs of this machine, and which of them torch can use."""
    nvml = load_nvml()
    reason = torch_obstacle()
    if reason is None:
        return _from_torch(None if nvml is None else read_driver(nvml))
    return () if nvml is None else read_nvml(nvml, reason)


def torch_obstacle() -> str | None:
    """Why this torch cannot use any NVIDIA GPU; None if it can."""
    if torch.version.cuda is None and torch.version.hip is None:
        return (
            f"torch {torch.__version__} is built without CUDA; install a build of torch with CUDA "
            "that still supports this GPU"
        )
    with warnings.catch_warnings(record=True) as said:  # torch gives its reason as a warning
        warnings.simplefilter("always")
        usable = torch.cuda.is_available()
    if usable:
        return None
    reasons = "; ".join(str(one.message) for one in said) or "it found no GPU that it may use"
    return f"torch {torch.__version__} cannot start CUDA: {reasons}"


def capability_obstacle(capability: tuple[int, int], built_for: Sequence[str]) -> str | None:
    """Why a torch with kernels for these architectures cannot use such a GPU; None if it can.

    `sm_86` is machine code, for 8.6 and later 8.x. `compute_90` is code that the driver still
    compiles, for 9.0 and whatever comes later.
    """
    major, minor = capability
    for name in built_for:
        kind, _, digits = name.partition("_")
        digits = digits.rstrip("af")  # sm_90a: for this very architecture
        if not digits.isdigit():
            continue
        built = divmod(int(digits), 10)
        if kind == "sm" and built[0] == major and built[1] <= minor:
            return None
        if kind == "compute" and built <= capability:
            return None
    return (
        f"torch {torch.__version__} has kernels for {', '.join(built_for)}, and none for this "
        f"GPU's sm_{major}{minor}; install a build that has"
    )


def load_nvml() -> Any | None:
    """The driver's library for questions about GPUs; None where no driver is."""
    try:
        return ctypes.CDLL("nvml.dll" if platform.system() == "Windows" else "libnvidia-ml.so.1")
    except OSError:
        return None


def read_driver(nvml: Any) -> str | None:
    """The version of the driver."""
    if nvml.nvmlInit_v2() != 0:
        return None
    try:
        return _text(nvml.nvmlSystemGetDriverVersion)
    finally:
        nvml.nvmlShutdown()


def read_nvml(nvml: Any, obstacle: str) -> tuple[Gpu, ...]:
    """All GPUs that the driver knows, each with the same reason why torch cannot use it."""
    if nvml.nvmlInit_v2() != 0:
        return ()
    try:
        count = ctypes.c_uint()
        if nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)) != 0:
            return ()
        driver = _text(nvml.nvmlSystemGetDriverVersion)
        return tuple(_from_nvml(nvml, index, driver, obstacle) for index in range(count.value))
    finally:
        nvml.nvmlShutdown()


def _from_nvml(nvml: Any, index: int, driver: str | None, obstacle: str) -> Gpu:
    handle = ctypes.c_void_p()
    if nvml.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(handle)) != 0:
        return Gpu(index, "a GPU that the driver does not open", driver=driver, obstacle=obstacle)
    major, minor, memory = ctypes.c_int(), ctypes.c_int(), _NvmlMemory()
    numbers = (ctypes.byref(major), ctypes.byref(minor))
    has_capability = nvml.nvmlDeviceGetCudaComputeCapability(handle, *numbers) == 0
    has_memory = nvml.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(memory)) == 0
    return Gpu(
        index=index,
        name=_text(nvml.nvmlDeviceGetName, handle) or "a GPU without a name",
        capability=(major.value, minor.value) if has_capability else None,
        total=memory.total if has_memory else None,
        free=memory.free if has_memory else None,
        driver=driver,
        obstacle=obstacle,
    )


def _text(question: Any, *about: Any) -> str | None:
    buffer = ctypes.create_string_buffer(96)
    if question(*about, buffer, ctypes.c_uint(len(buffer))) != 0:
        return None
    return buffer.value.decode(errors="replace")


def _from_torch(driver: str | None) -> tuple[Gpu, ...]:
    """All GPUs that torch sees. To ask for the free memory starts CUDA on each of them."""
    with warnings.catch_warnings():  # of a GPU without kernels; its obstacle says it
        warnings.simplefilter("ignore")
        return tuple(_torch_gpu(index, driver) for index in range(torch.cuda.device_count()))


def _torch_gpu(index: int, driver: str | None) -> Gpu:
    about = torch.cuda.get_device_properties(index)
    capability, obstacle, free = None, None, None
    if torch.version.hip is None:
        capability = (about.major, about.minor)
        obstacle = capability_obstacle(capability, torch.cuda.get_arch_list())
    try:
        free = torch.cuda.mem_get_info(index)[0]
    except RuntimeError as error:  # such as a GPU that another process has to itself
        obstacle = obstacle or str(error).splitlines()[0]
    return Gpu(index, about.name, capability, about.total_memory, free, driver, obstacle)

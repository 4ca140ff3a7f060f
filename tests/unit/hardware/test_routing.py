"""Decisions for machines that we do not have, and that each has its reason."""

from __future__ import annotations

import pytest

from qwen3_vl.errors import ConfigError
from qwen3_vl.hardware.device import Cpu, Disk, Gpu, Machine, Memory, Power
from qwen3_vl.hardware.routing import count_threads, route

GB = 10**9
TWO_BILLION = 2_127_532_032
LAPTOP = Cpu("x86_64", "i5-10210U", 8, 4, 4, 8, 4, instructions=("avx2", "f16c", "fma"))
SERVER = Cpu("x86_64", "AMD EPYC", 4, 4, 4, 4, 4, instructions=("avx2", "avx512_bf16"))
H200 = Gpu(0, "NVIDIA H200", (9, 0), 150 * GB, 140 * GB)
PASCAL = Gpu(0, "GTX 1060", (6, 1), 6 * GB, 5 * GB, obstacle="torch is built without CUDA")


def machine(cpu: Cpu, available: int | None, *gpus: Gpu) -> Machine:
    memory = Memory(total=available, available=available)
    return Machine("Linux", cpu, memory, gpus, Disk("."), Power())


@pytest.mark.parametrize(
    ("cpu", "available", "dtype", "why"),
    [
        (SERVER, 16 * GB, "bfloat16", "computes in it (avx512_bf16)"),
        (LAPTOP, 16 * GB, "float32", "no arithmetic in bfloat16 was found, and float32 fits"),
        (LAPTOP, 6 * GB, "bfloat16", "8.5 GB in float32 do not fit in 80% of the 6.0 GB"),
        (LAPTOP, None, "float32", "no arithmetic"),
        (Cpu("arm64", instructions=("bf16", "neon")), 6 * GB, "bfloat16", "(bf16)"),
        (Cpu("arm64", instructions=("neon",)), 16 * GB, "float32", "no arithmetic"),
        (Cpu("x86_64"), 16 * GB, "float32", "no arithmetic"),
    ],
)
def test_the_dtype_on_a_cpu(cpu: Cpu, available: int | None, dtype: str, why: str) -> None:
    found = route(machine(cpu, available), TWO_BILLION)
    assert found.device.used == "cpu"
    assert "no NVIDIA GPU was found" in found.device.why
    assert found.dtype.used == dtype
    assert why in found.dtype.why


def test_a_gpu_that_can_hold_the_model_is_used() -> None:
    found = route(machine(LAPTOP, 16 * GB, H200), TWO_BILLION)
    assert (found.device.used, found.dtype.used) == ("cuda:0", "bfloat16")
    assert "capability 9.0" in found.dtype.why


def test_of_several_the_one_with_the_most_free_memory_is_used() -> None:
    second = Gpu(1, "NVIDIA H200", (9, 0), 150 * GB, 145 * GB)
    found = machine(LAPTOP, 16 * GB, H200, second)
    assert route(found, TWO_BILLION).device.used == "cuda:1"
    assert route(found, TWO_BILLION, device="cuda").device.used == "cuda:1"
    assert route(found, TWO_BILLION, device="cuda:0").device.used == "cuda:0"


def test_a_gpu_that_is_too_small_is_passed_over_and_named() -> None:
    small = Gpu(0, "A2", (8, 6), 16 * GB, 2 * GB)
    found = route(machine(LAPTOP, 16 * GB, small), TWO_BILLION)
    assert found.device.used == "cpu"
    assert "not cuda:0, because weights of 4.3 GB in bfloat16 do not fit" in found.device.why


def test_a_gpu_that_torch_cannot_use_is_passed_over_and_named() -> None:
    found = route(machine(LAPTOP, 16 * GB, PASCAL), TWO_BILLION, device="cuda")
    assert found.device.fell_back
    assert "not cuda:0, because torch is built without CUDA" in str(found.device)


def test_a_gpu_that_is_not_there_is_named() -> None:
    for found in (machine(LAPTOP, 16 * GB), machine(LAPTOP, 16 * GB, H200)):
        device = route(found, TWO_BILLION, device="cuda:7").device
        assert device.fell_back
        assert "not cuda:7, because there is no such GPU" in device.why


def test_cuda_is_the_first_gpu_that_can_serve() -> None:
    newest = Gpu(1, "too new", (12, 0), 150 * GB, 149 * GB, obstacle="torch has no kernels for it")
    device = route(machine(LAPTOP, 16 * GB, newest, H200), TWO_BILLION, device="cuda").device
    assert device.used == "cuda:0"


def test_an_old_gpu_computes_in_float32_if_that_fits() -> None:
    turing = Gpu(0, "RTX 2080 Ti", (7, 5), 11 * GB, 11 * GB)
    assert route(machine(LAPTOP, 16 * GB, turing), TWO_BILLION).dtype.used == "float32"
    full = Gpu(0, "RTX 2080 Ti", (7, 5), 11 * GB, 6 * GB)
    assert route(machine(LAPTOP, 16 * GB, full), TWO_BILLION).dtype.used == "bfloat16"


def test_a_wanted_dtype_is_used_if_it_fits() -> None:
    roomy, tight = machine(SERVER, 16 * GB), machine(SERVER, 6 * GB)
    assert route(roomy, TWO_BILLION, dtype="float32").dtype.used == "float32"
    assert route(roomy, TWO_BILLION, dtype="float16").dtype.used == "float16"
    fallen = route(tight, TWO_BILLION, dtype="float32").dtype
    assert (fallen.used, fallen.fell_back) == ("bfloat16", True)


def test_a_wanted_dtype_counts_when_the_gpu_is_chosen() -> None:
    middling = Gpu(0, "RTX 3060", (8, 6), 12 * GB, 8 * GB)
    found = machine(LAPTOP, 16 * GB, middling)
    assert route(found, TWO_BILLION).device.used == "cuda:0"
    assert route(found, TWO_BILLION, dtype="float32").device.used == "cpu"


@pytest.mark.parametrize(("device", "dtype"), [("abacus", "auto"), ("auto", "int3")])
def test_an_unknown_wish_is_an_error(device: str, dtype: str) -> None:
    with pytest.raises(ConfigError, match=r"abacus|int3"):
        route(machine(LAPTOP, 16 * GB), TWO_BILLION, device, dtype)


def test_a_model_of_unknown_size_fits() -> None:
    assert route(machine(LAPTOP, 1)).dtype.used == "float32"


@pytest.mark.parametrize(
    ("cpu", "count", "why"),
    [
        (LAPTOP, 4, "fast core that this process may use"),
        (Cpu("x86_64", logical=20, physical=12, performance=8, allowed_cores=2), 2, "may use"),
        (Cpu("x86_64", logical=20, physical=12, performance=8), 8, "each fast core"),
        (Cpu("aarch64", logical=8, allowed=3), 3, "could not be read"),
        (Cpu("aarch64", logical=8), 8, "could not be read"),
        (Cpu("aarch64"), 1, "could not be read"),
        (Cpu("x86_64", allowed_cores=4, quota=2.5), 2, "grant no more than 2.5"),
        (Cpu("x86_64", allowed_cores=4, quota=0.5), 1, "grant no more than 0.5"),
        (Cpu("x86_64", allowed_cores=4, quota=64.0), 4, "may use"),
    ],
)
def test_threads(cpu: Cpu, count: int, why: str) -> None:
    threads = count_threads(cpu)
    assert threads.count == count
    assert why in str(threads)

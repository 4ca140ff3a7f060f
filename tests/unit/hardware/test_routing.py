"""Decisions for machines that we do not have, and that each has its reason."""

from __future__ import annotations

from typing import Any

import pytest

from qwen3_vl.config.origins import build, settings_from
from qwen3_vl.errors import ConfigError, DeviceError
from qwen3_vl.hardware.device import Cpu, Disk, Gpu, Machine, Memory, Power
from qwen3_vl.hardware.routing import Needs, Route, choose_threads, count_threads, route

GB = 10**9
LAPTOP = Cpu("x86_64", "i5-10210U", 8, 4, 4, 8, 4, instructions=("avx2", "f16c", "fma"))
SERVER = Cpu("x86_64", "AMD EPYC", 4, 4, 4, 4, 4, instructions=("avx2", "avx512_bf16"))
H200 = Gpu(0, "NVIDIA H200", (9, 0), 150 * GB, 140 * GB)
PASCAL = Gpu(0, "GTX 1060", (6, 1), 6 * GB, 5 * GB, obstacle="torch is built without CUDA")


def two_billion(stored: str = "bfloat16") -> Needs:
    numbers = 2_127_532_032
    return Needs(stored, {"float32": 4 * numbers, "bfloat16": 2 * numbers, "float16": 2 * numbers})


def machine(cpu: Cpu, available: int | None, *gpus: Gpu, on_mains: bool | None = None) -> Machine:
    memory = Memory(total=available, available=available)
    return Machine("Linux", cpu, memory, gpus, Disk("."), Power(on_mains))


def decide(machine: Machine, needs: Needs | None = None, **settings: Any) -> Route:
    given = {path.replace("__", "."): value for path, value in settings.items()}
    return route(machine, needs or two_billion(), build(settings_from(given, "test")))


@pytest.mark.parametrize(
    ("cpu", "available", "dtype", "why"),
    [
        (SERVER, 16 * GB, "bfloat16", "computes in it (avx512_bf16)"),
        (LAPTOP, 16 * GB, "float32", "no arithmetic in bfloat16 was found, and float32 fits"),
        (LAPTOP, 6 * GB, "bfloat16", "8.5 GB in float32 do not fit in 80% of the 6.0 GB"),
        (LAPTOP, 6 * GB, "bfloat16", "slow, because no arithmetic in bfloat16 was found"),
        (LAPTOP, None, "float32", "no arithmetic"),
        (Cpu("arm64", instructions=("bf16", "neon")), 6 * GB, "bfloat16", "(bf16)"),
        (Cpu("arm64", instructions=("neon",)), 16 * GB, "float32", "no arithmetic"),
        (Cpu("x86_64"), 16 * GB, "float32", "no arithmetic"),
    ],
)
def test_the_dtype_on_a_cpu(cpu: Cpu, available: int | None, dtype: str, why: str) -> None:
    found = decide(machine(cpu, available))
    assert found.device.used == "cpu"
    assert "no NVIDIA GPU was found" in found.device.why
    assert found.device.passed_over == ()
    assert found.dtype.used == dtype
    assert why in str(found.dtype)


@pytest.mark.parametrize("available", [16 * GB, 6 * GB])
@pytest.mark.parametrize("cpu", [LAPTOP, SERVER])
def test_what_the_files_hold_is_never_narrowed(cpu: Cpu, available: int) -> None:
    """Bfloat16 arithmetic is no reason to cut float32 files, nor to squeeze float16 into it."""
    assert decide(machine(cpu, available), two_billion("float32")).dtype.used == "float32"
    half = decide(machine(cpu, available), two_billion("float16")).dtype
    assert half.used == ("float32" if available == 16 * GB else "float16")
    assert "no arithmetic in float16 was found" in str(half)


def test_float16_stays_where_there_is_arithmetic_for_it() -> None:
    phone = Cpu("arm64", instructions=("fp16", "neon"))
    assert decide(machine(phone, 16 * GB), two_billion("float16")).dtype.used == "float16"
    volta = Gpu(0, "V100", (7, 0), 32 * GB, 30 * GB)
    assert decide(machine(LAPTOP, 16 * GB, volta), two_billion("float16")).dtype.used == "float16"


def test_a_limit_counts_when_float32_is_weighed() -> None:
    found = decide(machine(LAPTOP, 16 * GB), memory__max_bytes="5 GB").dtype
    assert found.used == "bfloat16"
    assert "8.5 GB in float32 are more than the 5.0 GB of memory.max_bytes" in str(found)


def test_a_gpu_that_can_hold_the_model_is_used() -> None:
    found = decide(machine(LAPTOP, 16 * GB, H200))
    assert (found.device.used, found.dtype.used) == ("cuda:0", "bfloat16")
    assert "capability 9.0" in found.dtype.why
    assert decide(machine(LAPTOP, 16 * GB, H200), gpu__device="cpu").device.used == "cpu"


def test_of_several_the_one_with_the_most_free_memory_is_used() -> None:
    second = Gpu(1, "NVIDIA H200", (9, 0), 150 * GB, 145 * GB)
    found = machine(LAPTOP, 16 * GB, H200, second)
    assert decide(found).device.used == "cuda:1"
    assert decide(found, gpu__device="cuda").device.used == "cuda:1"
    assert decide(found, gpu__device="cuda:0").device.used == "cuda:0"


def test_a_gpu_that_is_too_small_is_passed_over_and_named() -> None:
    small = Gpu(0, "MX150", (6, 1), 2 * GB, 2 * GB)
    device = decide(machine(LAPTOP, 16 * GB, small)).device
    assert device.used == "cpu"
    (reason,) = device.passed_over
    assert "not cuda:0, because weights and cache of 4.3 GB in bfloat16 do not fit" in reason
    with pytest.raises(
        DeviceError,
        match=r"cuda:0 cannot serve, .* the 2\.0 GB that are free \(a recipe .*\); take",
    ):
        decide(machine(LAPTOP, 16 * GB, small), gpu__device="cuda")


def test_a_smaller_model_fits_a_smaller_gpu() -> None:
    """As a recipe makes it."""
    small = Gpu(0, "A2", (8, 6), 4 * GB, 4 * GB)
    rounded = Needs("bfloat16", {"float32": 4 * GB, "bfloat16": 3 * GB})
    assert decide(machine(LAPTOP, 16 * GB, small)).device.used == "cpu"
    assert decide(machine(LAPTOP, 16 * GB, small), rounded).device.used == "cuda:0"


def test_the_limit_of_the_gpu_counts() -> None:
    found = machine(LAPTOP, 16 * GB, H200)
    device = decide(found, gpu__max_bytes="4 GB").device
    assert device.used == "cpu"
    assert "4.3 GB in bfloat16 are more than the 4.0 GB of gpu.max_bytes" in str(device)
    with pytest.raises(DeviceError, match=r"more than the 4\.0 GB of gpu.max_bytes"):
        decide(found, gpu__device="cuda:0", gpu__max_bytes="4 GB")


def test_a_gpu_that_is_named_may_be_filled() -> None:
    tight = machine(LAPTOP, 16 * GB, Gpu(0, "A2", (8, 6), 5 * GB, 5 * GB))
    assert decide(tight).device.used == "cpu"
    assert decide(tight, gpu__device="cuda:0").device.used == "cuda:0"


def test_a_gpu_that_torch_cannot_use_is_passed_over_or_refused() -> None:
    found = machine(LAPTOP, 16 * GB, PASCAL)
    assert "not cuda:0, because torch is built without CUDA" in str(decide(found).device)
    with pytest.raises(DeviceError, match="cuda:0 cannot serve, because torch is built without"):
        decide(found, gpu__device="cuda")


def test_a_gpu_that_is_not_there_is_refused() -> None:
    with pytest.raises(DeviceError, match="cuda:7 cannot serve, because no NVIDIA GPU was found"):
        decide(machine(LAPTOP, 16 * GB), gpu__device="cuda:7")
    with pytest.raises(DeviceError, match="there is no such GPU; take auto or cuda:0 or cpu"):
        decide(machine(LAPTOP, 16 * GB, H200), gpu__device="cuda:7")


def test_cuda_is_the_first_gpu_that_can_serve() -> None:
    newest = Gpu(1, "too new", (12, 0), 150 * GB, 149 * GB, obstacle="torch has no kernels for it")
    device = decide(machine(LAPTOP, 16 * GB, newest, H200), gpu__device="cuda").device
    assert device.used == "cuda:0"
    assert device.passed_over == ("not cuda:1, because torch has no kernels for it",)


def test_an_old_gpu_computes_in_float32_if_that_fits() -> None:
    turing = Gpu(0, "RTX 2080 Ti", (7, 5), 11 * GB, 11 * GB)
    assert decide(machine(LAPTOP, 16 * GB, turing)).dtype.used == "float32"
    full = Gpu(0, "RTX 2080 Ti", (7, 5), 11 * GB, 6 * GB)
    assert decide(machine(LAPTOP, 16 * GB, full)).dtype.used == "bfloat16"


def test_a_wanted_dtype_is_used_and_what_speaks_against_it_told() -> None:
    roomy, tight = machine(SERVER, 16 * GB), machine(SERVER, 6 * GB)
    assert decide(roomy, optimization__dtype="float32").dtype.why == "as wanted"
    slow = decide(roomy, optimization__dtype="float16").dtype
    assert slow.used == "float16"
    assert "slow, because no arithmetic in float16 was found" in slow.why
    large = decide(tight, optimization__dtype="float32").dtype
    assert large.used == "float32"
    assert "although weights and cache of 8.5 GB in float32 do not fit in the 6.0 GB" in large.why


def test_a_wanted_dtype_counts_when_the_gpu_is_chosen() -> None:
    middling = Gpu(0, "RTX 3060", (8, 6), 12 * GB, 8 * GB)
    found = machine(LAPTOP, 16 * GB, middling)
    assert decide(found).device.used == "cuda:0"
    assert decide(found, optimization__dtype="float32").device.used == "cpu"


def test_an_unknown_wish_is_an_error() -> None:
    for settings in ({"gpu__device": "abacus"}, {"optimization__dtype": "int3"}):
        with pytest.raises(ConfigError, match=r"abacus|int3"):
            decide(machine(LAPTOP, 16 * GB), **settings)


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


@pytest.mark.parametrize(
    ("settings", "on_mains", "count", "why"),
    [
        ({}, False, 4, "one for each fast core that this process may use"),
        ({"cpu.threads": 3}, None, 3, "as cpu.threads says"),
        ({"power.on_battery": "save"}, True, 4, "one for each fast core that"),
        ({"power.on_battery": "save"}, False, 2, "half of them on battery"),
        ({"cpu.threads": 3, "power.on_battery": "save"}, False, 1, "half of them on battery"),
    ],
)
def test_threads_follow_from_the_config_too(
    settings: dict[str, Any], on_mains: bool | None, count: int, why: str
) -> None:
    found = machine(LAPTOP, 16 * GB, on_mains=on_mains)
    threads = choose_threads(found, build(settings_from(settings, "test")))
    assert threads.count == count
    assert why in threads.why

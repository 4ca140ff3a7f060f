"""Contradictions: found before anything loads, each with what to change."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

import pytest

from qwen3_vl.config.footprint import Footprint
from qwen3_vl.config.machine import GIGABYTE, MachineSpecs
from qwen3_vl.config.model import Qwen3VLConfig
from qwen3_vl.config.origins import build, settings_from
from qwen3_vl.config.runtime import Kernels, UnifiedConfig
from qwen3_vl.config.validation import KERNELS_NEED, check, problems
from qwen3_vl.errors import ConfigError
from qwen3_vl.hardware.cpu import read_cpu
from qwen3_vl.ops import native

MODEL = Qwen3VLConfig.preset("2b-instruct")
LAPTOP = MachineSpecs(4, 8 * GIGABYTE, isa=("avx2", "f16c", "fma"))
WITH_GPU = MachineSpecs(4, 8 * GIGABYTE, 4 * GIGABYTE, (8, 6))


def config(**settings: Any) -> UnifiedConfig:
    return build(settings_from({k.replace("__", "."): v for k, v in settings.items()}, "test"))


@pytest.mark.parametrize("machine", [None, LAPTOP, WITH_GPU])
def test_the_default_has_no_problem_without_a_model(machine: MachineSpecs | None) -> None:
    assert problems(UnifiedConfig(), machine) == []


@pytest.mark.parametrize(
    ("machine", "settings", "told"),
    [
        (LAPTOP, {"cpu__threads": 8}, "cpu.threads: 8 threads on 4 cores"),
        (LAPTOP, {"cpu__kernels": "avx512"}, "cpu.kernels: avx512 needs avx512bw, avx512dq"),
        (LAPTOP, {"gpu__device": "cuda"}, "gpu.device: is cuda, but there is no GPU"),
        (LAPTOP, {"memory__max_bytes": "9 GB"}, "memory.max_bytes: allows 9.0 GB, but there are"),
        (WITH_GPU, {"gpu__max_bytes": "5 GB"}, "gpu.max_bytes: allows 5.0 GB, but there are"),
        (None, {"gpu__device": "cpu", "gpu__max_bytes": 9}, "gpu.max_bytes: limits a GPU, but"),
        (None, {"memory__max_context": 512}, "generation.max_new_tokens: an answer of 512 tokens"),
    ],
)
def test_a_contradiction_is_found_with_a_remedy(
    machine: MachineSpecs | None, settings: dict, told: str
) -> None:
    (problem,) = problems(config(**settings), machine)
    assert str(problem).startswith(told)
    assert problem.remedy


def test_every_variant_of_the_kernels_can_be_set() -> None:
    assert set(KERNELS_NEED) == set(get_args(Kernels))
    assert {one.name for one in native.available_variants()} <= set(KERNELS_NEED)
    cpu = read_cpu()
    for one in native.available_variants():
        assert KERNELS_NEED[one.name] <= set(cpu.instructions), one.name


def test_kernels_are_not_judged_when_the_instructions_are_unknown() -> None:
    assert problems(config(cpu__kernels="avx512"), WITH_GPU) == []
    assert problems(config(cpu__kernels="avx2"), LAPTOP) == []


@pytest.mark.parametrize(
    ("settings", "setting"),
    [
        ({"memory__max_context": 300000}, "memory.max_context"),
        ({"generation__max_new_tokens": 262144}, "generation.max_new_tokens"),
    ],
)
def test_the_model_has_its_limits(settings: dict, setting: str) -> None:
    found = problems(config(**settings), model=MODEL)
    assert [problem.setting for problem in found] == [setting]


@pytest.mark.parametrize("room", ["machine", "max_bytes"])
def test_a_context_must_fit_the_memory(room: str) -> None:
    limits = {"memory__max_bytes": 8 * GIGABYTE} if room == "max_bytes" else {}
    machine = LAPTOP if room == "machine" else None
    fits = Footprint.of(MODEL).tokens_within(8 * GIGABYTE)
    assert problems(config(memory__max_context=fits, **limits), machine, MODEL) == []
    (problem,) = problems(config(memory__max_context=fits + 1, **limits), machine, MODEL)
    assert problem.setting == "memory.max_bytes"
    assert f"at most {fits}" in problem.remedy


def test_weights_that_do_not_fit_leave_no_context() -> None:
    (problem,) = problems(
        config(optimization__dtype="float32", memory__max_bytes="8 GB"), model=MODEL
    )
    assert problem.wrong.startswith("8.6 GB are needed")
    assert "at most" not in problem.remedy


@pytest.mark.parametrize(
    ("device", "decided", "places"),
    [
        ("cuda:0", None, 1),
        ("cpu", None, 0),
        ("auto", None, 0),
        ("auto", "cuda:0", 1),
        ("auto", "cpu", 0),
    ],
)
def test_the_memory_is_that_of_the_device(device: str, decided: str | None, places: int) -> None:
    """4 GiB on the GPU are too few for the weights, 8 GiB of memory are not."""
    found = problems(config(gpu__device=device), WITH_GPU, MODEL, device=decided)
    assert [problem.setting for problem in found] == ["gpu.max_bytes"] * places


def test_auto_is_refused_where_no_device_has_room() -> None:
    (problem,) = problems(config(memory__max_bytes="3 GB"), WITH_GPU, MODEL)
    assert problem.wrong.endswith("there are 4.3 GB")  # the GPU has the more


def test_a_short_context_is_no_problem_of_an_answer_that_nobody_set() -> None:
    short = MODEL.replace(text_config=replace(MODEL.text_config, max_position_embeddings=512))
    assert problems(UnifiedConfig(), model=short) == []


def test_with_a_recipe_the_footprint_has_to_be_given() -> None:
    with_recipe = config(optimization__recipe="weight_int8", memory__max_bytes="3 GB")
    assert problems(with_recipe, LAPTOP, MODEL) == []
    assert problems(with_recipe, LAPTOP, MODEL, Footprint(2 * 10**9, 100)) == []
    (problem,) = problems(with_recipe, LAPTOP, MODEL, Footprint(4 * 10**9, 100))
    assert problem.setting == "memory.max_bytes"


def test_check_tells_all_problems() -> None:
    check(UnifiedConfig(), LAPTOP, MODEL)
    with pytest.raises(ConfigError, match=r"(?s)cpu\.threads: .*\n.*gpu\.device: "):
        check(config(cpu__threads=99, gpu__device="cuda"), LAPTOP)

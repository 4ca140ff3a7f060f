"""Presets: minimal changes nothing, auto fits the machine."""

from __future__ import annotations

import pytest

from qwen3_vl.config.footprint import Footprint, cache_numbers, parameters
from qwen3_vl.config.machine import GIGABYTE, MachineSpecs
from qwen3_vl.config.model import Qwen3VLConfig
from qwen3_vl.config.presets import PRESETS, preset
from qwen3_vl.config.recipe import parse
from qwen3_vl.config.runtime import UnifiedConfig
from qwen3_vl.config.validation import problems
from qwen3_vl.errors import ConfigError, DeviceError
from qwen3_vl.models.anatomy import Anatomy
from tests.support.tiny_models import CONFIGS

MODEL = Qwen3VLConfig.preset("2b-instruct")


def test_minimal_is_the_plain_model() -> None:
    assert preset("minimal") == UnifiedConfig()


def test_each_preset_gives_up_more() -> None:
    steps = [parse(preset(name).optimization.recipe) for name in list(PRESETS)[:3]]
    assert [len(one) for one in steps] == [0, 2, 2]
    assert [one[1].settings["bits"] for one in steps[1:]] == [8, 4]
    assert all(one.cost for one in PRESETS.values())


def test_an_unknown_preset_is_told_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match="no preset 'turbo'; there are: minimal, balanced, aggre"):
        preset("turbo")


def test_auto_needs_a_machine() -> None:
    with pytest.raises(ConfigError, match="give its MachineSpecs"):
        preset("auto")


@pytest.mark.parametrize(
    ("machine", "device", "dtype", "recipe"),
    [
        (MachineSpecs(4, 16 * GIGABYTE, 8 * GIGABYTE, (8, 6)), "cuda", "auto", ""),
        (MachineSpecs(4, 16 * GIGABYTE, 16 * GIGABYTE, (7, 5)), "cuda", "float32", ""),
        (MachineSpecs(4, 16 * GIGABYTE, 8 * GIGABYTE, (7, 5)), "cpu", "float32", ""),
        (MachineSpecs(4, 16 * GIGABYTE, isa=("amx_bf16",)), "cpu", "auto", ""),
        (MachineSpecs(4, 16 * GIGABYTE), "cpu", "float32", ""),
        (MachineSpecs(4, 8 * GIGABYTE), "cpu", "auto", ""),
        (MachineSpecs(4, 4 * GIGABYTE), "cpu", "auto", "weight_int8|quantized_kv(bits=8)"),
    ],
)
def test_auto_is_exact_where_that_fits(
    machine: MachineSpecs, device: str, dtype: str, recipe: str
) -> None:
    config = preset("auto", machine)
    chosen = (config.gpu.device, config.optimization.dtype, config.optimization.recipe)
    assert chosen == (device, dtype, recipe)
    assert problems(config, machine, MODEL) == []


def test_auto_refuses_a_machine_that_is_too_small() -> None:
    with pytest.raises(DeviceError, match=r"fit 2\.1 GB of memory.* 2\.1 billion weights"):
        preset("auto", MachineSpecs(4, 2 * GIGABYTE))


def test_auto_knows_the_model() -> None:
    tiny = CONFIGS["dense_tied"]
    config = preset("auto", MachineSpecs(1, GIGABYTE), tiny)
    assert config.memory.max_context == tiny.text_config.max_position_embeddings


@pytest.mark.parametrize("model", [MODEL, *CONFIGS.values()], ids=["2b", *CONFIGS])
def test_the_footprint_counts_what_the_skeleton_has(model: Qwen3VLConfig) -> None:
    anatomy = Anatomy.of(model)
    assert parameters(model) == anatomy.parameters
    assert cache_numbers(model) == anatomy.cache_numbers_per_token


def test_a_footprint_and_its_context() -> None:
    footprint = Footprint.of(MODEL, "bfloat16")
    assert footprint == Footprint(2 * 2127532032, 112 * 1024)
    assert footprint.tokens_within(footprint.with_context(100)) == 100
    assert footprint.tokens_within(0) < 0

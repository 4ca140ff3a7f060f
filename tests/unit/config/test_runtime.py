"""The config of a run: its defaults, its checks, and what follows from it on a machine."""

from __future__ import annotations

import math
import pickle

import pytest
from pydantic import ValidationError

from qwen3_vl.config.generation import GenerationConfig
from qwen3_vl.config.machine import GIGABYTE, MachineSpecs
from qwen3_vl.config.recipe import parse
from qwen3_vl.config.runtime import CPUConfig, MemoryConfig, UnifiedConfig, setting_types
from qwen3_vl.errors import ConfigError

LAPTOP = MachineSpecs(cpu_cores=6, memory_bytes=8 * GIGABYTE)


def test_the_default_is_the_plain_model() -> None:
    config = UnifiedConfig()
    assert parse(config.optimization.recipe) == ()
    assert config.optimization.dtype == "auto"
    assert config.generation == {}
    assert config.memory.max_bytes is None


def test_a_config_is_frozen_and_can_be_sent_to_another_process() -> None:
    config = UnifiedConfig(cpu=CPUConfig(threads=2), generation={"seed": 3, "stop": ("a",)})
    with pytest.raises(ValidationError, match="frozen"):
        config.cpu.threads = 4
    assert pickle.loads(pickle.dumps(config)) == config
    assert UnifiedConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize(("text", "count"), [("6 GB", 6 * 10**9), ("1.5GiB", 3 * 2**29), (7, 7)])
def test_sizes_may_have_a_unit(text: str | int, count: int) -> None:
    assert MemoryConfig.model_validate({"max_bytes": text}).max_bytes == count


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"cpu": {"threads": 0}}, "greater than or equal to 1"),
        ({"cpu": {"threads": "4"}}, "valid integer"),
        ({"cpu": {"threads": True}}, "valid integer"),
        ({"cpu": {"cores": 4}}, "cores"),
        ({"cpu": {"kernels": "sse"}}, "avx512"),
        ({"gpu": {"device": "cuda:x"}}, "pattern"),
        ({"memory": {"max_bytes": "lots"}}, "byte string"),
        ({"optimization": {"recipe": "a||b"}}, r"must stand after 'a\|'"),
        ({"optimization": {"dtype": "int3"}}, "float32"),
        ({"generation": {"top_p": 2}}, "top_p is 2.0"),
        ({"generation": {"num_beams": 2}}, "unknown key num_beams"),
        ({"generation": {"do_sample": False, "top_k": 3}}, "makes top_k meaningless"),
        ({"generation": []}, "a table of options"),
    ],
)
def test_what_is_wrong_is_told(data: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        UnifiedConfig.model_validate(data)


def test_generation_holds_only_what_was_given() -> None:
    """So that the checkpoint's own settings stay, and greedy can be asked for against them."""
    config = UnifiedConfig(generation={"do_sample": False, "eos_token_id": None})
    assert config.generation == {"do_sample": False}
    checkpoint = GenerationConfig(do_sample=True, eos_token_id=(7,))
    assert checkpoint.change(config.generation) == GenerationConfig(eos_token_id=(7,))


@pytest.mark.parametrize(
    ("threads", "power", "on_battery", "used"),
    [
        (None, "keep", True, 6),
        (None, "save", False, 6),
        (None, "save", True, 3),
        (4, "save", True, 2),
        (1, "save", True, 1),
    ],
)
def test_threads_follow_from_the_machine_and_its_power(
    threads: int | None, power: str, on_battery: bool, used: int
) -> None:
    data = {"cpu": {"threads": threads}, "power": {"on_battery": power}}
    machine = MachineSpecs(6, 8 * GIGABYTE, on_battery=on_battery)
    assert UnifiedConfig.model_validate(data).threads_on(machine) == used


def test_every_setting_is_explained_in_the_schema() -> None:
    schema = UnifiedConfig.model_json_schema()
    for section in schema["$defs"].values():
        assert section["description"]
        assert all(one["description"] for one in section["properties"].values())
    assert set(schema["properties"]["generation"]["properties"]) == {
        path.removeprefix("generation.") for path in setting_types() if "generation." in path
    }


def test_specs_of_a_machine_in_words() -> None:
    plain = {"gpu_memory": 4, "cpu_cores": 6, "memory_gb": 8}
    assert MachineSpecs.of(plain) == MachineSpecs(6, 8 * GIGABYTE, 4 * GIGABYTE)
    exact = {"cpu_cores": 6, "memory_bytes": 8 * GIGABYTE, "isa": ["avx2"]}
    assert MachineSpecs.of(exact) == MachineSpecs(6, 8 * GIGABYTE, isa=("avx2",))
    assert MachineSpecs.of(LAPTOP) is LAPTOP


@pytest.mark.parametrize(
    ("specs", "message"),
    [
        ({"memory_gb": 8}, "need cpu_cores and memory_gb"),
        ({"cpu_cores": 4, "memory_gb": 8, "gpus": 1}, "unknown key gpus"),
        ({"cpu_cores": 4, "memory_gb": "8"}, "memory_gb is '8'; it must be a number"),
        (
            {"cpu_cores": 4, "memory_gb": math.nan},
            "memory_gb is nan; it must be a number .* finite",
        ),
        ({"cpu_cores": 4, "memory_gb": 8, "gpu_memory": math.inf}, "gpu_memory is inf"),
        ({"cpu_cores": 4.5, "memory_gb": 8}, "cpu_cores is 4.5: input should be a valid integer"),
        ({"cpu_cores": 0, "memory_gb": 8}, "at least 1 core"),
        ({"cpu_cores": 4}, "memory_bytes"),
    ],
)
def test_wrong_specs_are_told(specs: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        MachineSpecs.of(specs)

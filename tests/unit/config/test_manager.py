"""The manager: one config in force, changed whole or not at all, and told to subscribers."""

from __future__ import annotations

import math
from typing import Any

import pytest

from qwen3_vl.config.machine import GIGABYTE, MachineSpecs
from qwen3_vl.config.manager import (
    UnifiedConfigManager,
    create_unified_config_manager,
    get_default_config,
    get_hardware_optimized_config,
)
from qwen3_vl.config.presets import preset
from qwen3_vl.config.runtime import CPUConfig, UnifiedConfig
from qwen3_vl.errors import ConfigError

SPECS = {"gpu_memory": 4, "cpu_cores": 4, "memory_gb": 8}


def test_the_ways_to_a_config() -> None:
    manager = create_unified_config_manager(machine=SPECS)
    assert manager.get_config() == manager.config == get_default_config() == UnifiedConfig()
    assert manager.get_config("balanced") == preset("balanced")
    automatic = preset("auto", MachineSpecs(4, 8 * GIGABYTE, 4 * GIGABYTE))
    assert manager.get_config("auto") == automatic
    assert manager.get_hardware_optimized_config() == automatic
    assert get_hardware_optimized_config(SPECS) == automatic
    assert UnifiedConfigManager().get_hardware_optimized_config(SPECS) == automatic
    with pytest.raises(ConfigError, match="give its MachineSpecs"):
        UnifiedConfigManager().get_hardware_optimized_config()


def test_an_update_changes_what_it_names() -> None:
    manager = create_unified_config_manager(preset="balanced")
    manager.update({"cpu.threads": 2, "gpu": {"device": "cpu"}})
    manager.update(cpu={"threads": 3}, generation={"seed": 1})
    new = manager.update(generation={"top_k": 4})
    assert new is manager.config
    assert (new.cpu.threads, new.gpu.device, new.generation) == (3, "cpu", {"seed": 1, "top_k": 4})
    assert new.optimization == preset("balanced").optimization
    assert manager.settings["cpu.threads"].origin == "update()"
    assert manager.settings["optimization.recipe"].origin == "preset balanced"
    assert manager.update(cpu=CPUConfig(threads=1)).cpu.threads == 1


def test_a_wrong_update_changes_nothing() -> None:
    manager = UnifiedConfigManager()
    told: list[Any] = []
    manager.subscribe(lambda old, new: told.append((old, new)))
    before = manager.config
    for changes in ({"cpu.threads": 2, "cpu.kernels": "sse"}, {"cpu.thread": 2}):
        with pytest.raises(ConfigError, match=r"update\(\)"):
            manager.update(changes)
    assert manager.config is before
    assert manager.settings == {}
    assert told == []


def test_subscribers_are_told_until_they_leave() -> None:
    manager = UnifiedConfigManager()
    told: list[tuple[int | None, int | None]] = []
    leave = manager.subscribe(lambda old, new: told.append((old.cpu.threads, new.cpu.threads)))
    manager.update({"cpu.threads": 2})
    manager.update({"cpu.threads": 2})  # changes nothing
    manager.update({"cpu.threads": 3})
    leave()
    leave()
    manager.update({"cpu.threads": 4})
    assert told == [(None, 2), (2, 3)]


def test_a_subscriber_that_raises_stops_nobody() -> None:
    manager = UnifiedConfigManager()
    told: list[int | None] = []

    def fail(*_: UnifiedConfig) -> None:
        raise OSError("full")

    manager.subscribe(fail)
    manager.subscribe(lambda _, new: told.append(new.cpu.threads))
    with pytest.raises(OSError, match="full"):
        manager.update({"cpu.threads": 2})
    assert manager.config.cpu.threads == 2
    assert told == [2]
    with pytest.raises(OSError, match="full"):
        manager.update({"cpu.threads": 3})
    assert told == [2, 3]


def test_a_subscriber_may_not_update() -> None:
    manager = UnifiedConfigManager()
    manager.subscribe(lambda *_: manager.update({"cpu.threads": 9}))
    with pytest.raises(ConfigError, match="may not change the config"):
        manager.update({"cpu.threads": 2})
    assert manager.config.cpu.threads == 2


def test_an_old_flat_dictionary_is_read() -> None:
    old = {
        "gpu_memory": 4,
        "cpu_cores": 4,
        "memory_gb": 0.5,
        "use_flash_attention": True,
        "use_memory_efficient_attention": False,
        "use_sliding_window": True,
        "temperature": 0.5,
    }
    manager = create_unified_config_manager(preset="balanced", legacy=old)
    assert manager.config == UnifiedConfig.model_validate(
        {
            "memory": {"max_bytes": GIGABYTE // 2, "max_context": 32768},
            "cpu": {"threads": 4},
            "gpu": {"max_bytes": 4 * GIGABYTE},
            "optimization": {"recipe": "flash_attention_2|sliding_window"},
            "generation": {"temperature": 0.5},
        }
    )
    assert manager.settings["cpu.threads"].origin == "old key cpu_cores"


@pytest.mark.parametrize(
    ("old", "message"),
    [
        ({"gpu_memroy": 4}, "unknown key old config: gpu_memroy; did you mean gpu_memory"),
        ({"memory_gb": "8"}, "memory_gb is '8'; it must be a number of gigabytes"),
        (
            {"gpu_memory": math.inf},
            "gpu_memory is inf; it must be a number of gigabytes, and finite",
        ),
        ({7: 4}, "unknown key old config: 7"),
        ({"use_flash_attention": 1}, "use_flash_attention is 1; it must be true or false"),
        ({"cpu_cores": 4, "num_threads": 4}, "say the same twice"),
        ({"cpu_cores": 0}, r"cpu\.threads is 0 \(from old key cpu_cores\)"),
    ],
)
def test_a_wrong_old_dictionary_is_told(old: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        create_unified_config_manager(legacy=old)


@pytest.mark.parametrize("changes", [["cpu.threads"], "cpu.threads=2", UnifiedConfig()])
def test_what_is_no_table_cannot_change_anything(changes: Any) -> None:
    manager = create_unified_config_manager()
    with pytest.raises(ConfigError, match=r"update\(\): takes a table of settings, not a "):
        manager.update(changes)
    assert manager.config == UnifiedConfig()


def test_a_value_that_holds_itself_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(ConfigError, match=r"a value from update\(\) is more than JSON can say"):
        create_unified_config_manager().update({"generation.stop": endless})

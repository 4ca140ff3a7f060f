"""A component is configured at its start and after each change, until it is closed."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest

from qwen3_vl.config.component import ConfigurableComponent
from qwen3_vl.config.manager import UnifiedConfigManager, get_default_config
from qwen3_vl.config.runtime import CPUConfig, UnifiedConfig
from qwen3_vl.errors import ConfigError


class Painter(ConfigurableComponent):
    def __init__(self, config: UnifiedConfig | UnifiedConfigManager | None = None) -> None:
        self.threads: list[int | None] = []
        super().__init__(config)

    def configure(self, config: UnifiedConfig) -> None:
        assert config is self.config
        self.threads.append(config.cpu.threads)


def test_a_config_stays_as_it_is() -> None:
    assert Painter().config == get_default_config()
    with Painter(UnifiedConfig(cpu=CPUConfig(threads=3))) as painter:
        assert painter.threads == [3]


def test_a_manager_is_followed_until_the_end() -> None:
    manager = UnifiedConfigManager()
    with Painter(manager) as painter:
        manager.update({"cpu.threads": 2})
        manager.update({"gpu.device": "cpu"})
        assert painter.config is manager.config
    manager.update({"cpu.threads": 4})
    painter.close()
    assert painter.threads == [None, 2, 2]
    assert painter.config.cpu.threads == 2


def test_nobody_is_told_after_being_closed_during_the_same_change() -> None:
    manager = UnifiedConfigManager()
    manager.subscribe(lambda *_: painter.close())
    painter = Painter(manager)
    manager.update({"cpu.threads": 2})
    assert painter.threads == [None]


def test_one_that_cannot_start_is_not_told_of_changes() -> None:
    class Failing(Painter):
        def configure(self, config: UnifiedConfig) -> None:
            super().configure(config)
            raise OSError("no brush")

    manager = UnifiedConfigManager()
    with pytest.raises(OSError, match="no brush"):
        Failing(manager)
    manager.update({"cpu.threads": 2})


def test_a_change_that_it_cannot_take_comes_out_of_the_update() -> None:
    class Careful(Painter):
        def configure(self, config: UnifiedConfig) -> None:
            if config.cpu.threads == 13:
                raise ConfigError("never 13")
            super().configure(config)

    manager = UnifiedConfigManager()
    with Careful(manager) as careful, Painter(manager) as painter:
        with pytest.raises(ConfigError, match="never 13"):
            manager.update({"cpu.threads": 13})
        manager.update({"cpu.threads": 2})
        assert (careful.threads, painter.threads) == ([None, 2], [None, 13, 2])


def test_a_closed_one_is_let_go() -> None:
    manager = UnifiedConfigManager()
    painter = Painter(manager)
    gone = weakref.ref(painter)
    painter.close()
    del painter
    gc.collect()
    assert gone() is None


def test_what_is_no_config_is_refused() -> None:
    wrong: Any = {"cpu": {"threads": 2}}
    with pytest.raises(ConfigError, match="config is a dict; it must be a UnifiedConfig"):
        Painter(wrong)


def test_a_component_must_say_how_it_is_configured() -> None:
    kind: Any = type("Nothing", (ConfigurableComponent,), {})
    with pytest.raises(TypeError, match="configure"):
        kind()

"""The config of a running program: read once, changed while it runs, told to who depends on it.

manager = create_unified_config_manager(preset="balanced", environment=os.environ)
manager.subscribe(lambda old, new: torch.set_num_threads(new.threads_on(machine)))
manager.update({"cpu.threads": 2})
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeAlias

from qwen3_vl.config import presets
from qwen3_vl.config.legacy import read_legacy
from qwen3_vl.config.machine import MachineSpecs
from qwen3_vl.config.model import Qwen3VLConfig
from qwen3_vl.config.origins import Settings, build, settings_from
from qwen3_vl.config.runtime import UnifiedConfig
from qwen3_vl.config.sources import gather
from qwen3_vl.errors import ConfigError

Subscriber: TypeAlias = Callable[[UnifiedConfig, UnifiedConfig], object]
"""Called with the config before and after a change."""
Specs: TypeAlias = MachineSpecs | Mapping[str, Any]
"""Of a machine; {"cpu_cores": 4, "memory_gb": 8, "gpu_memory": 4} will do."""


class UnifiedConfigManager:
    """Holds the one config that is in force; threads may read and change it."""

    def __init__(self, settings: Settings | None = None, machine: Specs | None = None) -> None:
        self._settings = dict(settings or {})
        self._machine = None if machine is None else MachineSpecs.of(machine)
        self._config = build(self._settings)
        self._subscribers: list[Subscriber] = []
        self._lock = threading.RLock()
        self._telling = False

    @property
    def config(self) -> UnifiedConfig:
        """The config in force."""
        return self._config

    @property
    def settings(self) -> Settings:
        """What was set, with its origins."""
        return dict(self._settings)

    def get_config(self, name: str | None = None) -> UnifiedConfig:
        """The config in force, or the preset of this name."""
        return self._config if name is None else presets.preset(name, self._machine)

    def get_hardware_optimized_config(self, specs: Specs | None = None) -> UnifiedConfig:
        """What suits a machine: the given one, or the one that this manager was made for."""
        specs = self._machine if specs is None else specs
        return presets.preset(presets.AUTO, None if specs is None else MachineSpecs.of(specs))

    def update(self, changes: Mapping[str, Any] | None = None, /, **sections: Any) -> UnifiedConfig:
        """Change settings: `update({"cpu.threads": 2})` or `update(cpu={"threads": 2})`.

        All are checked together before any counts. Then every subscriber is told, also after one
        has raised; its error comes out of here, and the change holds.
        """
        with self._lock:
            if self._telling:
                raise ConfigError("a subscriber may not change the config that it is told about")
            given = settings_from(changes or {}, "update()") | settings_from(sections, "update()")
            settings = self._settings | given
            old, new = self._config, build(settings)
            self._settings, self._config = settings, new
            if new != old:
                self._tell(old, new)
            return new

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Call it after every change; what is returned ends that."""
        with self._lock:
            self._subscribers.append(subscriber)
        return lambda: self._unsubscribe(subscriber)

    def _unsubscribe(self, subscriber: Subscriber) -> None:
        with self._lock:
            if subscriber in self._subscribers:
                self._subscribers.remove(subscriber)

    def _tell(self, old: UnifiedConfig, new: UnifiedConfig) -> None:
        self._telling = True
        with ExitStack() as stack:  # it calls the last first, and all even if some raise
            stack.callback(setattr, self, "_telling", False)
            for subscriber in reversed(self._subscribers):
                stack.callback(subscriber, old, new)


def get_default_config() -> UnifiedConfig:
    """The plain, exact model on whatever the machine has."""
    return UnifiedConfig()


def get_hardware_optimized_config(
    specs: Specs, model: Qwen3VLConfig | None = None
) -> UnifiedConfig:
    """What suits this machine and model, by default the 2B: the preset `auto`."""
    return presets.preset(presets.AUTO, MachineSpecs.of(specs), model)


def create_unified_config_manager(
    preset: str | None = None,
    file: str | Path | None = None,
    environment: Mapping[str, str] | None = None,
    overrides: Iterable[str] = (),
    legacy: Mapping[str, Any] | None = None,
    machine: Specs | None = None,
) -> UnifiedConfigManager:
    """A manager that starts with these sources, the stronger to the right; `legacy` is explicit."""
    specs = None if machine is None else MachineSpecs.of(machine)
    settings = gather(preset, file, environment, overrides, specs)
    return UnifiedConfigManager(settings | read_legacy(legacy or {}), specs)

"""A base for the parts of a program that follow the config while it changes.

class Painter(ConfigurableComponent):
    def configure(self, config):
        self.threads = config.cpu.threads

with Painter(manager) as painter:
    manager.update({"cpu.threads": 2})  # now painter.threads is 2
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING

from qwen3_vl.config.manager import UnifiedConfigManager, get_default_config
from qwen3_vl.config.runtime import UnifiedConfig
from qwen3_vl.errors import ConfigError

if TYPE_CHECKING:
    from typing_extensions import Self


class ConfigurableComponent(ABC):
    """Is configured at its start and, by a manager, after every change until it is closed."""

    def __init__(self, config: UnifiedConfig | UnifiedConfigManager | None = None) -> None:
        """A config stays as it is, a manager is followed; None is the default config.

        This calls `configure`, so an `__init__` of your own calls it last.
        """
        if not isinstance(config, UnifiedConfig | UnifiedConfigManager | None):
            raise ConfigError(
                f"config is a {type(config).__name__}; it must be a UnifiedConfig, or a "
                "UnifiedConfigManager to follow"
            )
        self._leave: Callable[[], None] | None = None
        self._lock = threading.RLock()
        with ExitStack() as stack:
            stack.callback(self.close)
            if isinstance(config, UnifiedConfigManager):
                self._leave = config.subscribe(lambda _, new: self._changed(new))
            with self._lock:  # or an older config could overtake one that another thread sets now
                manager = isinstance(config, UnifiedConfigManager)
                self._follow(config.config if manager else config or get_default_config())
            stack.pop_all()

    @property
    def config(self) -> UnifiedConfig:
        """The config that this was last told of."""
        return self._config

    @abstractmethod
    def configure(self, config: UnifiedConfig) -> None:
        """Do what this config wants; the first time there is no earlier one."""

    def close(self) -> None:
        """Follow no longer; the last config stays."""
        if self._leave is not None:
            self._leave()
            self._leave = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _changed(self, config: UnifiedConfig) -> None:
        if self._leave is not None:  # it may have been closed by who was told of this change before
            self._follow(config)

    def _follow(self, config: UnifiedConfig) -> None:
        with self._lock:
            self._config = config
            self.configure(config)

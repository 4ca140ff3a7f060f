"""Settings that know where they came from: `cpu.threads` is 4, as laptop.toml says.

What several places set is merged with `|`, the stronger on the right; `build` makes the config.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from qwen3_vl.config.reading import refuse_unknown
from qwen3_vl.config.runtime import UnifiedConfig, setting_types
from qwen3_vl.errors import ConfigError


@dataclass(frozen=True)
class Setting:
    """A value, not checked yet, and the place that gave it."""

    value: Any
    origin: str


Settings: TypeAlias = dict[str, Setting]
"""By path, such as `cpu.threads`; a path that is not there has its default."""


def settings_from(data: Mapping[str, Any], origin: str) -> Settings:
    """The settings in a table: {"cpu": {"threads": 4}}, or shorter {"cpu.threads": 4}."""
    try:
        if not isinstance(data, Mapping):
            raise ConfigError(f"takes a table of settings, not a {type(data).__name__}")
        settings: Settings = {}
        for path, value in _flat(data):
            if path in settings:
                raise ConfigError(f"gives {path} twice; keep one")
            settings[path] = Setting(value, origin)
        refuse_unknown(settings, setting_types())
    except ConfigError as error:
        raise ConfigError(f"{origin}: {error}") from None
    return settings


def build(settings: Settings) -> UnifiedConfig:
    """The config of these settings, checked; an error tells each wrong value's origin."""
    data: dict[str, dict[str, Any]] = {}
    for path, setting in settings.items():
        section, name = path.split(".")
        data.setdefault(section, {})[name] = setting.value
    try:
        # As JSON, where an array may become a tuple; dates, which JSON lacks, become wrong texts.
        return UnifiedConfig.model_validate_json(json.dumps(data, default=str))
    except ValidationError as error:
        explained = (_explain(one, settings) for one in error.errors())
        raise ConfigError("; ".join(explained)) from None
    except (ValueError, RecursionError) as error:  # such as a list that holds itself
        origins = _joined(one.origin for one in settings.values())
        raise ConfigError(f"a value from {origins} is more than JSON can say: {error}") from None


def _flat(data: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in data.items():
        if key not in UnifiedConfig.model_fields:
            yield str(key), value
        elif isinstance(value, BaseModel):
            yield from _within(key, value.model_dump(exclude_unset=True))
        elif isinstance(value, Mapping):
            yield from _within(key, value)
        elif value is not None:  # null is how YAML writes an empty section
            raise ConfigError(f"{key} is {value!r}; it is a section and takes a table of settings")


def _within(section: str, values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    return ((f"{section}.{name}", value) for name, value in values.items())


def _explain(error: ErrorDetails, settings: Settings) -> str:
    if error["type"] == "json_invalid":  # half a character, or lists in lists without end
        origins = _joined(setting.origin for setting in settings.values())
        return f"a value from {origins} is more than JSON can say: {error['msg'].lower()}"
    path = ".".join(map(str, error["loc"][:2]))
    origins = _joined(s.origin for p, s in settings.items() if f"{p}.".startswith(f"{path}."))
    if error["type"] == "value_error":  # raised by our own checks, in our words
        return f"{path} (from {origins}): {error.get('ctx', {})['error']}"
    return f"{path} is {error['input']!r} (from {origins}): {error['msg'].lower()}"


def _joined(origins: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(origins))

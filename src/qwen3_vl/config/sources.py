"""Where settings are read from: presets, files, the environment, the command line.

Stronger from left to right: defaults < preset < file < environment < explicit.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from qwen3_vl.config.machine import MachineSpecs
from qwen3_vl.config.model import Qwen3VLConfig
from qwen3_vl.config.origins import Settings, settings_from
from qwen3_vl.config.presets import preset_settings
from qwen3_vl.config.runtime import setting_types
from qwen3_vl.errors import ConfigError, DependencyError

PREFIX = "QWEN3_VL__"
"""Of environment variables that are settings, such as `QWEN3_VL__CPU__THREADS=4`."""


def gather(
    preset: str | None = None,
    file: str | Path | None = None,
    environment: Mapping[str, str] | None = None,
    overrides: Iterable[str] = (),
    machine: MachineSpecs | None = None,
    model: Qwen3VLConfig | None = None,
) -> Settings:
    """The settings of all given sources, the stronger over the weaker.

    The preset `auto` follows from the machine and the model, by default the 2B.
    """
    return (
        ({} if preset is None else preset_settings(preset, machine, model))
        | ({} if file is None else read_file(file))
        | read_environment(environment or {})
        | read_overrides(overrides)
    )


def read_file(path: str | Path) -> Settings:
    """The settings in a TOML, YAML or JSON file, told apart by its ending."""
    path = Path(path)
    if path.suffix not in _FORMATS:
        raise ConfigError(f"{path}: a config file ends in {', '.join(_FORMATS)}")
    try:
        data = _FORMATS[path.suffix](path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except RecursionError:
        raise ConfigError(f"{path} is nested too deeply to be read") from None
    except ValueError as error:
        raise ConfigError(f"{path} is not valid {path.suffix[1:].upper()}: {error}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{path} holds {type(data).__name__}, not sections of settings")
    return settings_from(data, str(path))


def read_environment(environment: Mapping[str, str]) -> Settings:
    """The settings among environment variables, for which `os.environ` can be given."""
    settings: Settings = {}
    for variable, text in environment.items():
        if variable.startswith(PREFIX):
            path = variable.removeprefix(PREFIX).replace("__", ".").lower()
            settings |= _setting(path, text, variable)
    return settings


def read_overrides(overrides: Iterable[str]) -> Settings:
    """The settings of texts such as `cpu.threads=4`."""
    settings: Settings = {}
    for override in overrides:
        path, equals, text = override.partition("=")
        if not equals:
            raise ConfigError(f"{override!r} is not a setting; write section.field=value")
        settings |= _setting(path.strip(), text.strip(), "override")
    return settings


def _setting(path: str, text: str, origin: str) -> Settings:
    """One setting from a text, which is JSON if the setting takes what it says, else itself."""
    kind = setting_types().get(path)
    value: Any = text
    if kind is not None:
        try:
            value = TypeAdapter(kind).validate_json(text, strict=True)
        except ValidationError:
            value = text
    return settings_from({path: value}, origin)


def _read_toml(text: str) -> Any:
    if sys.version_info < (3, 11):
        raise DependencyError(
            "Python reads TOML from version 3.11 on; with 3.10 write the same settings as JSON"
        )
    import tomllib

    return tomllib.loads(text)


def _read_yaml(text: str) -> Any:
    try:
        import yaml
    except ImportError as error:
        raise DependencyError(
            "reading YAML needs PyYAML: pip install pyyaml, or write the settings as JSON"
        ) from error

    class Loader(yaml.SafeLoader):
        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            _refuse_twice(str(key.value) for key, _ in node.value)
            return super().construct_mapping(node, deep)

    try:
        return Loader(text).get_single_data()
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error


def _read_json(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_table)


def _table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    _refuse_twice(key for key, _ in pairs)
    return dict(pairs)


def _refuse_twice(keys: Iterable[str]) -> None:
    """TOML refuses a key that stands twice in a table; the others would take the last one."""
    for key, times in Counter(keys).items():
        if times > 1:
            raise ValueError(f"{key} is given twice; keep one")


_FORMATS: Mapping[str, Callable[[str], Any]] = {
    ".toml": _read_toml,
    ".yaml": _read_yaml,
    ".yml": _read_yaml,
    ".json": _read_json,
}

"""A config as text, each value with where it came from; TOML and YAML can be read again.

In them what nobody set is a comment, so that who reads the text sets nothing more than was set.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Literal, TypeAlias

from qwen3_vl.config.origins import Setting, Settings, build
from qwen3_vl.config.runtime import setting_types

Format: TypeAlias = Literal["toml", "yaml", "json"]


def write(settings: Settings, form: Format = "toml") -> str:
    """All that can be set, section by section; in JSON an object of value and origin for each."""
    sections = _in_force(settings)
    if form == "json":
        shown = {
            section: {name: vars(setting) for name, setting in fields.items()}
            for section, fields in sections.items()
        }
        return json.dumps(shown, indent=2, ensure_ascii=False) + "\n"
    blocks = (
        "\n".join(_block(section, fields, settings, form)) for section, fields in sections.items()
    )
    return "\n\n".join(blocks) + "\n"


def _in_force(settings: Settings) -> dict[str, dict[str, Setting]]:
    """Every value after the checks, with its origin."""
    values = build(settings).model_dump(mode="json")
    sections: dict[str, dict[str, Setting]] = {}
    for path in setting_types():
        section, name = path.split(".")
        unset = "as the checkpoint says" if section == "generation" else "default"
        origin = settings[path].origin if path in settings else unset
        sections.setdefault(section, {})[name] = Setting(values[section].get(name), origin)
    return sections


def _block(
    section: str, fields: dict[str, Setting], settings: Settings, form: Format
) -> Iterator[str]:
    header, indent, equals = (
        (f"[{section}]", "", " =") if form == "toml" else (f"{section}:", "  ", ":")
    )
    yield header
    for name, setting in fields.items():
        unset = setting.value is None or f"{section}.{name}" not in settings
        comment = "# " if unset else ""
        value = _printable(json.dumps(setting.value, ensure_ascii=False))
        yield f"{indent}{comment}{name}{equals} {value}  # {_printable(setting.origin)}"


def _printable(text: str) -> str:
    """With what cannot be printed escaped; JSON is then good in TOML and YAML too."""
    return "".join(c if c.isprintable() or ord(c) > 0xFFFF else f"\\u{ord(c):04x}" for c in text)

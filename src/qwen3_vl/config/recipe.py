"""The grammar of recipes: `weight_int8|quantized_kv(bits=8)` to steps, and back.

    recipe   nothing, or steps joined with |
    step     name, or name(key=value, …)
    value    8, 0.5, true, false, null, word, folder/file.json, "any text", or a [list, of, these]

Techniques and their settings are not known here; who builds them from the steps checks them.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NoReturn, TypeAlias, TypeVar

from qwen3_vl.errors import ConfigError

Scalar: TypeAlias = "bool | int | float | str | None"
Value: TypeAlias = "Scalar | tuple[Scalar, ...]"
"""What a setting can be. A list becomes a tuple; lists do not nest."""

T = TypeVar("T")

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")
_LITERAL = re.compile(r'-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?|"(?:[^"\\]|\\.)*"')
_CONSTANTS: Mapping[str, bool | None] = {"true": True, "false": False, "null": None}


@dataclass(frozen=True)
class Step:
    """One technique of a recipe by name, with the settings given to it; `str` writes it again."""

    name: str
    settings: Mapping[str, Value] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        for name in (self.name, *self.settings):
            if not _NAME.fullmatch(name):
                raise ConfigError(f"{name!r} is not a name; names are of letters, digits and _")
        for key, value in self.settings.items():
            for one in value if isinstance(value, tuple) else (value,):
                if not _is_writable(one):
                    raise ConfigError(
                        f"{self.name}({key}={one!r}) cannot stand in a recipe; a value is finite "
                        "and is a number, true, false, null, a text, or a tuple of these"
                    )

    def __str__(self) -> str:
        if not self.settings:
            return self.name
        settings = (f"{key}={written(value)}" for key, value in self.settings.items())
        return f"{self.name}({', '.join(settings)})"


def parse(text: str) -> tuple[Step, ...]:
    """Read a recipe; the empty one has no steps and means the plain, exact model.

    Raises:
        ConfigError: the text breaks the grammar; the message points at the place.
    """
    reader = _Reader(text)
    if reader.at_end():
        return ()
    steps = [_step(reader)]
    while reader.takes("|"):
        steps.append(_step(reader))
    if not reader.at_end():
        reader.fail("'|' and another step, or the end,")
    return tuple(steps)


def _step(reader: _Reader) -> Step:
    name = reader.take(_NAME, "the name of a technique")
    if not reader.takes("("):
        return Step(name)
    settings: dict[str, Value] = {}
    for key, value in reader.listed(_setting, ")"):
        if key in settings:
            raise ConfigError(f"the recipe gives {name} its {key} twice; keep one")
        settings[key] = value
    return Step(name, settings)


def _setting(reader: _Reader) -> tuple[str, Value]:
    key = reader.take(_NAME, "the name of a setting")
    reader.need("=")
    if reader.takes("["):
        return key, tuple(reader.listed(_scalar, "]"))
    return key, _scalar(reader)


def _scalar(reader: _Reader) -> Scalar:
    if reader.sees(_LITERAL):
        literal = reader.take(_LITERAL, "a number or a text")
        try:
            return json.loads(literal)
        except ValueError as error:
            raise ConfigError(f"{literal} in the recipe cannot be read: {error}") from None
    word = reader.take(_WORD, 'a value (a number, true, false, null, a word or a "text")')
    if word.lower() in _CONSTANTS and word not in _CONSTANTS:
        raise ConfigError(f'{word} in the recipe: write {word.lower()}, or "{word}" for the text')
    return _CONSTANTS.get(word, word)


def _is_writable(value: object) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or isinstance(value, (bool, int, str))


def written(value: Value) -> str:
    """A setting's value as a recipe can give it."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(written, value))}]"
    if isinstance(value, str) and _WORD.fullmatch(value) and value.lower() not in _CONSTANTS:
        return value
    return json.dumps(value, ensure_ascii=False)


class _Reader:
    """A place in a text, moved on by what is read; space between what is read counts nothing."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._skip_space()

    def at_end(self) -> bool:
        return self._at == len(self._text)

    def sees(self, pattern: re.Pattern[str]) -> bool:
        return pattern.match(self._text, self._at) is not None

    def take(self, pattern: re.Pattern[str], wanted: str) -> str:
        """Read what fits the pattern; `wanted` is its name for the error."""
        found = pattern.match(self._text, self._at)
        if found is None:
            self.fail(wanted)
        self._at = found.end()
        self._skip_space()
        return found[0]

    def takes(self, symbol: str) -> bool:
        """Read the symbol if it stands here, and say whether it did."""
        there = self._text.startswith(symbol, self._at)
        if there:
            self._at += len(symbol)
            self._skip_space()
        return there

    def need(self, symbol: str) -> None:
        if not self.takes(symbol):
            self.fail(repr(symbol))

    def listed(self, item: Callable[[_Reader], T], end: str) -> list[T]:
        """Read items with commas between them, up to the closing bracket and with it."""
        if self.takes(end):
            return []
        items = [item(self)]
        while self.takes(","):
            items.append(item(self))
        if not self.takes(end):
            self.fail(f"',' or {end!r}")
        return items

    def fail(self, wanted: str) -> NoReturn:
        before, after = self._text[: self._at], self._text[self._at :]
        place = f"after {before!r}" if before else "at the start"
        found = f"not {after!r}" if after else "but it ends there"
        raise ConfigError(f"recipe: {wanted} must stand {place}, {found}")

    def _skip_space(self) -> None:
        while self._at < len(self._text) and self._text[self._at].isspace():
            self._at += 1

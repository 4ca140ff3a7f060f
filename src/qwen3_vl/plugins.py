"""Finds techniques: the files below `optimization`, and what other packages add by entry point.

There is no list to edit. A file's name is the technique's name in recipes, tables and docs, and
holds one public class of that name in CamelCase.
"""

from __future__ import annotations

import dataclasses
import pkgutil
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from inspect import getdoc
from types import ModuleType
from typing import Any, cast

from qwen3_vl.config.recipe import written
from qwen3_vl.errors import PluginError
from qwen3_vl.plan import Bounded, Exact, Guarantee, Neutral, Optimization
from qwen3_vl.seams import Seams

GROUP = "qwen3_vl.optimizations"
"""The entry point group; an entry's name is the technique's, its value the module and class."""

_CARD = ("Paper", "Seam", "Gives", "Costs", "Avoid")


@dataclass(frozen=True)
class Technique:
    """What is known of a technique before it is used."""

    name: str
    kind: type[Optimization]
    title: str
    card: dict[str, str] = dataclasses.field(hash=False)
    """The lines Paper, Seam, Gives, Costs and Avoid of its docstring."""

    @property
    def guarantee(self) -> Guarantee:
        """Exact, neutral at some settings, or bounded."""
        return self.kind.guarantee


@cache
def techniques() -> dict[str, Technique]:
    """All techniques by name, those of this package first.

    Raises:
        PluginError: one of them breaks the contract; the message names it and says how.
    """
    found = {name: _technique(name, _class_in(module, name)) for name, module in _own().items()}
    for entry in entry_points(group=GROUP):
        if entry.name in found:
            raise PluginError(f"{entry.value}: there is a technique {entry.name!r} already")
        found[entry.name] = _technique(entry.name, _loaded(entry))
    return found


def promise(technique: Technique) -> str:
    """What a technique guarantees, in words."""
    guarantee = technique.guarantee
    if isinstance(guarantee, Exact):
        return "exact: the same answers"
    if isinstance(guarantee, Bounded):
        return f"bounded: logits change by at most {guarantee.error:.0%} of their size"
    settings = ", ".join(f"{key}={written(value)}" for key, value in guarantee.settings.items())
    return f"neutral at {settings}: the same answers there"


def _own() -> dict[str, ModuleType]:
    root = import_module("qwen3_vl.optimization")
    modules = pkgutil.walk_packages(root.__path__, f"{root.__name__}.")
    return {
        one.name.rpartition(".")[2]: import_module(one.name) for one in modules if not one.ispkg
    }


def _loaded(entry: EntryPoint) -> Any:
    try:
        return entry.load()
    except Exception as error:  # another package may fail in any way
        raise PluginError(
            f"{entry.name}: {entry.value} of {_package(entry)} cannot be imported: {error!r}; "
            "mend that package, or uninstall it"
        ) from error


def _package(entry: EntryPoint) -> str:
    return "an installed package" if entry.dist is None else entry.dist.name


def _class_in(module: ModuleType, name: str) -> type:
    wanted = name.replace("_", "")
    for key, value in vars(module).items():
        if isinstance(value, type) and key.lower() == wanted:
            return value
    raise PluginError(f"{module.__name__} holds no class that is called like the file")


def _technique(name: str, kind: type) -> Technique:
    """Read a technique's card and check the contract that can be checked without running it."""
    if not dataclasses.is_dataclass(kind) or not kind.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        raise PluginError(f"{name} must be a frozen dataclass; its fields are its settings")
    if kind.__module__.rpartition(".")[2] != name:
        raise PluginError(f"{name} must stand in a file of that name, not in {kind.__module__}")
    guarantee = getattr(kind, "guarantee", None)
    if not isinstance(guarantee, Exact | Neutral | Bounded):
        raise PluginError(f"{name} must say `guarantee`: Exact(), Neutral(…) or Bounded(…)")
    if isinstance(guarantee, Neutral):
        settings = [one.name for one in dataclasses.fields(kind)]
        if odd := ", ".join(set(guarantee.settings) - set(settings)):
            raise PluginError(
                f"{name} is to be neutral at {odd}, which is no setting of it; "
                f"there are: {', '.join(settings)}"
            )
    if not callable(getattr(kind, "apply", None)):
        raise PluginError(f"{name} must have apply(plan) -> plan")
    title, _, rest = (getdoc(kind) or "").partition("\n")
    card = _card(rest)
    missing = [line for line in _CARD if line not in card]
    if missing or not title:
        raise PluginError(f"{name}: its docstring lacks the line {', '.join(missing) or 'title'}")
    if card["Seam"] not in Seams.__dataclass_fields__:
        known = ", ".join(Seams.__dataclass_fields__)
        raise PluginError(f"{name}: there is no seam {card['Seam']!r}; there are: {known}")
    return Technique(name, cast(type[Optimization], kind), title.rstrip("."), card)


def _card(text: str) -> dict[str, str]:
    """The lines `Name: text`; a line that goes on is indented."""
    card: dict[str, str] = {}
    last = ""
    for line in text.splitlines():
        name, colon, value = line.partition(": ")
        if colon and name in _CARD:
            last = name
            card[name] = value.strip()
        elif last and line.startswith(" "):
            card[last] += " " + line.strip()
        elif line.strip():
            last = ""
    return card

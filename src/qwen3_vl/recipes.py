"""Recipes: `weight_int8|sliding_window(window=2048)` to a plan, checked before a weight is read."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Any

import torch
from pydantic.errors import PydanticUserError

from qwen3_vl.config.model import Qwen3VLConfig
from qwen3_vl.config.reading import checked, refuse_unknown
from qwen3_vl.config.recipe import Step, parse
from qwen3_vl.errors import ConfigError, PluginError
from qwen3_vl.plan import Optimization, Plan
from qwen3_vl.plugins import Technique, techniques


def compile_recipe(
    recipe: str | Sequence[Optimization],
    config: Qwen3VLConfig,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
) -> Plan:
    """The plan of a recipe, given as text or as techniques, for a model of this shape.

    Where `device` and `dtype` are decided, it is checked for them too.

    Raises:
        ConfigError: a technique or a setting is unknown, or out of range.
        Incompatible: two techniques, or a technique and the model or device, do not go together.
        PluginError: a technique breaks the contract.
    """
    if not isinstance(recipe, Iterable):
        raise ConfigError(
            f"recipe is a {type(recipe).__name__}; it must be a text, such as "
            '"weight_int8|quantized_kv(bits=8)", or a list of techniques'
        )
    steps = map(build, parse(recipe)) if isinstance(recipe, str) else recipe
    plan = Plan(config, torch.device(device), dtype)
    for step in steps:
        plan = plan.then(step)
    return plan


def build(step: Step) -> Optimization:
    """The technique of one step, its settings checked."""
    technique = find(step.name)
    where = f"{step.name}."
    kind: Any = technique.kind
    refuse_unknown(step.settings, [one.name for one in fields(kind) if one.init], where)
    try:
        return checked(kind, step.settings)
    except ConfigError as error:
        raise ConfigError(f"{step.name}: {error}") from None
    except PydanticUserError as error:
        raise PluginError(f"{step.name}: a setting has no type that JSON has: {error}") from error


def find(name: str) -> Technique:
    """A technique by its name."""
    known = techniques()
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(known)}"
    raise ConfigError(f"there is no technique {name!r}; {hint}")

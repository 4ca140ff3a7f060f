"""Techniques as the tests run them: at settings with which they have something to do.

A technique's own test file says which settings these are, in a function `small(folder)`; `folder`
is empty and its own, for techniques that read a file. One without such a function runs as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import MISSING, fields
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from qwen3_vl.config.recipe import Step
from qwen3_vl.errors import Incompatible
from qwen3_vl.plan import Optimization
from qwen3_vl.plugins import techniques
from qwen3_vl.recipes import build, compile_recipe
from qwen3_vl.testing import tiny_config


@cache
def small_settings(name: str, folder: Path) -> dict[str, Any]:
    """What the technique's test file says; made once for each folder."""
    path = techniques()[name].kind.__module__.split(".")
    tests = ".".join(["tests", "unit", *path[1:-1], f"test_{name}"])
    if path[0] != "qwen3_vl" or find_spec(tests) is None:
        return {}
    told = getattr(import_module(tests), "small", None)
    return told(Path(mkdtemp(dir=folder))) if told else {}


def small(name: str, folder: Path) -> Optimization:
    """The technique at these settings."""
    return build(Step(name, small_settings(name, folder)))


def needed(name: str, folder: Path) -> dict[str, Any]:
    """Those of the settings that have no default."""
    required = {
        one.name
        for one in fields(techniques()[name].kind)  # type: ignore[arg-type]
        if one.default is MISSING and one.default_factory is MISSING
    }
    return {key: value for key, value in small_settings(name, folder).items() if key in required}


def refused(steps: Sequence[Optimization]) -> str:
    """Why a plan with these techniques is refused; empty if it is not."""
    try:
        compile_recipe(steps, tiny_config())
    except Incompatible as error:
        return str(error)
    return ""

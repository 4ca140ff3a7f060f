"""Puts other modules where linear ones stand, by the rules of the `linear` seam."""

from __future__ import annotations

import re
from collections.abc import Sequence

from torch import nn

from qwen3_vl.errors import ConfigError
from qwen3_vl.seams import LinearRule


def swap_linears(model: nn.Module, rules: Sequence[LinearRule]) -> None:
    """Replace each linear module that a rule matches, on the skeleton, before weights are read."""
    for path, old in linears(model).items():
        for rule in rules:
            if matching(rule, path):
                bias = old.bias is not None
                new = rule.format.linear(old.in_features, old.out_features, bias=bias)
                parent, _, name = path.rpartition(".")
                model.get_submodule(parent).register_module(name, new)


def linears(model: nn.Module) -> dict[str, nn.Linear]:
    """All linear modules by name."""
    return {path: one for path, one in model.named_modules() if isinstance(one, nn.Linear)}


def matching(rule: LinearRule, path: str) -> bool:
    """Whether a rule holds for the module of this name."""
    return re.search(rule.pattern, path) is not None


def check_pattern(modules: str) -> None:
    """Refuse what is no regular expression."""
    try:
        re.compile(modules)
    except re.error as error:
        raise ConfigError(f"modules {modules!r} is not a regular expression: {error}") from None

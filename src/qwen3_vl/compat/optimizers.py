"""Techniques for a model that is loaded already, under the names of older layouts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, TypeAlias, TypeVar

from qwen3_vl.config.legacy import SWITCHES
from qwen3_vl.config.reading import refuse_unknown
from qwen3_vl.config.recipe import Step, parse
from qwen3_vl.config.runtime import UnifiedConfig
from qwen3_vl.errors import ConfigError, Incompatible
from qwen3_vl.models.pretrained import Qwen3VLPreTrainedModel
from qwen3_vl.plan import Answer, Optimization, Plan, name_of, require_technique
from qwen3_vl.recipes import build, find
from qwen3_vl.seams import Seams

Recipe: TypeAlias = UnifiedConfig | str | Sequence[Optimization] | Mapping[str, Any]
"""A recipe as text, as techniques, as the one in a config, of which nothing else counts, or as the
switches of older versions: {"use_sliding_window": True, "window_size": 1024}."""

M = TypeVar("M", bound=Qwen3VLPreTrainedModel)

_CACHE = ("kv_format", "retain")
"""The seams that are about the cache."""
_SETTINGS: Mapping[str, tuple[str, str]] = {
    "heavy_hitter_size": ("use_heavy_hitter", "keep"),
    "quantization_bits": ("use_kv_quantization", "bits"),
    "sink_size": ("use_sliding_window", "sinks"),
    "window_size": ("use_sliding_window", "window"),
}
"""Each belongs to a switch, and is a setting of its technique."""


class UnifiedOptimizationManager:
    """Puts the techniques of a recipe on a loaded model."""

    def __init__(self, config: Recipe) -> None:
        """Each technique is checked here; whether they fit each other and a model, when applied.

        Raises:
            ConfigError: a technique, switch or setting is unknown, or out of range.
        """
        self.steps = _steps(config)

    def apply_optimizations(self, model: M) -> M:
        """A model with these techniques and the same weights; the given one stays as it was."""
        return _with_techniques(model, self.steps)


class KVCacheOptimizer:
    """Puts techniques on a loaded model that make its cache smaller."""

    def __init__(self, config: Recipe) -> None:
        """Each technique is checked here; whether they fit each other and a model, when applied.

        Raises:
            ConfigError: a technique, switch or setting is unknown, or out of range.
            Incompatible: a technique is not about the cache.
        """
        self.steps = _steps(config)
        for name in map(name_of, self.steps):
            seam = find(name).card["Seam"]
            if seam not in _CACHE:
                raise Incompatible(
                    f"{name} is about the seam {seam!r}, not about the cache ({', '.join(_CACHE)});"
                    " use UnifiedOptimizationManager, or from_pretrained with the whole recipe"
                )

    def apply_optimizations(self, model: M) -> M:
        """A model with these techniques and the same weights; the given one stays as it was."""
        return _with_techniques(model, self.steps)


def _steps(config: Recipe) -> tuple[Optimization, ...]:
    if isinstance(config, Mapping):
        return _switched_on(config)
    recipe = config.optimization.recipe if isinstance(config, UnifiedConfig) else config
    if isinstance(recipe, str):
        return tuple(map(build, parse(recipe)))
    if not isinstance(recipe, Sequence):
        raise ConfigError(
            f"config is a {type(config).__name__}; it must be a UnifiedConfig, a recipe such as "
            '"sliding_window(window=1024)", or a list of techniques'
        )
    for step in recipe:
        require_technique(step)
    return tuple(recipe)


def _switched_on(old: Mapping[str, Any]) -> tuple[Optimization, ...]:
    """The techniques that an old flat dictionary switches on, with their settings in it."""
    refuse_unknown(old, [*SWITCHES, *_SETTINGS], "old config: ")
    steps: list[Optimization] = []
    for switch, name in SWITCHES.items():
        keys = [key for key, (owner, _) in _SETTINGS.items() if owner == switch and key in old]
        wanted = old.get(switch, False)
        if not isinstance(wanted, bool):
            raise ConfigError(f"old config: {switch} is {wanted!r}; it must be true or false")
        if wanted:
            steps.append(build(Step(name, {_SETTINGS[key][1]: old[key] for key in keys})))
        elif keys:
            raise ConfigError(f"old config: {keys[0]} needs {switch}: true; set it, or drop both")
    return tuple(steps)


def _with_techniques(model: M, steps: Sequence[Optimization]) -> M:
    """Add techniques to those that the model has; the laws of the seams hold for all together."""
    defaults = {one.name: one.default for one in fields(Seams)}
    had = [name for name, plain in defaults.items() if getattr(model.seams, name) != plain]
    answers = tuple(Answer(name, "the given model") for name in had)
    plan = Plan(model.config, model.device, model.dtype, model.seams, answers=answers)
    for step in steps:
        plan = plan.then(step)
    return model.with_seams(plan.seams)

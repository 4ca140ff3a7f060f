"""Recipes become plans, or are refused with the way out, before a weight is read."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from types import ModuleType
from typing import Any

import pytest

from qwen3_vl import plugins
from qwen3_vl.config.model import Qwen3VLConfig
from qwen3_vl.config.presets import preset
from qwen3_vl.errors import ConfigError, Incompatible, PluginError
from qwen3_vl.ops.attention import attention
from qwen3_vl.optimization.precision.weight_int8 import WeightInt8
from qwen3_vl.plan import Neutral
from qwen3_vl.recipes import compile_recipe
from qwen3_vl.seams import PLAIN
from qwen3_vl.testing import tiny_config


def test_the_empty_recipe_is_the_plain_model() -> None:
    assert compile_recipe("", tiny_config()).seams == PLAIN
    assert PLAIN.mixer is attention


@pytest.mark.parametrize("name", ["minimal", "balanced", "aggressive"])
def test_the_recipes_of_the_presets_fit_the_2b_model(name: str) -> None:
    shape = Qwen3VLConfig.preset("2b-instruct")
    plan = compile_recipe(preset(name).optimization.recipe, shape)
    plain = compile_recipe("", shape).footprint("bfloat16")
    assert plain.weights == 2 * 2_127_532_032
    assert (plan.footprint("bfloat16").weights < 0.7 * plain.weights) == (name != "minimal")


def test_a_recipe_answers_seams_in_order() -> None:
    plan = compile_recipe("sliding_window(window=9)|heavy_hitter|weight_int8", tiny_config())
    assert [(one.seam, one.by) for one in plan.answers] == [
        ("retain", "sliding_window"),
        ("retain", "heavy_hitter"),
        ("linear", "weight_int8"),
    ]
    assert [type(one).__name__ for one in plan.seams.retain] == ["SlidingWindow", "HeavyHitter"]
    assert plan.steps[0].window == 9  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("recipe", "error", "cause"),
    [
        ("sliding_windw", ConfigError, "did you mean sliding_window"),
        ("zzz", ConfigError, "there are: "),
        ("sliding_window(windw=3)", ConfigError, r"sliding_window.windw; did you mean window"),
        ("sliding_window(window=wide)", ConfigError, "window is 'wide'"),
        ("sliding_window(window=true)", ConfigError, "window is True: input should be a valid int"),
        ('sliding_window(window="5")', ConfigError, "window is '5': input should be a valid int"),
        ("adaptive_depth(skip=[true])", ConfigError, "skip.0 is True"),
        ("sliding_window(window=0)", ConfigError, "window must be at least 1"),
        ("quantized_kv(bits=5)", ConfigError, "bits is 5: input should be 4 or 8"),
        ("quantized_kv(group=24)", Incompatible, "choose a group that divides 32"),
        ("heavy_hitter(keep=10)", ConfigError, "no place is left"),
        ("flash_attention_2|memory_efficient_attention", Incompatible, "one technique at most"),
        ("quantized_kv|quantized_kv(bits=4)", Incompatible, "drop one"),
        ("weight_int8|weight_int8", Incompatible, "both store model"),
        ("weight_int8(modules=nothing)", Incompatible, "no linear module .* fits 'nothing'"),
        ('weight_int8(modules="(")', ConfigError, "not a regular expression"),
    ],
)
def test_what_cannot_be_is_refused(recipe: str, error: type[Exception], cause: str) -> None:
    with pytest.raises(error, match=cause):
        compile_recipe(recipe, tiny_config())


GUEST = '''
from dataclasses import dataclass
from qwen3_vl.ops.attention import attention
from qwen3_vl.plan import Exact

@dataclass(frozen=True)
class Guest:
    """A technique of another package.

    Paper: none
    Seam: mixer
    Gives: nothing
    Costs: nothing
    Avoid: always
    """

    guarantee = Exact()

    def apply(self, plan):
        return plan.answer(self, mixer=attention)
'''


@pytest.fixture
def guest(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """An installed package with a technique in a file of its name."""
    module = ModuleType("guests.guest")
    monkeypatch.setitem(sys.modules, "guests.guest", module)
    exec(GUEST, vars(module))
    entry = EntryPoint("guest", "guests.guest:Guest", plugins.GROUP)
    monkeypatch.setattr(plugins, "entry_points", lambda group: [entry])  # noqa: ARG005
    plugins.techniques.cache_clear()
    yield module
    plugins.techniques.cache_clear()


def test_an_entry_point_adds_a_technique(guest: ModuleType) -> None:
    plan = compile_recipe("guest", tiny_config())
    assert type(plan.steps[0]) is guest.Guest
    assert plan.answers[0].by == "guest"


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"guarantee": None}, "must say `guarantee`"),
        ({"__doc__": "No card."}, "lacks the line Paper, Seam, Gives, Costs, Avoid"),
        (
            {"__doc__": "A.\n\nPaper: p\nSeam: engine\nGives: g\nCosts: c\nAvoid: a"},
            "no seam 'engine'",
        ),
        ({"apply": None}, "must have apply"),
        ({"__module__": "guests.other"}, "must stand in a file of that name"),
        ({"guarantee": Neutral({"wide": 1})}, "neutral at wide, which is no setting of it"),
        ({"apply": lambda self, plan: None}, "answers no seam"),  # noqa: ARG005
        ({"apply": lambda self, plan: plan}, "answers no seam"),  # noqa: ARG005
        ({"apply": lambda self, plan: plan.answer(self, engine=1)}, "no seam 'engine'"),
    ],
)
def test_a_plug_in_that_breaks_the_contract_is_named(
    guest: ModuleType, change: dict[str, object], cause: str
) -> None:
    for name, value in change.items():
        setattr(guest.Guest, name, value)
    with pytest.raises(PluginError, match=f"guest.*{cause}"):
        compile_recipe("guest", tiny_config())


@pytest.mark.parametrize("value", ["nowhere.guest:Guest", "guests.guest:Other", "guests.guest:"])
def test_a_plug_in_that_cannot_be_imported_is_named(
    guest: ModuleType,  # noqa: ARG001
    monkeypatch: pytest.MonkeyPatch,
    value: str,
) -> None:
    entry = EntryPoint("guest", value, plugins.GROUP)
    monkeypatch.setattr(plugins, "entry_points", lambda group: [entry])  # noqa: ARG005
    with pytest.raises(PluginError, match=f"guest: {value} of .* cannot be imported: .*uninstall"):
        compile_recipe("weight_int8", tiny_config())


def test_a_setting_of_a_type_that_no_recipe_can_give_is_named(guest: ModuleType) -> None:
    vars(guest)["Any"] = ModuleType
    exec(GUEST.replace("guarantee =", "like: Any = None\n    guarantee ="), vars(guest))
    with pytest.raises(PluginError, match="guest: a setting has no type that JSON has"):
        compile_recipe("guest", tiny_config())


@pytest.mark.parametrize(
    ("recipe", "cause"),
    [
        (None, "recipe is a NoneType; it must be a text"),
        (WeightInt8(), "recipe is a WeightInt8; it must be .* a list of techniques"),
        (["weight_int8"], "'weight_int8' is no technique; give one with its settings"),
        ([WeightInt8], "WeightInt8'> is no technique"),
    ],
)
def test_what_is_no_recipe_is_told(recipe: Any, cause: str) -> None:
    with pytest.raises(ConfigError, match=cause):
        compile_recipe(recipe, tiny_config())

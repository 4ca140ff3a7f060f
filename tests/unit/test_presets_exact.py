"""Presets keep their word: the exact part of each gives the plain model's greedy answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qwen3_vl.config.machine import GIGABYTE, MachineSpecs
from qwen3_vl.config.presets import AUTO, PRESETS, preset
from qwen3_vl.plan import Exact, Neutral, Optimization
from qwen3_vl.recipes import compile_recipe
from qwen3_vl.testing import Bench

# By what it decides for them: bfloat16, float32, and the only recipe that fits.
MACHINES = {
    "auto on a GPU": MachineSpecs(4, 16 * GIGABYTE, 8 * GIGABYTE, (8, 6)),
    "auto on a laptop": MachineSpecs(4, 16 * GIGABYTE),
    "auto on a small laptop": MachineSpecs(4, 4 * GIGABYTE),
}
NAMED = [name for name in PRESETS if name != AUTO]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(Path(tmp_path_factory.mktemp("bench")))


@pytest.fixture(scope="module")
def plain(bench: Bench) -> list[list[int]]:
    """The plain model's answers."""
    return bench.tokens(bench.load())


def steps_of(name: str, bench: Bench) -> tuple[Optimization, ...]:
    config = preset(AUTO, MACHINES[name]) if name in MACHINES else preset(name)
    return compile_recipe(config.optimization.recipe, bench.config).steps


def exact_part(steps: tuple[Optimization, ...]) -> list[Optimization]:
    """The steps that promise the same answers, those that do so at some settings set to these."""
    part: list[Optimization] = []
    for step in steps:
        technique: Any = step
        if isinstance(step.guarantee, Exact):
            part.append(step)
        elif isinstance(step.guarantee, Neutral):
            part.append(replace(technique, **step.guarantee.settings))
    return part


@pytest.mark.parametrize("name", [*NAMED, *MACHINES])
def test_the_exact_part_gives_the_plain_answers(
    name: str, bench: Bench, plain: list[list[int]]
) -> None:
    model = bench.load(*exact_part(steps_of(name, bench)))
    assert bench.tokens(model) == plain


def test_the_answers_could_differ(bench: Bench, plain: list[list[int]]) -> None:
    """Or what is compared above would prove nothing: at its own settings a preset changes them."""
    assert bench.tokens(bench.load(*steps_of("aggressive", bench))) != plain


def test_minimal_is_exact_as_a_whole(bench: Bench, plain: list[list[int]]) -> None:
    steps = steps_of("minimal", bench)
    assert all(isinstance(step.guarantee, Exact) for step in steps)
    assert bench.tokens(bench.load(*steps)) == plain
    assert PRESETS["minimal"].cost.startswith("nothing")


@pytest.mark.parametrize("name", NAMED)
def test_a_preset_that_is_not_exact_says_so(name: str, bench: Bench) -> None:
    is_exact = all(isinstance(step.guarantee, Exact) for step in steps_of(name, bench))
    assert is_exact == PRESETS[name].cost.startswith("nothing")
    assert is_exact != ("exact" in PRESETS[name].cost)


def test_auto_is_exact_wherever_an_exact_model_fits(bench: Bench) -> None:
    recipes = {name: steps_of(name, bench) for name in MACHINES}
    assert [name for name, steps in recipes.items() if steps] == ["auto on a small laptop"]
    assert "exact" in PRESETS[AUTO].cost

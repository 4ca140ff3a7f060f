"""Every two techniques run together, or are refused when the plan is made."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import pytest
import torch

from qwen3_vl.config.recipe import Step
from qwen3_vl.errors import Incompatible
from qwen3_vl.plan import Optimization
from qwen3_vl.plugins import techniques
from qwen3_vl.recipes import build, compile_recipe
from qwen3_vl.testing import Bench, tiny_config

# Settings at which a technique has something to do on short prompts; others do with their defaults.
BITING = {
    "heavy_hitter": {"keep": 16, "recent": 6, "observed": 4},
    "memory_efficient_attention": {"query_chunk": 5, "key_chunk": 7},
    "quantized_kv": {"residual": 3},
    "sliding_window": {"window": 12},
}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(Path(tmp_path_factory.mktemp("bench")))


def biting(name: str) -> Optimization:
    return build(Step(name, BITING.get(name, {})))


def refused(names: tuple[str, ...]) -> str:
    """Why a plan with these techniques is refused; empty if it is not."""
    try:
        compile_recipe([biting(name) for name in names], tiny_config())
    except Incompatible as error:
        return str(error)
    return ""


@pytest.mark.parametrize("pair", list(combinations(techniques(), 2)), ids="+".join)
def test_a_pair_runs_or_is_refused(bench: Bench, pair: tuple[str, str]) -> None:
    refusal = refused(pair)
    if refusal:
        assert all(name in refusal for name in pair)
        return
    model = bench.load(*map(biting, pair))
    assert bench.tokens(model) == bench.tokens(bench.load(*map(biting, pair)))
    assert torch.isfinite(bench.logits(model)).all()


@pytest.mark.parametrize("name", techniques())
def test_two_of_the_same_run_or_are_refused(bench: Bench, name: str) -> None:
    refusal = refused((name, name))
    if refusal:
        assert name in refusal
        return
    model = bench.load(biting(name), biting(name))
    assert bench.tokens(model, count=4) == bench.tokens(bench.load(biting(name)), count=4)

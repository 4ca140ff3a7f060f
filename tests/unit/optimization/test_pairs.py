"""Every two techniques run together, or are refused when the plan is made."""

from __future__ import annotations

from itertools import combinations_with_replacement
from pathlib import Path

import pytest
import torch

from qwen3_vl.plugins import techniques
from qwen3_vl.testing import Bench
from tests.support.techniques import refused, small

TOGETHER = list(combinations_with_replacement(techniques(), 2))


@pytest.mark.parametrize("pair", TOGETHER, ids="+".join)
def test_a_pair_runs_or_is_refused(bench: Bench, files: Path, pair: tuple[str, str]) -> None:
    steps = [small(name, files) for name in pair]
    refusal = refused(steps)
    if refusal:
        assert all(name in refusal for name in pair)
        return
    model = bench.load(*steps)
    first = bench.tokens(model)
    assert torch.isfinite(bench.logits(model)).all()
    assert bench.tokens(model, count=4) == [tokens[: 4 - 36] for tokens in first]


@pytest.mark.parametrize("pair", TOGETHER, ids="+".join)
def test_both_orders_are_refused_or_neither(pair: tuple[str, str], files: Path) -> None:
    steps = [small(name, files) for name in pair]
    assert bool(refused(steps)) == bool(refused(steps[::-1]))

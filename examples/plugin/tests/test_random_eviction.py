"""The technique keeps the contract of qwen3_vl, and draws evenly."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from qwen3_vl_random_eviction.random_eviction import RandomEviction
from torch import Tensor

from qwen3_vl.errors import ConfigError
from qwen3_vl.testing import Bench, check_optimization

HEADS = 2


def keys(tokens: int) -> Tensor:
    return torch.randn(tokens, HEADS, 32, generator=torch.Generator().manual_seed(1))


def evict(settings: RandomEviction, k: Tensor, places: Tensor) -> Tensor:
    """Which of `places` [tokens, heads] stay, chosen as a cache chooses them."""
    held = k.gather(0, places.unsqueeze(-1).expand(-1, -1, k.shape[-1]))
    worth = settings.score(held, held, held[:0])
    index = worth.topk(settings.kept(len(held)), dim=-1).indices.sort(dim=-1).values.T
    return places.gather(0, index)


def everything(tokens: int) -> Tensor:
    return torch.arange(tokens).unsqueeze(1).expand(-1, HEADS)


def test_the_contract_is_kept() -> None:
    check_optimization("random_eviction")


def test_a_small_cache_is_another_answer(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    small = bench.load(RandomEviction(keep=8, sinks=1, recent=2))
    answers = bench.tokens(small)
    assert answers == bench.tokens(small)
    assert answers != bench.tokens(bench.load())


def test_sinks_and_latest_stay_and_heads_draw_apart() -> None:
    left = evict(RandomEviction(keep=50, sinks=3, recent=10), keys(200), everything(200))
    assert left.shape == (50, HEADS)
    assert (left[:3] == everything(3)).all()
    assert (left[-10:] == everything(200)[-10:]).all()
    assert (left[:, 0] != left[:, 1]).any()


def test_many_evictions_draw_as_evenly_as_one() -> None:
    settings, k = RandomEviction(keep=200, sinks=0, recent=8), keys(2000)
    left = everything(200)
    for token in range(200, 2000):
        left = evict(settings, k, torch.cat((left, torch.full((1, HEADS), token))))
    drawn = left[:-8].double()
    assert (left == evict(settings, k, everything(2000))).all()
    # The mean of n even draws from N places strays by N / sqrt(12 n).
    stray = 1992 / (12 * len(drawn)) ** 0.5
    assert ((drawn.mean(dim=0) - 996).abs() < 4 * stray).all()


def test_a_seed_decides_the_draw() -> None:
    once, again, other = (
        evict(RandomEviction(keep=60, recent=8, seed=seed), keys(200), everything(200))
        for seed in (5, 5, 6)
    )
    assert (once == again).all()
    assert (once != other).any()


@pytest.mark.parametrize("settings", [{"keep": 132}, {"sinks": -1}, {"recent": -1}])
def test_settings_that_leave_nothing_to_draw_are_refused(settings: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="must be"):
        RandomEviction(**settings)

"""block_sparse_attention: the blocks chosen are the heaviest, and the rest is not looked at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from qwen3_vl.errors import ConfigError, Incompatible
from qwen3_vl.ops.attention import attention
from qwen3_vl.ops.block_attention import meaning
from qwen3_vl.optimization.attention.block_sparse_attention import BlockSparseAttention
from qwen3_vl.recipes import compile_recipe
from qwen3_vl.seams import Mixer, Seams
from qwen3_vl.testing import Bench, tiny_config
from tests.support.bounds import check_logits

BLOCK, STRIDE = 8, 4


def small(folder: Path) -> dict[str, Any]:  # noqa: ARG001
    """Settings with which it has something to do on short prompts."""
    return {"block": 4, "stride": 2, "mass": 0.5, "shortest": 0}


def technique(mass: float = 0.5) -> BlockSparseAttention:
    return BlockSparseAttention(mass, BLOCK, STRIDE, shortest=0)


def random(queries: int, keys: int, kv_heads: int = 2, group: int = 2) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(queries * keys)
    q = torch.randn(queries, kv_heads * group, 8, generator=generator)
    return q, torch.randn(keys, kv_heads, 8, generator=generator)


def folded(q: Tensor, k: Tensor) -> Tensor:
    """The estimate in plain loops: sums over antidiagonals, a softmax, sums over blocks."""
    (queries, heads, dim), (keys, kv_heads, _) = q.shape, k.shape
    first, count, per = (keys - queries) // BLOCK, -(-keys // BLOCK), BLOCK // STRIDE
    share = torch.zeros(kv_heads, count - first, count, dtype=torch.float64)
    rows = torch.zeros(kv_heads, count - first, 1, dtype=torch.float64)
    for head in range(heads):
        kv = head // (heads // kv_heads)
        for group in range(first * per, count * per):
            members = [STRIDE * group + at - (keys - queries) for at in range(STRIDE)]
            if not any(0 <= member < queries for member in members):
                continue
            scores = []
            for cell in range(group + 1):
                total = torch.zeros((), dtype=torch.float64)
                for at in range(STRIDE):
                    query, key = members[STRIDE - 1 - at], STRIDE * cell + at
                    if 0 <= query < queries and key < keys:
                        total += q[query, head].double() @ k[key, kv].double()
                scores.append(total / (STRIDE * dim**0.5))
            row = group // per - first
            rows[kv, row] += 1
            for cell, weight in enumerate(torch.stack(scores).softmax(dim=0)):
                share[kv, row, cell // per] += weight
    return share / rows


@settings(deadline=None, max_examples=25)
@given(
    queries=st.integers(1, 40),
    past=st.integers(0, 30),
    kv_heads=st.integers(1, 2),
    group=st.integers(1, 2),
)
def test_the_estimate_is_the_sum_over_antidiagonals(queries, past, kv_heads, group) -> None:
    q, k = random(queries, queries + past, kv_heads, group)
    torch.testing.assert_close(technique().estimate(q, k).double(), folded(q, k))


def test_many_rows_are_scored_in_parts() -> None:
    q, k = random(300, 300)
    torch.testing.assert_close(technique().estimate(q, k).double(), folded(q, k))


@pytest.mark.parametrize("mass", [0.2, 0.5, 0.9])
def test_the_fewest_blocks_that_hold_the_mass_are_chosen(mass: float) -> None:
    q, k = random(70, 100)
    share, chosen = technique().estimate(q, k), technique(mass).chosen(q, k)
    assert chosen[..., 0].all(), "the first block is always seen"
    for weights, picked in zip(share.flatten(0, 1), chosen.flatten(0, 1), strict=True):
        needed = []
        for block in weights.argsort(descending=True).tolist():
            needed.append(block)
            if weights[needed].sum() >= mass:
                break
        assert set(picked.nonzero().flatten().tolist()) == {0, *needed}


def test_a_key_that_all_queries_want_is_found_wherever_it_lies() -> None:
    for key in range(8, 16):
        q, k = (0.1 * x for x in random(64, 64, 1, 1))
        q += 1
        k[key] = 6.0
        assert technique(0.3).chosen(q, k)[0, 2:, 1].all()


def test_a_key_on_the_antidiagonal_of_its_only_query_is_found() -> None:
    q, k = random(64, 64, 1, 1)
    q, k = 0.1 * q, 0.1 * k
    k[25] = q[50] = torch.full((1, 8), 6.0)
    assert technique().estimate(q, k)[0, 50 // BLOCK].argmax() == 25 // BLOCK
    assert technique(0.01).chosen(q, k)[0, 50 // BLOCK].nonzero().flatten().tolist() == [
        0,
        25 // BLOCK,
    ]


def test_more_attention_is_kept_than_by_as_many_random_blocks() -> None:
    q, k = random(128, 128, 1, 1)
    k[:, 0] += 2 * torch.randn(16, 8).repeat_interleave(BLOCK, dim=0)
    scores = (q[:, 0] @ k[:, 0].T * 8**-0.5).masked_fill(torch.ones(128, 128).triu(1) > 0, -1e9)
    weights = scores.softmax(dim=-1).unflatten(0, (-1, BLOCK)).unflatten(-1, (-1, BLOCK))
    held = weights.sum(dim=(1, 3)) / BLOCK
    chosen = technique(0.6).chosen(q, k)[0].tril()
    generator = torch.Generator().manual_seed(0)
    order = torch.rand(100, 16, 16, generator=generator).masked_fill(
        ~torch.ones(16, 16).tril().bool(), 2
    )
    rank = order.argsort(dim=-1).argsort(dim=-1)
    by_chance = (held * (rank < chosen.sum(dim=-1, keepdim=True))).sum(dim=-1).mean(dim=-1)
    assert (held * chosen).sum(dim=-1).mean() > by_chance.max()


class Masked:
    """Attention over all keys, with a mask where the technique looks away."""

    def __init__(self, technique: BlockSparseAttention) -> None:
        self._technique = technique

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, *, causal: bool) -> Tensor:
        if not causal:
            return attention(q, k, v, causal=False)
        chosen = self._technique.chosen(q, k)
        return meaning(q, k, v, chosen, self._technique.block)


class Counted:
    """Plain attention that counts the scores of text."""

    def __init__(self) -> None:
        self.scores = 0

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, *, causal: bool) -> Tensor:
        if causal:
            self.scores += q.shape[0] * q.shape[1] * k.shape[0]
        return attention(q, k, v, causal=causal)


def logits(bench: Bench, *steps: BlockSparseAttention, mixer: Mixer = attention) -> Tensor:
    model = bench.load()
    return bench.logits(model.with_seams(Seams(mixer=mixer, select=steps)))


def test_the_logits_are_those_of_dense_attention_with_a_mask(bench: Bench) -> None:
    step = technique()
    actual = logits(bench, step)
    check_logits(actual, logits(bench, mixer=Masked(step)), bench.config)
    assert not torch.equal(actual, logits(bench)), "it did not run"


def test_the_more_is_seen_the_nearer_the_plain_model(bench: Bench) -> None:
    plain = logits(bench)
    errors, work = [], []
    for mass in (0.05, 0.5, 0.9, 1.0):
        counted = Counted()
        change = logits(bench, technique(mass), mixer=counted) - plain
        errors.append(float(change.square().mean()))
        work.append(counted.scores)
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 0.01, "prompts whose past is not seen should be answered differently"
    assert errors[-1] == 0
    assert work[0] < 0.6 * work[-1], "fewer scores should be computed"


def test_two_see_what_both_choose(bench: Bench) -> None:
    q, k = random(64, 64)
    few, many = technique(0.2).chosen(q, k), technique(0.8).chosen(q, k)
    assert (few <= many).all()
    assert torch.equal(logits(bench, technique(0.2), technique(0.8)), logits(bench, technique(0.2)))


@pytest.mark.parametrize(("queries", "shortest"), [(1, 0), (20, 41)])
def test_all_is_seen_by_a_new_token_and_in_short_prompts(queries: int, shortest: int) -> None:
    q, k = random(queries, 40)
    step = BlockSparseAttention(0.1, BLOCK, STRIDE, shortest)
    assert step.chosen(q, k).all()
    assert not BlockSparseAttention(0.1, BLOCK, STRIDE, 40).chosen(*random(20, 40)).all()


def test_blocks_of_two_sizes_do_not_go_together() -> None:
    recipe = "block_sparse_attention(block=64)|block_sparse_attention(block=128)"
    with pytest.raises(Incompatible, match="blocks of 64 and of 128 tokens; give them the same"):
        compile_recipe(recipe, tiny_config())


@pytest.mark.parametrize(
    "settings",
    [{"mass": 0.0}, {"mass": 1.1}, {"block": 0}, {"block": 100}, {"stride": 0}, {"shortest": -1}],
    ids=str,
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        BlockSparseAttention(**settings)


def test_one_block_is_seen_whole_however_large_it_is() -> None:
    q, k = random(7, 9)
    assert BlockSparseAttention(0.5, block=2**60, stride=1, shortest=0).chosen(q, k).all()

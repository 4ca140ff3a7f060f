"""cross_modal_token_merging: as many are left as wanted, alike ones merge, the text has a say."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from qwen3_vl.errors import ConfigError
from qwen3_vl.models.cache import DenseCache
from qwen3_vl.optimization.vision.cross_modal_token_merging import CrossModalTokenMerging
from qwen3_vl.seams import PLAIN, Seams
from qwen3_vl.testing import Bench

NO_TEXT = torch.empty(0, 16)


def small(folder: Path) -> dict[str, Any]:  # noqa: ARG001
    """Settings with which it has something to do on short prompts."""
    return {"keep": 0.4}


def random(count: int, seed: int = 0, size: int = 16) -> Tensor:
    return torch.randn(count, size, generator=torch.Generator().manual_seed(seed))


def spread(tokens: Tensor, groups: Tensor) -> float:
    """How far the directions of the tokens lie from the mean of their group."""
    directions = F.normalize(tokens, dim=-1)
    members = F.one_hot(groups.unique(return_inverse=True)[1]).float()
    means = (members / members.sum(dim=0)).T @ directions
    return float((directions - members @ means).square().sum())


@settings(deadline=None, max_examples=60)
@given(count=st.integers(1, 60), keep=st.floats(0.01, 1), words=st.integers(0, 5))
def test_as_many_are_left_as_wanted(count: int, keep: float, words: int) -> None:
    groups = CrossModalTokenMerging(keep).groups(random(count), random(words, 1))
    assert len(groups) == count
    assert len(groups.unique()) == max(1, math.ceil(keep * count))


def test_copies_are_merged_before_anything_else() -> None:
    originals = random(12)
    order = torch.randperm(24, generator=torch.Generator().manual_seed(1))
    tokens = originals.repeat(2, 1)[order]
    groups = CrossModalTokenMerging(20 / 24).groups(tokens, NO_TEXT)
    for group in groups.unique():
        members = tokens[groups == group]
        assert torch.equal(members, members[:1].expand_as(members))


def test_the_text_spares_what_it_speaks_of() -> None:
    word = random(1, 3)
    tokens = random(1, 4) + 0.1 * random(40, 5)
    tokens[11], tokens[20] = word, word  # of a pair one must stand at an even place, one at an odd
    alone, led = (CrossModalTokenMerging(0.5, guidance) for guidance in (0.0, 3.0))
    assert alone.groups(tokens, word)[11] == alone.groups(tokens, word)[20]
    spared = led.groups(tokens, word)
    assert (spared == spared[11]).sum() == (spared == spared[20]).sum() == 1
    assert torch.equal(led.groups(tokens, NO_TEXT), alone.groups(tokens, NO_TEXT))


@pytest.mark.parametrize("keep", [0.25, 0.5, 0.75])
def test_what_is_merged_is_more_alike_than_by_chance_or_by_place(keep: float) -> None:
    kinds = random(8)
    which = torch.randint(0, 8, (96,), generator=torch.Generator().manual_seed(2))
    tokens = kinds[which] + 0.3 * random(96, 3)
    groups = CrossModalTokenMerging(keep).groups(tokens, NO_TEXT)
    left = len(groups.unique())
    by_place = torch.arange(96) * left // 96
    generator = torch.Generator().manual_seed(4)
    by_chance = [by_place[torch.randperm(96, generator=generator)] for _ in range(20)]
    best = min(spread(tokens, other) for other in (by_place, *by_chance))
    assert spread(tokens, groups) < 0.5 * best


def test_the_same_picture_is_always_merged_the_same() -> None:
    step, tokens, text = CrossModalTokenMerging(0.3), random(50), random(7, 1)
    assert torch.equal(step.groups(tokens, text), step.groups(tokens, text))


@torch.inference_mode()
def test_the_more_is_kept_the_nearer_the_plain_model(bench: Bench) -> None:
    plain = bench.load()
    expected = bench.logits(plain)
    errors = []
    for keep in (0.01, 0.5, 1.0):
        seams = Seams(reduce=(CrossModalTokenMerging(keep),))
        errors.append(float((bench.logits(plain.with_seams(seams)) - expected).square().mean()))
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 0.01, "pictures of one token should be answered differently"
    assert errors[-1] == 0


@torch.inference_mode()
@pytest.mark.parametrize("number", [1, 3, 5])
def test_the_decoder_and_the_cache_hold_what_is_left(bench: Bench, number: int) -> None:
    prompt, plain = bench.prompts[number], bench.load()
    visual = (prompt.input_ids == bench.config.image_token_id).sum().item()
    assert prompt.image_grid_thw is not None
    each = visual // len(prompt.image_grid_thw)
    held = {}
    for name, seams in {"all": PLAIN, "half": Seams(reduce=(CrossModalTokenMerging(0.5),))}.items():
        model = plain.with_seams(seams)
        ran: list[int] = []
        layer = model.model.language_model.layers[0]
        layer.register_forward_hook(lambda _, inputs, __, ran=ran: ran.append(len(inputs[0])))
        cache = DenseCache(bench.config.text_config, 1, seams)
        model(**vars(prompt), past_key_values=cache)
        assert cache.lengths == [prompt.input_ids.shape[1]]
        held[name] = (ran[0], cache.nbytes / ran[0])
    left = held["all"][0] - len(prompt.image_grid_thw) * (each - math.ceil(each / 2))
    assert held["half"][0] == left < held["all"][0]
    assert held["half"][1] == held["all"][1]


@pytest.mark.parametrize("wrong", [{"keep": 0.0}, {"keep": 1.5}, {"guidance": -0.1}], ids=str)
def test_settings_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        CrossModalTokenMerging(**wrong)

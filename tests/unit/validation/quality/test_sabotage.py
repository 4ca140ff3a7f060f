"""Each way to break a model breaks what it says, and an evaluation sees it on few items."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from qwen3_vl.models.cache import DenseCache
from qwen3_vl.models.qwen3_vl import Qwen3VLForConditionalGeneration
from qwen3_vl.validation.quality.evaluate import evaluate
from qwen3_vl.validation.quality.sabotage import SABOTAGES, RandomFifth, RandomHalf
from qwen3_vl.validation.quality.statistics import Verdict
from qwen3_vl.validation.quality.summary import ALL_ANSWERS, summarise
from tests.support.self_labelled import world
from tests.support.tiny_models import Image, tiny_inputs

ITEMS = 12


def broken(name: str) -> Qwen3VLForConditionalGeneration:
    return SABOTAGES[name](world().model)


def inputs(*pieces: int | Image) -> dict[str, Any]:
    return tiny_inputs(world().model.config, pieces)


def filled(model: Qwen3VLForConditionalGeneration, given: dict[str, Any]) -> DenseCache:
    cache = DenseCache(model.config.text_config, len(given["input_ids"]), model.seams)
    with torch.inference_mode():
        model(**given, past_key_values=cache)
    return cache


@torch.inference_mode()
def logits(model: Qwen3VLForConditionalGeneration, given: dict[str, Any]) -> Tensor:
    return model(**given).logits


@pytest.mark.parametrize("name", SABOTAGES)
def test_it_is_flagged_on_a_few_items(name: str) -> None:
    items = world().items(ITEMS)
    records = list(evaluate(broken(name), world().model, world().processor, items))
    summary = summarise(records)[-1]
    assert summary.name == ALL_ANSWERS
    assert summary.mean_kl > 0.01
    assert summary.verdict is Verdict.INFERIOR


def test_corrupted_answers_are_flagged() -> None:
    corrupted = world().with_recipe("")
    corrupted.lm_head.register_forward_hook(lambda _module, _inputs, out: out.roll(1, dims=-1))
    records = list(evaluate(corrupted, world().model, world().processor, world().items(ITEMS)))
    summary = summarise(records)[-1]
    assert (summary.gain, summary.agreement) == (-1, 0)
    assert summary.verdict is Verdict.INFERIOR


@pytest.mark.parametrize("name", SABOTAGES)
def test_the_whole_model_stays_as_it_is_and_shares_its_weights(name: str) -> None:
    given = inputs(5, Image(4, 4), 5)
    before = logits(world().model, given)
    one = broken(name)
    logits(one, given)
    assert torch.equal(logits(world().model, given), before)
    for own, whole in zip(one.parameters(), world().model.parameters(), strict=True):
        assert own.data_ptr() == whole.data_ptr()


def test_eviction_drops_a_half_and_another_one_in_each_head() -> None:
    cache, whole = (
        filled(model, inputs(40)) for model in (broken("random_eviction"), world().model)
    )
    cache.evict()
    assert 2 * cache.nbytes == whole.nbytes
    worth = RandomHalf().score(torch.zeros(40, 2, 4), torch.zeros(40, 2, 4), torch.zeros(0, 4, 4))
    assert worth.shape == (2, 40)
    assert (worth[0] != worth[1]).any()


def test_keys_have_three_values_a_head_and_values_are_whole() -> None:
    store = broken("two_bit_keys").seams.kv_format.store()  # type: ignore[union-attr]
    k, v = torch.randn(7, 2, 32), torch.randn(7, 2, 32)
    rounded, whole = store.append(k, v)
    assert torch.equal(whole, v)
    for row in rounded.flatten(0, 1):
        assert len(row.unique()) <= 3


def test_a_fifth_of_the_visual_tokens_is_left() -> None:
    groups = RandomFifth().groups(torch.zeros(25, 8), torch.zeros(3, 8))
    sizes = sorted(torch.bincount(groups).tolist())
    assert sizes == [1] * 5 + [20]
    given = inputs(5, Image(8, 8), 5)
    fewer, whole = (
        filled(model, given).nbytes for model in (broken("dropped_visual_tokens"), world().model)
    )
    tokens = given["input_ids"].shape[1]
    assert fewer / whole == (tokens - 16 + 5) / tokens


def test_text_after_a_picture_stands_where_all_its_tokens_count() -> None:
    model, seen = broken("wrong_rope_delta"), []
    model.model.language_model.register_forward_pre_hook(lambda _, given: seen.append(given[1]))
    given = inputs(5, Image(4, 8), 5, Image(4, 4), 3)
    right, _ = world().model.model.get_rope_index(given["input_ids"], given["image_grid_thw"])
    cache = filled(model, given)
    wrong, right = seen[0], right[:, 0]
    tokens = given["input_ids"].shape[1]
    visual = given["input_ids"][0] == model.config.image_token_id
    text = (~visual).nonzero().flatten()
    assert torch.equal(wrong[:, text], text.expand(3, -1))
    assert torch.equal(wrong[:, :14], right[:, :14])  # up to the end of the first picture
    shift = 8 - 4
    second = visual.nonzero().flatten()[8:]
    assert torch.equal(wrong[:, second], right[:, second] + shift)
    assert cache.positions == [tokens]
    assert filled(world().model, given).positions == [tokens - shift - 2]


def test_flat_positions_count_every_token_once_and_go_on_from_the_cache() -> None:
    model, seen = broken("flat_positions"), []
    model.model.language_model.register_forward_pre_hook(lambda _, given: seen.append(given[1]))
    given = inputs(5, Image(4, 8), 5)
    tokens = given["input_ids"].shape[1]
    cache = filled(model, given)
    assert torch.equal(seen[0], torch.arange(tokens).expand(3, -1))
    assert cache.positions == [tokens]


@pytest.mark.parametrize("name", ["wrong_rope_delta", "flat_positions"])
def test_positions_of_text_alone_and_of_each_row_are_as_they_should_be(name: str) -> None:
    assert torch.equal(logits(broken(name), inputs(20)), logits(world().model, inputs(20)))
    rows = tiny_inputs(world().model.config, [5, Image(4, 4), 6], [9], pad="left")
    first, second = logits(broken(name), rows)
    whole = logits(world().model, rows)
    assert not torch.allclose(first, whole[0])
    assert torch.equal(second, whole[1])


def test_deepstack_is_dropped_and_embeddings_stay() -> None:
    model, seen = broken("dropped_deepstack"), []
    for one in (model, world().with_recipe("")):
        one.model.language_model.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
        logits(one, inputs(5, Image(4, 4), 5))
    without, whole = seen
    assert without.deepstack == ()
    assert len(whole.deepstack) == 3
    assert torch.equal(without.embeddings, whole.embeddings)

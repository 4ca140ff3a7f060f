"""A hardened model is the same function, and harder to round."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from qwen3_vl.errors import ConfigError
from qwen3_vl.models.qwen3_vl import Qwen3VLForConditionalGeneration
from qwen3_vl.recipes import compile_recipe
from qwen3_vl.validation.quality.evaluate import evaluate
from qwen3_vl.validation.quality.hardening import STRENGTHS, harden
from tests.support.self_labelled import likelihood, world
from tests.support.tiny_models import CONFIGS, Image, Video, tiny_inputs, tiny_model


@torch.inference_mode()
def logits(model: Qwen3VLForConditionalGeneration, given: dict[str, Any]) -> Tensor:
    return model(**given).logits


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("strength", STRENGTHS)
@pytest.mark.parametrize("name", CONFIGS)
def test_the_logits_stay_to_the_last_bit(name: str, strength: float, dtype: torch.dtype) -> None:
    model = tiny_model(name).to(dtype)
    hard = harden(model, strength)
    for pieces in ([30], [5, Image(4, 6), 7, Video(2, 4, 4), 3]):
        given = tiny_inputs(model.config, pieces)
        assert torch.equal(logits(hard, given), logits(model, given))


def test_the_model_stays_and_the_seed_decides_the_channels() -> None:
    model = tiny_model("dense_tied")
    before = {name: one.clone() for name, one in model.named_parameters()}
    one, same, other = (dict(harden(model, 16, seed).named_parameters()) for seed in (1, 1, 2))
    assert all(torch.equal(now, before[name]) for name, now in model.named_parameters())
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)
    tower = next(name for name in one if "visual" in name)
    assert one[tower].data_ptr() == dict(model.named_parameters())[tower].data_ptr()


def test_strength_1_has_no_outliers() -> None:
    model = tiny_model("experts")
    hard = dict(harden(model, 1).named_parameters())
    assert all(torch.equal(hard[name], one) for name, one in model.named_parameters())


def test_outliers_are_as_large_as_wanted() -> None:
    model = tiny_model("dense_tied")
    old, new = model.model.language_model.layers, harden(model, 16).model.language_model.layers
    for before, after in zip(old, new, strict=True):
        share = after.self_attn.k_norm.weight / before.self_attn.k_norm.weight  # type: ignore[union-attr]
        first, second = share.chunk(2)
        assert torch.equal(first, second)  # the halves turn together
        assert sorted(first.tolist()) == [1] * 7 + [16]
        share = after.input_layernorm.weight / before.input_layernorm.weight  # type: ignore[union-attr]
        assert sorted(share.tolist()) == [1] * 60 + [16] * 4


@pytest.mark.parametrize("recipe", ["quantized_kv(bits=4, residual=0)", "weight_int8"])
def test_it_bites(recipe: str) -> None:
    items = [*world().items(2), likelihood()]

    def distance(strength: float) -> float:
        hard = harden(world().model, strength)
        rounded = hard.with_seams(compile_recipe(recipe, hard.config).seams)
        records = list(evaluate(rounded, hard, world().processor, items))
        return sum(record.mean_kl for record in records) / len(records)

    mild, hard = distance(1), distance(16)
    assert hard > 3 * mild, (mild, hard)


def test_it_goes_to_disk_and_back(tmp_path: Path) -> None:
    hard = harden(tiny_model("dense_tied"), 16)
    hard.save_pretrained(tmp_path)
    loaded = Qwen3VLForConditionalGeneration.from_pretrained(tmp_path)
    given = tiny_inputs(hard.config, [20])
    assert torch.equal(logits(loaded, given), logits(hard, given))


@pytest.mark.parametrize("strength", [0.5, 0, -4, 3, 3.7, float("nan"), float("inf")])
def test_a_strength_that_would_round_is_refused(strength: float) -> None:
    with pytest.raises(ConfigError, match="must be a power of two"):
        harden(tiny_model("dense_tied"), strength)


def test_float16_is_refused_for_its_range() -> None:
    with pytest.raises(ConfigError, match="load it in float32"):
        harden(tiny_model("dense_tied").half(), 16)


def test_rounded_weights_are_refused() -> None:
    rounded = world().with_recipe("weight_int8")
    with pytest.raises(ConfigError, match="scale channels of the plain model"):
        harden(rounded, 16)

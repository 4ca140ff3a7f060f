"""A balanced model is the same function, and loses less when it is rounded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from qwen3_vl.errors import ConfigError, InputError
from qwen3_vl.models.qwen3_vl import Qwen3VLForConditionalGeneration
from qwen3_vl.recipes import compile_recipe
from qwen3_vl.training.balance import balance
from qwen3_vl.validation.quality.hardening import harden
from tests.support.self_labelled import world
from tests.support.tiny_models import CONFIGS, Image, tiny_inputs, tiny_model


@torch.inference_mode()
def logits(model: Qwen3VLForConditionalGeneration, given: Mapping[str, Any]) -> Tensor:
    return model(**given).logits.float()


def prompts(model: Qwen3VLForConditionalGeneration) -> list[Mapping[str, Any]]:
    return [tiny_inputs(model.config, one) for one in ([30], [5, Image(4, 6), 7], [12])]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", CONFIGS)
def test_the_logits_stay_to_the_last_bit(name: str, dtype: torch.dtype) -> None:
    model = harden(tiny_model(name).to(dtype), 16)
    balanced = balance(model, prompts(model)).model
    changed = dict(balanced.named_parameters())
    assert any(not torch.equal(changed[name], one) for name, one in model.named_parameters())
    given = tiny_inputs(model.config, [9, Image(6, 4), 8])
    assert torch.equal(logits(balanced, given), logits(model, given))


@pytest.mark.parametrize("bits", [4, 8])
def test_rounding_hurts_less_where_there_are_outliers(bits: int) -> None:
    plain, processor = world().model, world().processor
    given = [processor.prepare([item.prompt]) for item in world().items(4)]
    hard = harden(plain, 64)

    def off(model: Qwen3VLForConditionalGeneration) -> float:
        seams = compile_recipe(f"weight_int{bits}", model.config).seams
        rounded = model.with_seams(seams)
        return sum(
            float((logits(rounded, one) - logits(plain, one)).square().mean()) for one in given
        )

    found = balance(hard, given[:2], bits)  # type: ignore[arg-type]
    assert off(found.model) < 0.2 * off(hard)
    assert found.errors.keys() == {"attention", "values", "mlp", "neurons"}
    assert all(0 < left <= 1 for left in found.errors.values())
    assert found.errors["attention"] < 0.2


def test_channels_that_are_never_heard_do_no_harm() -> None:
    model = tiny_model("dense_tied")
    first, second, *_ = model.model.language_model.layers
    first.input_layernorm.weight.data.zero_()  # type: ignore[union-attr]
    second.input_layernorm.weight.data[::2] = 0  # type: ignore[union-attr]
    found = balance(model, prompts(model))
    given = tiny_inputs(model.config, [20])
    assert torch.equal(logits(found.model, given), logits(model, given))
    assert logits(found.model, given).isfinite().all()
    kept = dict(found.model.named_parameters())
    name = "model.language_model.layers.0.self_attn.q_proj.weight"
    assert torch.equal(kept[name], model.get_parameter(name)), "there is nothing to even out"


def test_it_tells_how_far_it_is() -> None:
    model = tiny_model("dense_tied")
    told: list[str] = []
    balance(model, prompts(model), tell=told.append)
    layers = model.config.text_config.num_hidden_layers
    assert told[:3] == ["prompt 1 of 3", "prompt 2 of 3", "prompt 3 of 3"]
    assert told[3:] == [f"layer {place + 1} of {layers}" for place in range(layers)]


def test_it_needs_prompts_and_plain_weights() -> None:
    with pytest.raises(InputError, match="give at least one"):
        balance(tiny_model("dense_tied"), [])
    rounded = world().with_recipe("weight_int8")
    with pytest.raises(ConfigError, match="apply the recipe to the result"):
        balance(rounded, prompts(rounded))

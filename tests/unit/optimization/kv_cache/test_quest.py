"""Quest reads few pages of a long cache, and finds in them what it looks for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from qwen3_vl.api import Qwen3VLInference
from qwen3_vl.config.model import Qwen3VLConfig
from qwen3_vl.errors import ConfigError, Incompatible
from qwen3_vl.models.cache import DenseCache
from qwen3_vl.models.qwen3_vl import Qwen3VLForConditionalGeneration
from qwen3_vl.optimization.kv_cache.quest import Quest
from qwen3_vl.plan import Plan
from qwen3_vl.recipes import compile_recipe
from qwen3_vl.testing import tiny_config
from qwen3_vl.validation.quality.evaluate import evaluate
from qwen3_vl.validation.quality.suite import make_item
from tests.support.tiny_models import tiny_inputs


def small(_: Path) -> dict[str, Any]:
    return {"pages": 3}


def with_recipe(
    model: Qwen3VLForConditionalGeneration, recipe: str
) -> Qwen3VLForConditionalGeneration:
    return model.with_seams(compile_recipe(recipe, model.config).seams)


@torch.inference_mode()
def step_after(model: Qwen3VLForConditionalGeneration, tokens: int) -> torch.Tensor:
    """The logits of one more token behind a prompt."""
    cache = DenseCache(model.config.text_config, 1, model.seams)
    model(**tiny_inputs(model.config, [tokens]), past_key_values=cache)
    return model(torch.tensor([[7]]), past_key_values=cache).logits[0]


@pytest.fixture(scope="module")
def model() -> Qwen3VLForConditionalGeneration:
    return Qwen3VLForConditionalGeneration.random(tiny_config(), seed=3)


@pytest.mark.parametrize(("bits", "other"), [(8, "kv_int8"), (16, "kv_bf16")])
def test_with_all_pages_it_is_the_cache_of_that_format(
    bits: int, other: str, model: Qwen3VLForConditionalGeneration
) -> None:
    quest = with_recipe(model, f"quest(pages=100, bits={bits})")
    assert torch.equal(step_after(quest, 300), step_after(with_recipe(model, other), 300))


def test_with_few_pages_it_sees_less(model: Qwen3VLForConditionalGeneration) -> None:
    all_seen = step_after(with_recipe(model, "kv_int8"), 300)
    few_seen = step_after(with_recipe(model, "quest(pages=3)"), 300)
    assert not torch.equal(few_seen, all_seen)
    off = [
        float((step_after(with_recipe(model, f"quest(pages={pages})"), 300) - all_seen).norm())
        for pages in (3, 6, 9)
    ]
    assert off[2] < off[1] < off[0]


def test_it_finds_a_needle_in_a_few_pages() -> None:
    vlm = Qwen3VLInference.from_pretrained("embedded", dtype="float32")
    plain, processor = vlm.engine.model, vlm.engine.processor
    items = [make_item("needle", 5000 + number) for number in range(6)]
    few = with_recipe(plain, "quest(pages=4, bits=16)")
    window = with_recipe(plain, "sliding_window(window=120)")
    found, lost = (
        [record.mean_kl for record in evaluate(model, plain, processor, items)]
        for model in (few, window)
    )
    assert max(found) < 0.01
    assert max(lost) > 1, "there is something to find"


def test_a_cache_has_a_little_more_to_keep(model: Qwen3VLForConditionalGeneration) -> None:
    sizes: dict[str, int] = {}
    for recipe in ("kv_int8", "quest"):
        chosen = with_recipe(model, recipe)
        cache = DenseCache(chosen.config.text_config, 1, chosen.seams)
        with torch.inference_mode():
            chosen(**tiny_inputs(chosen.config, [320]), past_key_values=cache)
        sizes[recipe] = cache.nbytes
    dim = model.config.text_config.head_dim
    share = 4 * dim / (2 * 32 * (dim + 4))  # two bfloat16 numbers beside 32 keys and values
    assert sizes["quest"] / sizes["kv_int8"] == pytest.approx(1 + share, rel=0.01)


@pytest.mark.parametrize(("settings", "reason"), [({"pages": 2}, "at least 3"), ({"bits": 4}, "8")])
def test_wrong_settings_are_refused(settings: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        Quest(**settings)


def test_heads_and_devices_without_pages_are_refused(
    model: Qwen3VLForConditionalGeneration,
) -> None:
    with pytest.raises(Incompatible, match="for the CPU"):
        Plan(model.config, torch.device("cuda")).then(Quest())
    odd = model.config.replace(text_config=_with_head_dim(model.config, 24))
    with pytest.raises(Incompatible, match="24 dimensions"):
        Plan(odd).then(Quest())


def _with_head_dim(config: Qwen3VLConfig, dim: int) -> Any:
    return replace(config.text_config, head_dim=dim, mrope_section=(dim // 2 - 6, 3, 3))


def test_it_tells_when_another_technique_attends(model: Qwen3VLForConditionalGeneration) -> None:
    assert Quest().remarks(compile_recipe("quest", model.config)) == ()
    told = Quest().remarks(compile_recipe("quest|flash_attention_2", model.config))
    assert "another technique" in told[0]

"""flash_attention_2: the fused kernel serves every attention of the model, or an error says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from qwen3_vl.errors import DeviceError, Incompatible
from qwen3_vl.models.cache import DenseCache
from qwen3_vl.ops.attention import meaning
from qwen3_vl.optimization.attention import flash_attention_2
from qwen3_vl.optimization.attention.flash_attention_2 import FlashAttention2
from qwen3_vl.plan import Plan
from qwen3_vl.recipes import compile_recipe
from qwen3_vl.testing import Bench, tiny_config
from tests.support.bounds import check_attention, check_logits
from tests.unit.optimization.attention.test_memory_efficient_attention import metered, random

FUSED = "_scaled_dot_product_flash_attention_for_cpu"


def small(folder: Path) -> dict[str, Any]:  # noqa: ARG001
    """It has something to do on every prompt."""
    return {}


def test_the_logits_are_those_of_the_plain_model(bench: Bench) -> None:
    expected = bench.logits(bench.load())
    check_logits(bench.logits(bench.load(FlashAttention2())), expected, bench.config)


def test_prompt_pictures_chunks_and_steps_all_run_fused(bench: Bench) -> None:
    model, prompt = bench.load(FlashAttention2()), bench.prompts[3]
    text, vision = bench.config.text_config, bench.config.vision_config
    cache = DenseCache(text, 1, model.seams)

    def run() -> None:
        model(**vars(prompt), past_key_values=cache)
        for ids in (torch.arange(5), torch.arange(1)):
            model(ids.unsqueeze(0), past_key_values=cache)

    ran = metered(run).ran
    assert prompt.image_grid_thw is not None
    pictures = len(prompt.image_grid_thw)
    assert ran.count(FUSED) == 3 * text.num_hidden_layers + pictures * vision.depth
    assert not any("softmax" in name for name in ran)


@settings(deadline=None, max_examples=60)
@given(
    queries=st.integers(1, 20),
    past=st.integers(0, 20),
    kv_heads=st.integers(1, 2),
    group=st.integers(1, 3),
    dim=st.integers(1, 17),
    causal=st.booleans(),
)
def test_any_shape_gives_the_full_softmax(queries, past, kv_heads, group, dim, causal) -> None:
    q, k, v = random(queries, queries + past, kv_heads * group, kv_heads, dim)
    check_attention(FlashAttention2()(q, k, v, causal=causal), q, k, v, causal=causal)


@pytest.mark.parametrize("queries", [1, 9, 33])
def test_half_precision(queries: int) -> None:
    q, k, v = (x.bfloat16() for x in random(queries, 33, 4, 2, 16))
    check_attention(FlashAttention2()(q, k, v, causal=True), q, k, v, causal=True)


def test_scores_are_not_stored() -> None:
    q, k, v = random(256, 256, 4, 2, 8)
    meter = metered(lambda: FlashAttention2()(q, k, v, causal=True))
    assert meter.largest <= q.nbytes
    assert metered(lambda: meaning(q, k, v, causal=True)).largest >= 4 * 4 * 256**2


@pytest.mark.parametrize("queries", [1, 4, 9])
def test_gradients_are_those_of_the_full_softmax(queries: int) -> None:
    inputs = random(queries, 9, 4, 2, 6)
    gradients = []
    for mixer in (FlashAttention2(), meaning):
        leaves = [x.double().requires_grad_() for x in inputs]
        mixer(*leaves, causal=True).square().sum().backward()
        gradients.append([leaf.grad for leaf in leaves])
    torch.testing.assert_close(*gradients)


def uneven() -> tuple[Tensor, ...]:
    """Values shorter than keys, as in multi-head latent attention."""
    q, k, v = random(3, 3, 4, 2, 8)
    return q, k, v[..., :6]


def strided() -> tuple[Tensor, ...]:
    """The numbers of a head do not lie side by side."""
    return tuple(x.mT.contiguous().mT for x in random(3, 3, 4, 2, 8))


@pytest.mark.filterwarnings("ignore:Flash attention")  # torch says why, each cause as a warning
@pytest.mark.filterwarnings("ignore:All fused kernels")
@pytest.mark.parametrize("inputs", [uneven, strided])
def test_what_the_kernel_cannot_serve_is_an_error(inputs: Any) -> None:
    q, k, v = inputs()
    assert meaning(q, k, v, causal=True).isfinite().all(), "the slow way could"
    with pytest.raises(DeviceError, match=r"cannot serve torch\.float32 .* out of the recipe"):
        FlashAttention2()(q, k, v, causal=True)


def test_memory_that_runs_out_is_not_blamed_on_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    def starve(*_: object, **__: object) -> Tensor:
        raise torch.OutOfMemoryError("no memory left")

    monkeypatch.setattr(flash_attention_2, "attention", starve)
    with pytest.raises(torch.OutOfMemoryError, match="no memory left"):
        FlashAttention2()(*random(3, 3, 4, 2, 8), causal=True)


@pytest.mark.parametrize("capability", [(7, 0), (7, 5), (8, 0), (9, 0)], ids=str)
def test_a_gpu_before_ampere_is_refused_when_the_plan_is_made(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int]
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    plan = Plan(tiny_config(), torch.device("cuda"))
    if capability >= (8, 0):
        assert plan.then(FlashAttention2()).seams.mixer == FlashAttention2()
        return
    with pytest.raises(Incompatible, match=r"8\.0 or later; use memory_efficient_attention"):
        plan.then(FlashAttention2())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, None], ids=str)
def test_float32_on_a_gpu_is_refused_when_the_plan_is_made(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype | None
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (8, 0))
    assert compile_recipe("flash_attention_2", tiny_config(), "cpu", dtype).steps
    if dtype is not torch.float32:
        assert compile_recipe("flash_attention_2", tiny_config(), "cuda", dtype).steps
        return
    with pytest.raises(Incompatible, match=r"not in torch\.float32; set dtype to bfloat16"):
        compile_recipe("flash_attention_2", tiny_config(), "cuda", dtype)

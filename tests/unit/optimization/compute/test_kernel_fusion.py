"""kernel_fusion: the same layers in fewer calls, and what cannot be fused as it was."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from qwen3_vl.models.cache import DenseCache
from qwen3_vl.models.generation import Scorer
from qwen3_vl.models.packed import PackedLinear
from qwen3_vl.models.packing import Packing
from qwen3_vl.models.qwen3_vl import Qwen3VLForConditionalGeneration
from qwen3_vl.models.vision import Pictures
from qwen3_vl.ops import products
from qwen3_vl.optimization.attention.block_sparse_attention import BlockSparseAttention
from qwen3_vl.optimization.attention.memory_efficient_attention import MemoryEfficientAttention
from qwen3_vl.optimization.compute.kernel_fusion import KernelFusion
from qwen3_vl.optimization.kv_cache.kv_bf16 import KvBf16
from qwen3_vl.optimization.kv_cache.kv_int8 import KvInt8
from qwen3_vl.optimization.precision.head_int4 import HeadInt4
from qwen3_vl.optimization.precision.head_int8 import HeadInt8
from qwen3_vl.optimization.precision.weight_bf16 import WeightBf16
from qwen3_vl.optimization.precision.weight_int4 import WeightInt4
from qwen3_vl.optimization.precision.weight_int8 import WeightInt8
from qwen3_vl.optimization.vision.vision_int8 import VisionInt8
from qwen3_vl.plan import Optimization, remarks
from qwen3_vl.recipes import compile_recipe
from qwen3_vl.testing import Bench, tiny_config
from tests.support.tiny_models import CONFIGS, random_model

DECODER = WeightInt8(modules="language_model")
PACKED = [
    *((WeightInt4(),), (DECODER,), (WeightBf16(modules="language_model"),)),
    *((WeightInt4(), KvBf16()), (WeightInt4(), KvInt8())),
]


class Elsewhere(nn.Embedding):
    """A table in which each word stands a row further on."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__(*weight.shape, _weight=weight)

    def forward(self, words: Tensor) -> Tensor:
        return super().forward(words + 1)


def names(steps: tuple[Optimization, ...]) -> str:
    return "+".join(type(step).__name__ for step in steps)


@pytest.mark.parametrize("steps", PACKED, ids=names)
def test_fused_layers_say_what_modules_say(bench: Bench, steps: tuple[Optimization, ...]) -> None:
    """In pages a key between two codes may be rounded to the other one; then logits move by less
    than rounding moves them at all."""
    apart, fused = bench.load(*steps), bench.load(*steps, KernelFusion())
    expected, got = bench.logits(apart), bench.logits(fused)
    moved = (got - expected).square().mean().sqrt()
    lost = (expected - bench.logits(bench.load())).square().mean().sqrt()
    if len(steps) > 1:
        assert moved < 0.25 * lost
        return
    assert moved < 1e-5 * expected.square().mean().sqrt()
    assert bench.tokens(fused, count=8) == bench.tokens(apart, count=8)


@torch.inference_mode()
@pytest.mark.parametrize("steps", [(WeightInt4(), KvInt8()), (WeightInt8(),)], ids=names)
def test_all_layers_at_once_say_what_they_say_one_by_one(
    bench: Bench, steps: tuple[Optimization, ...]
) -> None:
    """Whoever watches layers makes them run one by one; a cache goes on from either."""
    model = bench.load(*steps, KernelFusion())
    shown: list[Tensor] = []
    text = model.config.text_config
    caches = [DenseCache(text, 1, model.seams) for _ in range(3)]
    for words in (list(range(5, 55)), [7], [9]):
        ids = torch.tensor([words])
        packing, pictures = Packing.of(ids, None), Pictures()
        at_once = model.model.run(ids, packing, pictures, cache=caches[0])
        assert torch.equal(model.model.step([words], caches[2]), at_once)
        one_by_one = model.model.run(ids, packing, pictures, cache=caches[1], watch=shown.append)
        assert torch.equal(at_once, one_by_one)
    assert len(shown) == 3 * (text.num_hidden_layers + 1)
    assert not torch.equal(shown[0], shown[1])  # what is shown stays as it was


@torch.inference_mode()
@pytest.mark.parametrize(
    "head", [HeadInt8(), HeadInt4(refine=5), HeadInt4(promising=3, refine=5)], ids=str
)
def test_a_packed_head_scores_in_the_same_call(
    bench: Bench, head: Optimization, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = bench.load(WeightInt4(), KvInt8(), head, KernelFusion())
    cache = DenseCache(model.config.text_config, 1, model.seams)
    score = Scorer(model.lm_head)
    asked: list[Tensor] = []
    alone = model.lm_head.forward
    monkeypatch.setattr(model.lm_head, "forward", lambda x: asked.append(x) or alone(x))
    for words in ([3, 4, 5], [7]):
        hidden = model.model.step([words], cache, score)
        logits = score(hidden)
        assert not asked
        assert torch.equal(logits, alone(hidden))
        assert torch.equal(score(hidden.clone()), logits)
        assert asked.pop().equal(hidden)
        weights = model.lm_head.packed
        model.lm_head.packed = weights.flip(0).clone()  # other words from now on
        assert not torch.equal(logits, alone(hidden))


@torch.inference_mode()
def test_all_layers_at_once_follow_weights_that_move(bench: Bench) -> None:
    model = bench.load(WeightInt4(), KvInt8(), KernelFusion())

    def step() -> Tensor:
        cache = DenseCache(model.config.text_config, 1, model.seams)
        model.model.step([[3, 4, 5]], cache)
        return model.model.step([[7]], cache)

    first = step()
    assert torch.equal(step(), first)
    model.to(torch.bfloat16)
    rounded = step()
    assert rounded.dtype == torch.bfloat16
    assert (rounded - first).abs().max() < 0.1 * first.abs().max()
    text = model.model.language_model
    text.embed_tokens.weight = nn.Parameter(text.embed_tokens.weight.roll(1, 0))
    assert (step() - rounded).abs().max() > 0.1 * first.abs().max()
    text.embed_tokens = Elsewhere(text.embed_tokens.weight)
    assert torch.equal(step(), rounded)
    text.norm.weight = nn.Parameter(torch.zeros_like(rounded[0]))
    assert step().abs().max() == 0


@torch.inference_mode()
@pytest.mark.parametrize("step", [WeightInt8(), VisionInt8()], ids=type)
def test_fused_blocks_see_what_modules_see(bench: Bench, step: Optimization) -> None:
    """Norms differ in the last bit, so a number between two codes may fall to the other one; then
    a picture's features move by less than rounding moves them at all. In some none does."""
    plain, apart, fused = bench.load(), bench.load(step), bench.load(step, KernelFusion())
    moved: list[Tensor] = []
    for prompt in bench.prompts:
        if prompt.pixel_values is None or prompt.image_grid_thw is None:
            continue
        exact, expected, got = (
            model.model.get_image_features(prompt.pixel_values, prompt.image_grid_thw).tokens
            for model in (plain, apart, fused)
        )
        moved.append((got - expected).norm() / expected.norm())
        assert (got - expected).norm() < (expected - exact).norm()
    assert torch.stack(moved).min() < 1e-6


@torch.inference_mode()
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_blocks_work_in_their_own_stream_alone(bench: Bench, dtype: torch.dtype) -> None:
    """They put what leaves them in the place of what comes in; patches and weights stay."""
    tower = bench.load(VisionInt8(), KernelFusion()).model.visual.to(dtype)
    prompt = bench.prompts[1]
    assert prompt.image_grid_thw is not None
    assert prompt.pixel_values is not None
    patches, grids = prompt.pixel_values.to(dtype), [tuple(map(int, prompt.image_grid_thw[0]))]
    before = patches.clone()
    first = tower(patches, grids)
    again = tower(patches, grids)
    assert torch.equal(patches, before)
    assert torch.equal(first.tokens, again.tokens)
    assert all(map(torch.equal, first.deepstack, again.deepstack))


def test_where_gradients_are_recorded_a_block_runs_as_it_is(bench: Bench) -> None:
    steps = (VisionInt8(), KernelFusion())
    apart, fused = bench.load(VisionInt8()), bench.load(*steps)
    grads: list[Tensor] = []
    prompt = bench.prompts[1]
    assert prompt.image_grid_thw is not None
    assert prompt.pixel_values is not None
    for model in (apart, fused):
        pixels = prompt.pixel_values.clone().requires_grad_()
        model.model.get_image_features(pixels, prompt.image_grid_thw).tokens.sum().backward()
        assert pixels.grad is not None
        grads.append(pixels.grad)
    assert torch.equal(*grads)


def test_layers_are_seven_products_in_four_calls(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = bench.load(WeightInt4(), KvInt8(), KernelFusion())
    calls: list[int] = []
    plain = products.Product.__call__

    def counted(self: products.Product, *args: Any, **named: Any) -> torch.Tensor:
        calls.append(len(self.matrices))
        return plain(self, *args, **named)

    monkeypatch.setattr(products.Product, "__call__", counted)
    model(torch.tensor([[1, 2, 3]]))
    assert calls == [3, 1, 2, 1] * model.config.text_config.num_hidden_layers


def test_a_layer_leaves_what_came_in_as_it_was(bench: Bench) -> None:
    model = bench.load(WeightInt4(), KernelFusion())
    cache = DenseCache(model.config.text_config, 1, model.seams)
    ids = torch.tensor([[1, 2, 3, 4]])
    out = model(ids, past_key_values=cache, output_hidden_states=True)
    assert out.hidden_states is not None
    seen, copies = list(out.hidden_states), [one.clone() for one in out.hidden_states]
    model(torch.tensor([[5]]), past_key_values=cache)
    assert all(torch.equal(*pair) for pair in zip(seen, copies, strict=True))
    assert len({one.data_ptr() for one in seen}) == len(seen)


def test_weights_that_move_are_found_again(bench: Bench) -> None:
    model = bench.load(WeightInt4(), KernelFusion())
    before = bench.logits(model)
    for module in model.modules():
        for name, buffer in list(module.named_buffers(recurse=False)):
            setattr(module, name, buffer.clone())
    assert torch.equal(bench.logits(model), before)


def test_a_module_that_is_replaced_is_not_used_any_more(bench: Bench) -> None:
    """Its weights are still there, and could be multiplied as if nothing had happened."""
    steps = (WeightInt4(), VisionInt8())
    fused, apart = bench.load(*steps, KernelFusion()), bench.load(*steps)
    before = bench.logits(fused)
    for model in (fused, apart):
        layer, block = model.model.language_model.layers[0], model.model.visual.blocks[0]
        for parent, name in ((layer.mlp, "down_proj"), (block.attn, "proj")):
            old = parent.get_submodule(name)
            assert isinstance(old, PackedLinear)
            parent.register_module(name, nn.Linear(old.in_features, old.out_features))
            for parameter in parent.get_submodule(name).parameters():
                nn.init.zeros_(parameter)
    expected, got = bench.logits(apart), bench.logits(fused)
    assert (before - expected).square().mean() > 100 * (got - expected).square().mean()


@pytest.mark.parametrize("name", CONFIGS)
def test_what_is_not_packed_runs_as_it_was(name: str, tmp_path: Path) -> None:
    """Not a bit changes; so it is with experts too, which nothing packs."""
    random_model(CONFIGS[name]).save_pretrained(tmp_path)
    seams = compile_recipe([KernelFusion()], CONFIGS[name]).seams
    load = Qwen3VLForConditionalGeneration.from_pretrained
    ids = torch.arange(1, 20).unsqueeze(0)
    with torch.inference_mode():
        assert torch.equal(load(tmp_path, seams=seams)(ids).logits, load(tmp_path)(ids).logits)


def test_a_bfloat16_model_gets_bfloat16_back(bench: Bench) -> None:
    model = bench.load(WeightInt8(), KvBf16(), KernelFusion()).to(torch.bfloat16)
    got = bench.logits(model)
    assert got.dtype == torch.bfloat16
    expected = bench.logits(bench.load(WeightInt8(), KvBf16()))
    apart = bench.logits(bench.load(WeightInt8(), KvBf16()).to(torch.bfloat16))
    error, lost = ((one.float() - expected).square().mean().sqrt() for one in (got, apart))
    assert error < 1.1 * lost  # between layers the stream keeps float32


@pytest.mark.parametrize(
    ("steps", "told"),
    [
        ((WeightInt4(), KvInt8(), VisionInt8()), ()),
        (
            (WeightInt4(), VisionInt8()),
            ("attention of the decoder runs in torch: the cache is not kv_int8, kv_bf16 or quest",),
        ),
        (
            (WeightInt4(), KvInt8(), VisionInt8(), BlockSparseAttention()),
            ("attention of the decoder runs in torch",),
        ),
        (
            (WeightInt8(), KvInt8(), MemoryEfficientAttention()),
            ("attention of the decoder runs", "attention of the vision tower runs in torch"),
        ),
        ((VisionInt8(),), ("4 of 4 layers run module by module",)),
        (
            (WeightInt4(modules=r"language_model\.layers\.1\."), KvInt8()),
            ("3 of 4 layers run module by module", "4 of 4 blocks of the vision tower run module"),
        ),
        (
            (
                WeightInt4(modules="[qkv]_proj"),
                WeightBf16(modules="(o|gate|up|down)_proj"),
                *(KvInt8(), VisionInt8()),
            ),
            (),
        ),
        (
            (
                WeightInt4(modules="([vo]|gate|up|down)_proj"),
                WeightBf16(modules="[qk]_proj"),
                *(KvInt8(), VisionInt8()),
            ),
            ("4 of 4 layers run module by module",),
        ),
    ],
)
def test_a_plan_tells_what_stays_apart(
    steps: tuple[Optimization, ...], told: tuple[str, ...]
) -> None:
    plan = compile_recipe([*steps, KernelFusion()], tiny_config())
    got = remarks(KernelFusion(), plan)
    assert len(got) == len(told)
    assert all(one.startswith(start) for one, start in zip(got, told, strict=True))


def test_two_conversations_at_once_do_not_disturb_each_other(bench: Bench) -> None:
    model = bench.load(WeightInt4(), KvInt8(), KernelFusion())
    alone = bench.tokens(model, count=4)
    with ThreadPoolExecutor(3) as threads:
        together = list(threads.map(lambda _: bench.tokens(model, count=4), range(3)))
    assert together == [alone] * 3

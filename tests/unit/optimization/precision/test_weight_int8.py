"""weight_int8: rounded weights, smaller, and saved as plain weights.

In float64 no kernel serves: there the restored weights are multiplied as they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from qwen3_vl.config.recipe import Step
from qwen3_vl.errors import ConfigError, Incompatible
from qwen3_vl.models.linears import linears
from qwen3_vl.models.packed import PackedLinear
from qwen3_vl.models.qwen3_vl import Qwen3VLForConditionalGeneration
from qwen3_vl.ops import native
from qwen3_vl.ops.packed import panel_bytes
from qwen3_vl.optimization.precision.weight_int8 import WeightInt8
from qwen3_vl.plan import Plan
from qwen3_vl.recipes import build, compile_recipe
from qwen3_vl.testing import Bench, check_op, tiny_config, tolerance
from tests.support.tiny_models import CONFIGS, random_model


def rounded(weight: Tensor) -> Tensor:
    """Each row on a grid of its own, whose ends are its largest weight."""
    step = weight.float().abs().amax(dim=1, keepdim=True) / 127
    return torch.where(step > 0, (weight.float() / step).round() * step, 0.0).to(weight.dtype)


class Weights:
    """A checkpoint of one linear module."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self._tensors = {"weight": weight, "bias": bias}

    def take(self, name: str, *shapes: tuple[int, ...]) -> Tensor:
        tensor = self._tensors[name]
        assert tensor is not None
        assert tuple(tensor.shape) in shapes
        return tensor

    def dtype(self, name: str) -> torch.dtype:
        tensor = self._tensors[name]
        assert tensor is not None
        return tensor.dtype

    def prepared(self, name: str, make: Callable[[], Tensor]) -> Tensor:
        assert name == "int8"
        return make()

    def place(self, tensor: Tensor) -> Tensor:
        return tensor


def random(outputs: int, inputs: int, rows: int, *, bias: bool) -> tuple[PackedLinear, list[Any]]:
    """A module of random weights, with these weights, its bias and something to multiply."""
    generator = torch.Generator().manual_seed(outputs * inputs)
    weight = torch.randn(outputs, inputs, generator=generator)
    added = torch.randn(outputs, generator=generator) if bias else None
    module = WeightInt8().linear(inputs, outputs, bias=bias)
    module.read(Weights(weight, added))
    return module, [weight, added, torch.randn(rows, inputs, generator=generator)]


@settings(deadline=None, max_examples=60)
@given(
    outputs=st.integers(1, 40),
    inputs=st.integers(1, 40),
    rows=st.integers(1, 5),
    bias=st.booleans(),
)
def test_a_product_is_that_of_the_rounded_weights(outputs, inputs, rows, bias) -> None:
    module, (weight, added, x) = random(outputs, inputs, rows, bias=bias)
    exact = F.linear(x.double(), rounded(weight).double())
    magnitude = F.linear(x.double().abs(), rounded(weight).double().abs())
    if added is not None:
        exact, magnitude = exact + added, magnitude + added.abs()
    check_op(module(x.double()), exact, tolerance(magnitude, inputs + 1, torch.float32))


@settings(deadline=None, max_examples=60)
@given(outputs=st.integers(1, 40), inputs=st.integers(1, 40))
def test_a_product_moves_by_half_a_step_for_each_input_at_most(outputs, inputs) -> None:
    module, (weight, _, x) = random(outputs, inputs, 3, bias=False)
    half = weight.double().abs().amax(dim=1) / 127 / 2
    exact = F.linear(x.double(), weight.double())
    magnitude = F.linear(x.double().abs(), weight.double().abs())
    allowed = x.double().abs().sum(dim=1, keepdim=True) * half
    # The grid itself is in float32: a weight on it carries two more roundings.
    allowed = allowed + tolerance(magnitude, inputs + 1, torch.float32, roundings=3)
    check_op(module(x.double()), exact, allowed)


@pytest.mark.usefixtures("torch_alone")
def test_the_logits_are_those_of_a_plain_model_with_rounded_weights(bench: Bench) -> None:
    technique, plain = WeightInt8(), bench.load()
    matched = {
        name: module
        for name, module in linears(plain).items()
        if re.search(technique.modules, name)
    }
    # Four products of attention and three of the MLP in each layer; two and two in vision.
    text, vision = bench.config.text_config, bench.config.vision_config
    assert len(matched) == 7 * text.num_hidden_layers + 4 * vision.depth
    before = bench.logits(plain)
    for module in matched.values():
        module.weight = nn.Parameter(rounded(module.weight))
    expected = bench.logits(plain)
    assert (expected - before).abs().max() > 1e-3
    torch.testing.assert_close(bench.logits(bench.load(technique)), expected, rtol=0, atol=1e-5)


def test_kernels_round_what_is_multiplied_and_nothing_more(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = bench.load(WeightInt8())
    with_kernels = bench.logits(model)
    monkeypatch.setattr(native, "kernels_for", lambda *_: None)
    expected = bench.logits(model)
    error = (with_kernels - expected).square().mean().sqrt() / expected.square().mean().sqrt()
    assert error < 0.03


def test_the_fewer_modules_the_nearer_the_plain_model(bench: Bench) -> None:
    expected = bench.logits(bench.load())
    errors = [
        float((bench.logits(bench.load(WeightInt8(modules))) - expected).square().mean().sqrt())
        for modules in (r"\.(self_attn|attn|mlp)\.", r"\.self_attn\.", r"\.0\.self_attn\.k_proj")
    ]
    assert errors == sorted(errors, reverse=True)
    assert 0 < errors[-1] < errors[0] / 2


def test_a_large_weight_costs_its_own_row_and_no_other() -> None:
    _, (weight, _, _) = random(4, 8, 1, bias=False)
    weight[1, 3] = 1000.0
    module = WeightInt8().linear(8, 4, bias=False)
    module.read(Weights(weight, None))
    held = module.stored()["weight"]
    assert held[1].nonzero().flatten().tolist() == [3]
    others = [0, 2, 3]
    assert torch.equal(held[others], rounded(weight[others]))


def size(model: nn.Module) -> int:
    return sum(x.nbytes for x in (*model.parameters(), *model.buffers()))


def test_a_weight_takes_a_byte_and_panels_are_full(bench: Bench) -> None:
    plain, small = bench.load(), bench.load(WeightInt8())
    matched = [
        module for name, module in linears(plain).items() if re.search(WeightInt8().modules, name)
    ]
    saved = sum(
        4 * module.weight.numel()
        - -(-len(module.weight) // 16) * panel_bytes(module.in_features, 8)
        for module in matched
    )
    assert size(plain) - size(small) == saved


def test_a_module_of_the_2b_model_takes_a_quarter_of_float32_and_half_of_bfloat16() -> None:
    config = tiny_config().preset("2b-instruct")
    with torch.device("meta"):
        hidden, inner = config.text_config.hidden_size, config.text_config.intermediate_size
        plain = nn.Linear(hidden, inner, bias=False)
        small = WeightInt8().linear(hidden, inner, bias=False)
    assert size(small) == pytest.approx(size(plain) / 4, rel=0.01)
    assert size(small) == pytest.approx(size(plain.bfloat16()) / 2, rel=0.01)


@pytest.mark.parametrize("name", CONFIGS)
def test_embeddings_head_router_and_experts_stay_as_they_are(name: str, tmp_path: Path) -> None:
    random_model(CONFIGS[name]).save_pretrained(tmp_path)
    seams = compile_recipe([WeightInt8()], CONFIGS[name]).seams
    model = Qwen3VLForConditionalGeneration.from_pretrained(tmp_path, seams=seams)
    plain = Qwen3VLForConditionalGeneration.from_pretrained(tmp_path)
    left, before = dict(model.named_parameters()), dict(plain.named_parameters())
    taken = {path.removesuffix(".weight") for path in before.keys() - left.keys()}
    assert taken == {path for path in linears(plain) if re.search(WeightInt8().modules, path)}
    assert not any(word in path for path in taken for word in ("embed", "head", "gate.", "experts"))
    assert all(torch.equal(left[path], before[path]) for path in left)


@pytest.mark.usefixtures("torch_alone")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_what_it_saves_is_an_ordinary_checkpoint_of_the_same_logits(
    bench: Bench, dtype: torch.dtype, tmp_path: Path
) -> None:
    bench.load().to(dtype).save_pretrained(tmp_path / "plain")
    seams = compile_recipe([WeightInt8()], bench.config).seams
    load = Qwen3VLForConditionalGeneration.from_pretrained
    rounded_model = load(tmp_path / "plain", seams=seams)
    rounded_model.save_pretrained(tmp_path / "saved")
    plain, again = load(tmp_path / "plain"), load(tmp_path / "saved")
    formats = {name: (tuple(x.shape), x.dtype) for name, x in plain.state_dict().items()}
    assert {name: (tuple(x.shape), x.dtype) for name, x in again.state_dict().items()} == formats
    expected = bench.logits(rounded_model)
    assert torch.equal(bench.logits(again), expected)
    assert not torch.equal(bench.logits(plain), expected)


@pytest.mark.usefixtures("torch_alone")
def test_a_model_that_was_cast_is_saved_as_it_was_cast(bench: Bench, tmp_path: Path) -> None:
    model = bench.load(WeightInt8()).to(torch.bfloat16)
    model.save_pretrained(tmp_path)
    again = Qwen3VLForConditionalGeneration.from_pretrained(tmp_path)
    assert {x.dtype for x in again.parameters()} == {torch.bfloat16}
    assert torch.equal(bench.logits(again), bench.logits(model))


@pytest.mark.parametrize(
    ("modules", "error", "cause"),
    [
        ("(", ConfigError, "weight_int8: modules '\\(' is not a regular expression"),
        ("nothing", Incompatible, "no linear module of this model fits 'nothing'"),
        (r"embed_tokens", Incompatible, "no linear module"),
    ],
)
def test_a_pattern_that_fits_nothing_is_refused(
    modules: str, error: type[Exception], cause: str
) -> None:
    with pytest.raises(error, match=cause):
        Plan(tiny_config()).then(build(Step("weight_int8", {"modules": modules})))

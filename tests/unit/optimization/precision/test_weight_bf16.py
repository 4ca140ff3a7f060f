"""weight_bf16: the weights that a bfloat16 checkpoint has, and the head with them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import nn

from qwen3_vl.config.recipe import Step
from qwen3_vl.errors import ConfigError, Incompatible
from qwen3_vl.models.linears import linears
from qwen3_vl.models.packed import PackedHead, PackedLinear, PackedScores
from qwen3_vl.models.qwen3_vl import Qwen3VLForConditionalGeneration
from qwen3_vl.optimization.precision.weight_bf16 import WeightBf16
from qwen3_vl.recipes import build, compile_recipe
from qwen3_vl.testing import Bench, tiny_config
from tests.support.tiny_models import CONFIGS, random_model

load = Qwen3VLForConditionalGeneration.from_pretrained


@pytest.fixture
def written(bench: Bench, tmp_path: Path) -> Path:
    """The checkpoint in bfloat16, as those of the hub are."""
    bench.load().to(torch.bfloat16).save_pretrained(tmp_path / "bf16")
    return tmp_path / "bf16"


def error_of(got: torch.Tensor, expected: torch.Tensor) -> float:
    return float((got - expected).square().mean().sqrt() / expected.square().mean().sqrt())


def test_a_bfloat16_checkpoint_keeps_every_bit(bench: Bench, written: Path, tmp_path: Path) -> None:
    seams = compile_recipe([WeightBf16()], bench.config).seams
    load(written, seams=seams).save_pretrained(tmp_path / "saved")
    before, after = load(written).state_dict(), load(tmp_path / "saved").state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert {one.dtype for one in after.values()} == {torch.bfloat16}


def test_kernels_are_nearer_to_float32_than_bfloat16_is(bench: Bench, written: Path) -> None:
    """Their sums are float32, and at most what is multiplied is rounded."""
    seams = compile_recipe([WeightBf16()], bench.config).seams
    expected = bench.logits(load(written).float())
    ours = error_of(bench.logits(load(written, seams=seams).float()), expected)
    theirs = error_of(bench.logits(load(written)).float(), expected)
    assert 0 < ours < theirs


@pytest.mark.usefixtures("torch_alone")
def test_the_logits_are_those_of_a_plain_model_with_rounded_weights(bench: Bench) -> None:
    technique, plain = WeightBf16(words=False), bench.load()
    matched = [
        module for name, module in linears(plain).items() if re.search(technique.modules, name)
    ]
    text, vision = bench.config.text_config, bench.config.vision_config
    assert len(matched) == 7 * text.num_hidden_layers + 4 * vision.depth
    before = bench.logits(plain)
    for module in matched:
        module.weight = nn.Parameter(module.weight.bfloat16().float())
    expected = bench.logits(plain)
    assert (expected - before).abs().max() > 1e-3
    torch.testing.assert_close(bench.logits(bench.load(technique)), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "kind"), [("dense_tied", PackedHead), ("dense_untied", PackedScores)]
)
def test_words_are_scored_so_too_if_wanted(
    name: str, kind: type[PackedLinear], tmp_path: Path
) -> None:
    random_model(CONFIGS[name]).save_pretrained(tmp_path)
    packed, left = (
        load(tmp_path, seams=compile_recipe([step], CONFIGS[name]).seams).lm_head
        for step in (WeightBf16(), WeightBf16(words=False))
    )
    assert type(packed) is kind
    assert not isinstance(left, PackedLinear)
    x = torch.randn(3, left.weight.shape[1])
    exact = x.double() @ left.weight.bfloat16().double().T
    torch.testing.assert_close(packed(x).double(), exact, rtol=1e-5, atol=1e-5)


def test_another_head_goes_with_it_where_words_are_left() -> None:
    with pytest.raises(Incompatible, match="both decide the seam 'head'"):
        compile_recipe("weight_bf16|head_int8", tiny_config())
    plan = compile_recipe("weight_bf16(words=false)|head_int8", tiny_config())
    assert {one.seam for one in plan.answers} == {"linear", "head"}


def test_a_module_of_the_2b_model_takes_the_bytes_of_bfloat16() -> None:
    text = tiny_config().preset("2b-instruct").text_config
    with torch.device("meta"):
        module = WeightBf16().linear(text.hidden_size, text.intermediate_size, bias=False)
    assert module.packed.nbytes == 2 * text.hidden_size * text.intermediate_size


def test_a_pattern_that_fits_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"weight_bf16: modules '\(' is not a regular expression"):
        build(Step("weight_bf16", {"modules": "("}))
    with pytest.raises(Incompatible, match="no linear module of this model fits 'nothing'"):
        compile_recipe("weight_bf16(modules=nothing)", tiny_config())

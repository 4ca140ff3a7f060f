"""weight_int4: what its weights become, in a quarter of the bytes of bfloat16."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn

from qwen3_vl.config.model import Qwen3VLConfig
from qwen3_vl.config.recipe import Step
from qwen3_vl.errors import ConfigError, Incompatible
from qwen3_vl.models.linears import linears
from qwen3_vl.ops.packed import pack, unpack
from qwen3_vl.optimization.precision.weight_int4 import WeightInt4
from qwen3_vl.plan import Plan
from qwen3_vl.recipes import build
from qwen3_vl.testing import Bench, tiny_config


@pytest.mark.usefixtures("torch_alone")
def test_the_logits_are_those_of_a_plain_model_with_rounded_weights(bench: Bench) -> None:
    technique, plain = WeightInt4(), bench.load()
    matched = {
        name: module
        for name, module in linears(plain).items()
        if re.search(technique.modules, name)
    }
    # Four products of attention and three of the MLP in each layer; the vision tower stays.
    assert len(matched) == 7 * bench.config.text_config.num_hidden_layers
    before = bench.logits(plain)
    for module in matched.values():
        weight = module.weight
        module.weight = nn.Parameter(unpack(pack(weight, 4), *weight.shape, 4))
    expected = bench.logits(plain)
    assert (expected - before).abs().max() > 1e-2
    torch.testing.assert_close(bench.logits(bench.load(technique)), expected, rtol=0, atol=1e-5)


def test_kernels_add_far_less_than_the_format_loses(
    bench: Bench, request: pytest.FixtureRequest
) -> None:
    plain, model = bench.logits(bench.load()), bench.load(WeightInt4())
    with_kernels = bench.logits(model)
    request.getfixturevalue("torch_alone")
    format_alone = bench.logits(model)
    added = (with_kernels - format_alone).square().mean()
    lost = (format_alone - plain).square().mean()
    assert added < 0.04 * lost


def test_a_module_of_the_2b_model_takes_little_more_than_four_bits_a_weight() -> None:
    text = Qwen3VLConfig.preset("2b-instruct").text_config
    with torch.device("meta"):
        module = WeightInt4().linear(text.hidden_size, text.intermediate_size, bias=False)
    bits = 8 * module.packed.nbytes / (text.hidden_size * text.intermediate_size)
    assert bits == pytest.approx(4.25 + 32 / text.hidden_size)


@pytest.mark.parametrize(
    ("modules", "error", "cause"),
    [
        ("(", ConfigError, r"weight_int4: modules '\(' is not a regular expression"),
        ("nothing", Incompatible, "no linear module of this model fits 'nothing'"),
    ],
)
def test_a_pattern_that_fits_nothing_is_refused(
    modules: str, error: type[Exception], cause: str
) -> None:
    with pytest.raises(error, match=cause):
        Plan(tiny_config()).then(build(Step("weight_int4", {"modules": modules})))

"""vision_int8: a rounded tower beside an untouched decoder."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from qwen3_vl.errors import Incompatible
from qwen3_vl.models.packed import PackedLinear
from qwen3_vl.models.qwen3_vl import Qwen3VLForConditionalGeneration
from qwen3_vl.optimization.attention.memory_efficient_attention import MemoryEfficientAttention
from qwen3_vl.optimization.precision.weight_int4 import WeightInt4
from qwen3_vl.optimization.precision.weight_int8 import WeightInt8
from qwen3_vl.optimization.vision.vision_int8 import VisionInt8
from qwen3_vl.plan import Plan, remarks
from qwen3_vl.recipes import compile_recipe
from qwen3_vl.testing import Bench, tiny_config


def test_text_alone_is_answered_to_the_bit(bench: Bench) -> None:
    plain, rounded = bench.load(), bench.load(VisionInt8())
    for prompt in bench.prompts:
        with torch.inference_mode():
            same = torch.equal(rounded(**vars(prompt)).logits, plain(**vars(prompt)).logits)
        assert same == (prompt.pixel_values is None)


def test_all_linear_modules_of_the_tower_are_packed_and_no_other(bench: Bench) -> None:
    model = bench.load(VisionInt8())
    packed = {name for name, one in model.named_modules() if isinstance(one, PackedLinear)}
    tower = tiny_config().vision_config
    assert len(packed) == 4 * tower.depth + 2 * (1 + len(tower.deepstack_visual_indexes))
    assert all(name.startswith("model.visual.") for name in packed)


def test_what_is_saved_is_an_ordinary_checkpoint(bench: Bench, tmp_path: Path) -> None:
    bench.load(VisionInt8()).save_pretrained(tmp_path)
    again = Qwen3VLForConditionalGeneration.from_pretrained(tmp_path)
    plain = dict(bench.load().named_parameters())
    for name, parameter in again.named_parameters():
        step = plain[name].abs().amax() / 127
        assert (parameter - plain[name]).abs().max() <= step


def test_it_goes_with_a_decoder_in_4_bits(bench: Bench) -> None:
    assert len(bench.tokens(bench.load(WeightInt4(), VisionInt8()), count=4)) == len(bench.prompts)


def test_weight_int8_beside_it_must_leave_the_tower_alone() -> None:
    with pytest.raises(Incompatible, match=r"both store model\.visual"):
        compile_recipe([WeightInt8(), VisionInt8()], tiny_config())
    compile_recipe([WeightInt8(modules="language_model"), VisionInt8()], tiny_config())


def test_it_is_for_the_cpu() -> None:
    with pytest.raises(Incompatible, match=r"not for cuda.* use weight_int8"):
        Plan(tiny_config(), torch.device("cuda")).then(VisionInt8())


def test_a_plan_tells_when_attention_is_not_rounded() -> None:
    technique = VisionInt8()
    assert remarks(technique, compile_recipe([technique], tiny_config())) == ()
    plan = compile_recipe([technique, MemoryEfficientAttention()], tiny_config())
    assert "another technique computes it" in remarks(technique, plan)[0]

"""What the format changes and what the kernels add are told apart."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from benchmarks.formats import Question, main, packed_matrices, restore, ways
from qwen3_vl.models.qwen3_vl import Qwen3VLForConditionalGeneration
from qwen3_vl.recipes import compile_recipe
from qwen3_vl.testing import tiny_config, tiny_prompts
from qwen3_vl.validation.quality.evaluate import divergences


@pytest.fixture
def plain() -> Qwen3VLForConditionalGeneration:
    return Qwen3VLForConditionalGeneration.random(tiny_config(), seed=3)


def questions() -> list[Question]:
    """Prompts with and without pictures, and answers that were drawn."""
    generator = torch.Generator().manual_seed(1)
    return [
        (vars(prompt), torch.randint(0, 300, (5,), generator=generator).tolist())
        for prompt in tiny_prompts(tiny_config())
    ]


def mean(against: Tensor, model: Tensor) -> float:
    kl = divergences(against, model)
    return sum(kl) / len(kl)


def test_kernels_add_far_less_than_four_bits_lose(plain: Qwen3VLForConditionalGeneration) -> None:
    asked = questions()
    heard = ways(plain, "weight_int4|head_int4|kernel_fusion", asked)
    assert {len(one) for one in heard.values()} == {5 * len(asked)}
    lost = mean(heard["checkpoint"], heard["format"])
    assert lost > 1e-3
    assert mean(heard["format"], heard["recipe"]) < 0.05 * lost


def test_a_format_that_keeps_all_changes_nothing(plain: Qwen3VLForConditionalGeneration) -> None:
    rounded = plain.bfloat16().float()
    heard = ways(rounded, "weight_bf16", questions())
    assert heard["format"].equal(heard["checkpoint"])


def test_a_packed_head_leaves_the_words_that_are_looked_up(
    plain: Qwen3VLForConditionalGeneration,
) -> None:
    words = plain.model.language_model.embed_tokens.weight.clone()
    packed = plain.with_seams(compile_recipe("head_int8", plain.config).seams)
    restore(plain, packed_matrices(packed))
    assert plain.model.language_model.embed_tokens.weight.equal(words)
    head = plain.lm_head.weight
    assert not head.equal(words)
    # Half a step of the largest number of a row.
    steps = words.abs().amax(dim=1, keepdim=True) / 127
    assert ((head - words).abs() <= 0.51 * steps).all()


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        (["nothing"], "there is no technique 'nothing'"),
        (["kv_int8"], "'kv_int8' packs no weights; ask for one such as weight_int4"),
        (["weight_int4", "--strength", "3"], "strength is 3; it must be a power of two"),
        (["weight_int4", "--items", "0"], "--items and --tokens must be at least 1"),
    ],
)
def test_what_cannot_be_measured_is_told(
    words: list[str], cause: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(words)
    assert cause in " ".join(capsys.readouterr().err.split())

"""head_int8, head_int4: words are scored by a packed copy of a tied table, or by a packed head."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from qwen3_vl.errors import ConfigError, Incompatible
from qwen3_vl.models.packed import PackedHead, PackedLinear, PackedScores
from qwen3_vl.models.qwen3_vl import Qwen3VLForConditionalGeneration
from qwen3_vl.ops.packed import Bits
from qwen3_vl.optimization.precision.head_int4 import HeadInt4
from qwen3_vl.optimization.precision.head_int8 import HeadInt8
from qwen3_vl.plan import Optimization
from qwen3_vl.recipes import compile_recipe
from qwen3_vl.testing import Bench
from tests.support.tiny_models import CONFIGS, random_model

HEADS: list[tuple[Optimization, Bits, float]] = [
    (HeadInt8(), 8, 0.02),
    (HeadInt4(), 4, 0.15),
    (HeadInt4(promising=1000), 4, 0.15),
]


def load(name: str, folder: Path, technique: Optimization) -> Qwen3VLForConditionalGeneration:
    random_model(CONFIGS[name]).save_pretrained(folder)
    seams = compile_recipe([technique], CONFIGS[name]).seams
    return Qwen3VLForConditionalGeneration.from_pretrained(folder, seams=seams)


@pytest.mark.parametrize(("technique", "bits", "most"), HEADS)
@pytest.mark.parametrize(
    ("name", "kind"), [("dense_tied", PackedHead), ("dense_untied", PackedScores)]
)
def test_the_head_is_packed_from_the_weights_it_has(
    name: str,
    kind: type[PackedLinear],
    technique: Optimization,
    bits: Bits,
    most: float,
    tmp_path: Path,
) -> None:
    model = load(name, tmp_path, technique)
    head, exact = model.lm_head, random_model(CONFIGS[name]).lm_head.weight
    assert type(head) is kind
    assert isinstance(head, PackedLinear)
    assert head.bits == bits
    restored = head.matrix.weight
    assert 0 < (restored - exact).norm() < most * exact.norm()
    x = torch.randn(3, exact.shape[1], dtype=torch.float64)
    torch.testing.assert_close(head(x), F.linear(x, restored.double()))


@pytest.mark.parametrize("technique", [HeadInt8(), HeadInt4(), HeadInt4(promising=3)], ids=str)
@pytest.mark.parametrize("name", ["dense_tied", "dense_untied"])
def test_logits_are_not_rounded_to_the_dtype_of_the_model(
    name: str, technique: Optimization, tmp_path: Path
) -> None:
    head = load(name, tmp_path, technique).to(torch.bfloat16).lm_head
    x = torch.randn(3, CONFIGS[name].text_config.hidden_size).bfloat16()
    assert head(x).dtype == torch.float32
    assert head(x).equal(head(x.float()))


@pytest.mark.parametrize("technique", [HeadInt8(), HeadInt4(refine=5)], ids=str)
def test_hidden_states_may_come_in_rows(technique: Optimization, tmp_path: Path) -> None:
    head = load("dense_tied", tmp_path, technique).lm_head
    x = torch.randn(2, 3, CONFIGS["dense_tied"].text_config.hidden_size)
    assert torch.equal(head(x), torch.stack([head(row) for row in x]))
    assert head(x[0, 0]).shape == (CONFIGS["dense_tied"].text_config.vocab_size,)


@pytest.mark.parametrize("technique", [HeadInt8(), HeadInt4(), HeadInt4(promising=3)], ids=str)
@pytest.mark.parametrize("name", ["dense_tied", "dense_untied"])
def test_what_it_saves_is_an_ordinary_checkpoint(
    name: str, technique: Optimization, tmp_path: Path
) -> None:
    load(name, tmp_path / "first", technique).save_pretrained(tmp_path / "saved")
    plain, again = random_model(CONFIGS[name]), tmp_path / "saved"
    saved = Qwen3VLForConditionalGeneration.from_pretrained(again)
    assert saved.state_dict().keys() == plain.state_dict().keys()
    table = plain.model.language_model.embed_tokens.weight
    assert torch.equal(saved.model.language_model.embed_tokens.weight, table)


@pytest.mark.parametrize(("technique", "bits", "most"), HEADS)
def test_logits_change_and_nothing_before_them(
    bench: Bench, technique: Optimization, bits: Bits, most: float
) -> None:
    plain, small = bench.load(), bench.load(technique)
    assert isinstance(small.lm_head, PackedLinear)
    assert small.lm_head.bits == bits
    prompt = vars(bench.prompts[1])
    with torch.inference_mode():
        one, other = (model.model(**prompt).last_hidden_state for model in (plain, small))
        assert torch.equal(one, other)
    expected, got = bench.logits(plain), bench.logits(small)
    error = (got - expected).square().mean().sqrt() / expected.square().mean().sqrt()
    assert 0 < error < most


def test_promising_words_are_scored_as_if_all_were(bench: Bench) -> None:
    """Where a word stands out, as in answers of trained models, it is among them."""
    full, some = bench.load(HeadInt4()), bench.load(HeadInt4(promising=3))
    with torch.inference_mode():
        x = bench.load().lm_head.weight[10:16]
        expected, got = full.lm_head(x), some.lm_head(x)
    assert expected.argmax(dim=1).tolist() == got.argmax(dim=1).tolist() == list(range(10, 16))
    assert torch.equal(expected.amax(dim=1), got.amax(dim=1))
    same = (expected == got).sum(dim=1)
    assert same.min() >= 3 * 16
    assert same.max() < 5 * 16
    assert 0 < (got - expected).std() < 0.5 * expected.std()


def test_refined_words_are_scored_as_by_the_plain_head(bench: Bench) -> None:
    plain = bench.load()
    words = plain.config.text_config.vocab_size
    expected, rough = bench.logits(plain), bench.logits(bench.load(HeadInt4()))
    some = bench.logits(bench.load(HeadInt4(refine=5)))
    all_ = bench.logits(bench.load(HeadInt4(refine=words)))
    torch.testing.assert_close(all_, expected)
    likeliest = rough.topk(5).indices
    torch.testing.assert_close(some.gather(1, likeliest), expected.gather(1, likeliest))
    left = torch.ones_like(rough).scatter(1, likeliest, 0).bool()
    assert torch.equal(some[left], rough[left])
    assert not torch.equal(some, rough)


def test_more_tokens_than_are_refined_together_are_each_refined(bench: Bench) -> None:
    head = bench.load(HeadInt4(refine=3)).lm_head
    x = torch.randn(40, head.in_features, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        together, apart = head(x[:8]), torch.cat([head(one) for one in x[:8].split(1)])
        torch.testing.assert_close(together, apart, rtol=1e-5, atol=1e-5)
        many = head(x)
    exact = x @ bench.load().lm_head.weight.detach().T
    assert ((many - exact).abs() < 1e-4).sum(dim=1).min() >= 3


def test_a_head_that_cannot_be_refined_is_refused() -> None:
    with pytest.raises(Incompatible, match="not tied: use refine=0, or head_int8"):
        compile_recipe([HeadInt4(refine=8)], CONFIGS["dense_untied"])
    with pytest.raises(Incompatible, match=r"there are \d+ words"):
        compile_recipe([HeadInt4(refine=10**9)], CONFIGS["dense_tied"])
    with pytest.raises(ConfigError, match="refine must be at least 0"):
        HeadInt4(refine=-1)
    with pytest.raises(ConfigError, match="promising must be at least 0"):
        HeadInt4(promising=-1)

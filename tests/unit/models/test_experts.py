"""Experts: each token gets the mix that a plain loop computes, from either layout on disk."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from qwen3_vl.config.model import ExpertsConfig
from qwen3_vl.models.experts import MoeLayer
from qwen3_vl.models.qwen3_vl import Qwen3VLForConditionalGeneration
from qwen3_vl.models.text import TextMLP
from tests.support.tiny_models import CONFIGS, tiny_inputs, tiny_model


@pytest.fixture
def layer() -> MoeLayer:
    (layer, *_) = (m for m in tiny_model("experts").modules() if isinstance(m, MoeLayer))
    return layer


def random(*shape: int, seed: int = 0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def mixed(layer: MoeLayer, token: torch.Tensor) -> torch.Tensor:
    """One token by the formula: all experts answer, and the best two are weighed."""
    odds = (layer.gate.weight @ token).softmax(dim=0)
    best = odds.topk(2).indices.tolist()
    answer = torch.zeros_like(token)
    for expert in best:
        gate, up = (token @ layer.experts.gate_up_proj[expert]).chunk(2)
        share = odds[expert] / odds[best].sum()
        answer += share * ((F.silu(gate) * up) @ layer.experts.down_proj[expert])
    return answer


@torch.no_grad()
@pytest.mark.parametrize("tokens", [1, 2, 40])
def test_each_token_gets_the_mix_of_its_best_experts(layer, tokens):
    x = random(tokens, 64)
    expected = torch.stack([mixed(layer, token) for token in x])
    torch.testing.assert_close(layer(x), expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_shares_add_up_to_one_and_tokens_choose_differently(layer):
    chosen, shares = layer.gate(random(100, 64))
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(100))
    assert (chosen[:, 0] != chosen[:, 1]).all()
    assert len(chosen.unique()) == 6


def test_gradients_reach_the_router_and_the_chosen_experts_only(layer):
    x = random(1, 64)
    layer(x).square().sum().backward()
    chosen = set(layer.gate(x)[0].flatten().tolist())
    reached = layer.experts.down_proj.grad.flatten(1).abs().amax(dim=1) > 0
    assert set(reached.nonzero().flatten().tolist()) == chosen
    assert layer.gate.weight.grad.abs().sum() > 0


def test_the_config_chooses_the_layers_with_experts():
    experts = ExpertsConfig(6, 2, 24, decoder_sparse_step=2, mlp_only_layers=(3,))
    config = CONFIGS["experts"]
    config = config.replace(text_config=replace(config.text_config, experts=experts))
    layers = Qwen3VLForConditionalGeneration.skeleton(config).model.language_model.layers
    assert [type(layer.mlp) for layer in layers] == [TextMLP, MoeLayer, TextMLP, TextMLP]


@torch.no_grad()
@pytest.mark.parametrize("inner", [24, 32, 64], ids=["no", "gate_up", "down"])
def test_either_layout_on_disk_gives_the_same_model(tmp_path, inner):
    """With hidden 64, an inner size of 32 or 64 makes one of the two tensors square."""
    base = CONFIGS["experts"]
    experts = ExpertsConfig(3, 2, inner)
    config = base.replace(text_config=replace(base.text_config, experts=experts))
    model = Qwen3VLForConditionalGeneration.random(config)
    inputs = tiny_inputs(config, [7])
    expected = model(**inputs).logits
    model.save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    official = tensors["model.language_model.layers.0.mlp.experts.gate_up_proj"]
    assert official.shape == (3, 64, 2 * inner)
    for name in [name for name in tensors if ".mlp.experts." in name]:
        tensors[name] = tensors[name].mT.contiguous()
    save_file(tensors, file, metadata={"format": "pt"})
    swapped = Qwen3VLForConditionalGeneration.from_pretrained(tmp_path)
    assert torch.equal(swapped(**inputs).logits, expected)

"""The decoder: one layer by the formula, causality, and what a watcher sees."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from qwen3_vl.models.cache import NoCache
from qwen3_vl.models.fusion import Fused
from qwen3_vl.models.text import repeat_kv
from qwen3_vl.ops.attention import meaning
from tests.support.tiny_models import CONFIGS, tiny_model


def random(*shape: int, seed: int = 0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def start(*pieces: torch.Tensor, places: tuple[int, ...] = ()) -> Fused:
    return Fused(pieces[0], torch.tensor(places, dtype=torch.long), tuple(pieces[1:]))


def norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    return weight * x / (x.square().mean(dim=-1, keepdim=True) + eps).sqrt()


def by_the_formula(layer, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, eps: float):
    own = dict(layer.named_parameters())

    def linear(name: str, y: torch.Tensor) -> torch.Tensor:
        return F.linear(y, own[f"{name}.weight"], own.get(f"{name}.bias"))

    def rotate(y: torch.Tensor) -> torch.Tensor:
        first, second = y[..., :8], y[..., 8:]
        turned = torch.cat((-second, first), dim=-1)
        return y * cos.unsqueeze(1) + turned * sin.unsqueeze(1)

    y = norm(x, own["input_layernorm.weight"], eps)
    q, k, v = (linear(f"self_attn.{part}_proj", y).view(len(x), -1, 16) for part in "qkv")
    q = rotate(norm(q, own["self_attn.q_norm.weight"], eps))
    k = rotate(norm(k, own["self_attn.k_norm.weight"], eps))
    x = x + linear("self_attn.o_proj", meaning(q, k, v, causal=True).flatten(1))
    y = norm(x, own["post_attention_layernorm.weight"], eps)
    gate = F.silu(linear("mlp.gate_proj", y))
    return x + linear("mlp.down_proj", gate * linear("mlp.up_proj", y))


@torch.no_grad()
@pytest.mark.parametrize("name", ["dense_tied", "attention_bias"])
def test_a_layer_is_its_formula(name):
    text = tiny_model(name).model.language_model
    x, positions = random(9, 64), torch.arange(9).expand(3, -1)
    rotary = text.rotary.angles(positions, torch.float32)
    actual = text.layers[1](x, rotary, NoCache([9]))
    expected = by_the_formula(
        text.layers[1], x, *rotary.pair, CONFIGS[name].text_config.rms_norm_eps
    )
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_a_token_does_not_see_what_follows_it():
    text = tiny_model("dense_tied").model.language_model
    x, positions = random(6, 64), torch.arange(6).expand(3, -1)
    before = text(start(x), positions, NoCache([6]))
    changed = x.clone()
    changed[3] = random(64, seed=1)
    after = text(start(changed), positions, NoCache([6]))
    torch.testing.assert_close(before[:3], after[:3])
    assert ((before - after)[3:].abs().amax(dim=1) > 1e-3).all()


@torch.no_grad()
def test_positions_matter_and_only_their_distances_do():
    text = tiny_model("dense_tied").model.language_model
    x, positions = random(6, 64), torch.arange(6).expand(3, -1)
    here = text(start(x), positions, NoCache([6]))
    torch.testing.assert_close(
        text(start(x), positions + 50, NoCache([6])), here, rtol=1e-3, atol=1e-3
    )
    spread = text(start(x), positions * 3, NoCache([6]))
    assert (here - spread)[1:].abs().max() > 1e-2


@torch.no_grad()
def test_deepstack_adds_after_each_of_the_first_layers():
    text = tiny_model("dense_tied").model.language_model
    x, positions = random(5, 64), torch.arange(5).expand(3, -1)
    taps = random(3, 2, 64, seed=1).unbind(0)
    actual = text(start(x, *taps, places=(1, 2)), positions, NoCache([5]))
    rotary = text.rotary.angles(positions, x.dtype)
    for index, layer in enumerate(text.layers):
        x = layer(x, rotary, NoCache([5]))
        if index < 3:
            x[1:3] += taps[index]
    torch.testing.assert_close(actual, text.norm(x))


@torch.no_grad()
def test_a_watcher_sees_the_embeddings_each_layer_before_deepstack_and_the_final_norm():
    text = tiny_model("dense_tied").model.language_model
    x, positions = random(5, 64), torch.arange(5).expand(3, -1)
    taps = random(3, 1, 64, seed=1).unbind(0)
    seen: list[torch.Tensor] = []
    out = text(start(x, *taps, places=(2,)), positions, NoCache([5]), seen.append)
    assert len(seen) == 5
    assert torch.equal(seen[0], x)
    rotary = text.rotary.angles(positions, x.dtype)
    assert torch.equal(seen[1], text.layers[0](x, rotary, NoCache([5])))
    assert torch.equal(seen[-1], out)


def test_key_heads_are_repeated_side_by_side():
    keys = torch.arange(2.0).view(1, 2, 1, 1).expand(1, 2, 3, 4)
    repeated = repeat_kv(keys, 2)
    assert repeated.shape == (1, 4, 3, 4)
    assert repeated[0, :, 0, 0].tolist() == [0, 0, 1, 1]
    assert torch.equal(repeat_kv(keys, 1), keys)


def test_gradients_reach_every_weight():
    model = tiny_model("attention_bias").model.language_model
    x, positions = random(5, 64), torch.arange(5).expand(3, -1)
    model(start(x), positions, NoCache([5])).square().sum().backward()
    without = [name for name, weight in model.named_parameters() if weight.grad is None]
    assert without == ["embed_tokens.weight"]

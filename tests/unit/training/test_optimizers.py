"""Every weight is moved by one optimizer; matrices by Muon if it is wanted, norms never pulled."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from qwen3_vl.hardware.cpu import read_cpu
from qwen3_vl.training.optimizers import Kind, optimizers
from tests.support.tiny_models import CONFIGS, tiny_model


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_every_weight_is_moved_once(name: str, kind: Kind) -> None:
    trained = dict(tiny_model(name).named_parameters())
    groups = [
        group for one in optimizers(kind, trained, 0.3, 0.9, 0.98) for group in one.param_groups
    ]
    moved = [id(one) for group in groups for one in group["params"]]
    assert sorted(moved) == sorted(map(id, trained.values()))
    for group in groups:
        for one in group["params"]:
            assert group["weight_decay"] == (0.3 if one.ndim > 1 else 0.0)


def test_muon_moves_products_and_no_tables() -> None:
    trained = dict(tiny_model("dense_untied").named_parameters())
    muon, rest = optimizers("muon", trained, 0.1, 0.9, 0.98)
    assert type(muon).__name__ == "Muon"
    names = {id(one): name for name, one in trained.items()}
    by_muon = {names[id(one)] for group in muon.param_groups for one in group["params"]}
    assert "model.language_model.layers.0.mlp.up_proj.weight" in by_muon
    assert not any("embed_tokens" in name or "lm_head" in name for name in by_muon)
    assert type(rest).__name__ == "AdamW"


@pytest.mark.parametrize(
    ("instructions", "inner"),
    [
        (("avx2", "fma"), torch.float32),
        (("avx512f", "avx512_bf16"), torch.bfloat16),
        (None, torch.float32),
    ],
)
def test_muon_computes_in_what_the_processor_has(
    monkeypatch: pytest.MonkeyPatch, instructions: tuple[str, ...] | None, inner: torch.dtype
) -> None:
    found = replace(read_cpu(), instructions=instructions)
    monkeypatch.setattr("qwen3_vl.training.optimizers.read_cpu", lambda: found)
    weight = torch.randn(8, 8, requires_grad=True)
    seen = set[torch.dtype]()
    real = torch.baddbmm

    def watched(*args: torch.Tensor, **factors: float) -> torch.Tensor:
        seen.update(one.dtype for one in args)
        return real(*args, **factors)

    monkeypatch.setattr(torch, "baddbmm", watched)
    (muon,) = optimizers("muon", {"weight": weight}, 0.1, 0.9, 0.98)
    weight.grad = torch.randn(8, 8)
    muon.step()
    assert seen == {inner}

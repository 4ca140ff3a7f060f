"""Every weight is moved by one optimizer; matrices by Muon if it is wanted, norms never pulled."""

from __future__ import annotations

import pytest
import torch

from qwen3_vl.errors import DependencyError
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


def test_without_muon_the_way_out_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.optim, "Muon")
    trained = dict(tiny_model("dense_tied").named_parameters())
    with pytest.raises(DependencyError, match=r"needs torch 2\.9 or later.* use adamw"):
        optimizers("muon", trained, 0.1, 0.9, 0.98)

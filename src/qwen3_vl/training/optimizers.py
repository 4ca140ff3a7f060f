"""What moves the weights: AdamW for all of them, or Muon for matrices and AdamW for the rest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor
from torch.optim import Optimizer

from qwen3_vl.errors import DependencyError

Kind = Literal["adamw", "muon"]
_TABLES = ("embed_tokens", "pos_embed", "lm_head", "reader")
"""Matrices that are looked up in or scored against, row by row: not products to Muon's taste."""


def optimizers(
    kind: Kind, trained: Mapping[str, Tensor], decay: float, momentum: float, spread: float
) -> list[Optimizer]:
    """The optimizers that together move all of these; norms and biases are not pulled down.

    Raises:
        DependencyError: Muon is wanted, and this torch has none.
    """
    matrices = {
        name: one
        for name, one in trained.items()
        if one.ndim == 2 and not any(table in name for table in _TABLES)
    }
    made: list[Optimizer] = []
    if kind == "muon" and matrices:
        made.append(_muon(matrices, decay))
        trained = {name: one for name, one in trained.items() if name not in matrices}
    groups = [
        {"params": [one for one in trained.values() if one.ndim > 1], "weight_decay": decay},
        {"params": [one for one in trained.values() if one.ndim <= 1], "weight_decay": 0.0},
    ]
    if any(group["params"] for group in groups):
        made.append(torch.optim.AdamW(groups, betas=(momentum, spread)))
    return made


def _muon(matrices: Mapping[str, Tensor], decay: float) -> Optimizer:
    if not hasattr(torch.optim, "Muon"):
        raise DependencyError(
            f"the optimizer muon needs torch 2.9 or later, here is {torch.__version__}; "
            "update torch or use adamw"
        )
    # Its steps are then as large as AdamW's, so that one learning rate suits both.
    return torch.optim.Muon(
        list(matrices.values()), weight_decay=decay, adjust_lr_fn="match_rms_adamw"
    )

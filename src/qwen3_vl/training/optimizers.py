"""What moves the weights: AdamW for all of them, or Muon for matrices and AdamW for the rest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor
from torch.optim import Optimizer

from qwen3_vl.hardware.cpu import read_cpu
from qwen3_vl.hardware.routing import arithmetic
from qwen3_vl.training.muon import Muon

Kind = Literal["adamw", "muon"]
_TABLES = ("embed_tokens", "pos_embed", "lm_head", "reader")
"""Matrices that are looked up in or scored against, row by row: not products to Muon's taste."""


def optimizers(
    kind: Kind, trained: Mapping[str, Tensor], decay: float, momentum: float, spread: float
) -> list[Optimizer]:
    """The optimizers that together move all of these; norms and biases are not pulled down."""
    matrices = {
        name: one
        for name, one in trained.items()
        if one.ndim == 2 and not any(table in name for table in _TABLES)
    }
    made: list[Optimizer] = []
    if kind == "muon" and matrices:
        inner = _computed_in(next(iter(matrices.values())).device)
        made.append(Muon(matrices.values(), weight_decay=decay, inner=inner))
        trained = {name: one for name, one in trained.items() if name not in matrices}
    groups = [
        {"params": [one for one in trained.values() if one.ndim > 1], "weight_decay": decay},
        {"params": [one for one in trained.values() if one.ndim <= 1], "weight_decay": 0.0},
    ]
    if any(group["params"] for group in groups):
        made.append(torch.optim.AdamW(groups, betas=(momentum, spread)))
    return made


def _computed_in(device: torch.device) -> torch.dtype:
    """The narrowest format that is fine enough for Muon and that the device really computes in."""
    if device.type == "cuda":
        able = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        able = arithmetic(read_cpu(), "bfloat16") is not None
    return torch.bfloat16 if able else torch.float32

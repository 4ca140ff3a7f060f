"""Muon, with the matrices of one shape in one product.

The step of a matrix is its momentum with all singular values brought near 1, so that what it seldom
does is learned as fast as what it often does. Models repeat few shapes in many layers, so that few
calls can do it for all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TypeVar, overload

import torch
from torch import Tensor
from torch.optim import Optimizer

_CURVE = (3.4445, -4.7750, 2.0315)
"""Of x, x³ and x⁵: steep at zero, so that after five rounds all that was above 0.01 is near 1."""
_ROUNDS = 5
_TINY = 1e-7
_R = TypeVar("_R")


class Muon(Optimizer):
    """What `torch.optim.Muon` computes, up to rounding; its steps are as large as AdamW's."""

    def __init__(
        self,
        matrices: Iterable[Tensor],
        lr: float = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        inner: torch.dtype = torch.bfloat16,
    ) -> None:
        """One learning rate suits these matrices and what AdamW moves beside them.

        The products are taken in `inner`: bfloat16 is fine enough, and slower by tens of times than
        float32 where no unit computes in it.
        """
        settings = {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "inner": inner}
        super().__init__(matrices, settings)
        if any(one.ndim != 2 for group in self.param_groups for one in group["params"]):
            raise ValueError("Muon moves matrices; give other weights to AdamW")

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], _R]) -> _R: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], _R] | None = None) -> _R | None:
        """Move all matrices that have a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            alike: dict[torch.Size, list[tuple[Tensor, Tensor]]] = {}
            for one in group["params"]:
                if one.grad is not None:
                    ahead = self._ahead(one, one.grad, group["momentum"])
                    alike.setdefault(one.shape, []).append((one, ahead))
            for shape, members in alike.items():
                matrices, ways = zip(*members, strict=True)
                size = group["lr"] * 0.2 * math.sqrt(max(shape))
                level = _level(torch.stack(ways).to(group["inner"]))
                for one, way in zip(matrices, level, strict=True):
                    one.mul_(1 - group["lr"] * group["weight_decay"]).add_(way, alpha=-size)
        return loss

    def _ahead(self, one: Tensor, gradient: Tensor, momentum: float) -> Tensor:
        """The momentum as it will be if this gradient comes once more."""
        state = self.state[one]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(one)
        kept: Tensor = state["momentum_buffer"].lerp_(gradient, 1 - momentum)
        return gradient.lerp(kept, momentum)


def _level(matrices: Tensor) -> Tensor:
    """A stack of matrices, each with all its singular values near 1."""
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / x.flatten(1).norm(dim=1).clamp(min=_TINY)[:, None, None]
    first, third, fifth = _CURVE
    for _ in range(_ROUNDS):
        square = x @ x.mT
        x = torch.baddbmm(
            x, torch.baddbmm(square, square, square, beta=third, alpha=fifth), x, beta=first
        )
    return x.mT if tall else x

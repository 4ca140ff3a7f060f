"""Long prompts see only the blocks of earlier tokens that hold most of the attention."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from qwen3_vl.errors import ConfigError
from qwen3_vl.plan import Guarantee, Neutral, Plan

_ROWS = 16
"""Blocks of queries that are scored at once."""


@dataclass(frozen=True)
class BlockSparseAttention:
    """Block-sparse attention for long prompts.

    Paper: XAttention, arXiv:2503.16428
    Seam: select
    Gives: less time for attention over prompts of many thousand tokens, by the share not seen
    Costs: what lies in the blocks left out is not seen; finding them takes 1/stride of full scores
    Avoid: below some 8000 tokens, where attention is a small part of the work
    """

    guarantee: ClassVar[Guarantee] = Neutral({"mass": 1.0})

    mass: float = 0.95
    """The share of the estimated attention that the chosen blocks must hold together."""
    block: int = 128
    """Tokens of a block."""
    stride: int = 16
    """Of each square of so many queries and keys only the antidiagonal is looked at."""
    shortest: int = 4096
    """Over fewer keys than this, and for a single new token, all is seen."""

    def __post_init__(self) -> None:
        if not 0 < self.mass <= 1:
            raise ConfigError("mass must be above 0 and at most 1")
        if min(self.block, self.stride) < 1 or self.block % self.stride or self.shortest < 0:
            raise ConfigError(
                "block and stride must be at least 1, block a multiple of stride, "
                "and shortest at least 0"
            )

    def apply(self, plan: Plan) -> Plan:
        """Choose blocks in every layer and head."""
        return plan.answer(self, select=self)

    def chosen(self, q: Tensor, k: Tensor) -> Tensor:
        """The first block, and the heaviest ones until they hold `mass`; all of them if short."""
        first, count = (len(k) - len(q)) // self.block, -(-len(k) // self.block)
        if self.mass == 1 or len(q) == 1 or len(k) < self.shortest or count == 1:
            return q.new_ones(k.shape[1], count - first, count, dtype=torch.bool)
        share = self.estimate(q, k)
        share, order = share.sort(dim=-1, descending=True)
        needed = share.cumsum(dim=-1) - share < self.mass
        needed = torch.zeros_like(needed).scatter(-1, order, needed)
        needed[..., 0] = True  # tokens at the start draw attention that belongs nowhere
        return needed

    def estimate(self, q: Tensor, k: Tensor) -> Tensor:
        """The share of each block of keys [kv_heads, query blocks, key blocks]; a row sums to 1.

        Tokens are folded in groups of `stride`, the queries in reverse: the product of two groups
        is then the sum over the antidiagonal of their square of scores.
        """
        kv_heads, dim = k.shape[1:]
        heads, cells = q.shape[1] // kv_heads, self.block // self.stride
        first, count = (len(k) - len(q)) // self.block, -(-len(k) // self.block)
        before, after = len(k) - len(q) - first * self.block, count * self.block - len(k)
        end = before + len(q)
        q = F.pad(q, (0, 0, 0, 0, before, after)).unflatten(0, (-1, self.stride)).flip(1)
        k = F.pad(k, (0, 0, 0, 0, 0, after)).unflatten(0, (-1, self.stride))
        q = q.unflatten(2, (kv_heads, heads)).permute(2, 0, 3, 1, 4).flatten(3)
        k = k.permute(2, 0, 1, 3).flatten(2)
        shares: list[Tensor] = []
        for row in range(0, count - first, _ROWS):  # so that no table of all scores is stored
            end_row = min(row + _ROWS, count - first)
            place = torch.arange(row * cells, end_row * cells, device=k.device)
            key = torch.arange((first + end_row) * cells, device=k.device)
            some = q[:, row * cells : end_row * cells].flatten(1, 2)
            scores = (some @ k[:, : len(key)].mT).float() * (dim**-0.5 / self.stride)
            hidden = key > (place + first * cells).view(-1, 1, 1)
            scores = scores.unflatten(1, (-1, heads)).masked_fill(hidden, float("-inf"))
            # Where there is no query but only padding, nothing is counted.
            real = ((place + 1) * self.stride > before) & (place * self.stride < end)
            weights = scores.softmax(dim=-1) * real.view(-1, 1, 1)
            weights = weights.unflatten(1, (-1, cells)).unflatten(-1, (-1, cells)).sum((2, 3, 5))
            weights = weights / (real.view(-1, cells).sum(dim=1) * heads).unsqueeze(1)
            shares.append(F.pad(weights, (0, count - weights.shape[-1])))
        return torch.cat(shares, dim=1)

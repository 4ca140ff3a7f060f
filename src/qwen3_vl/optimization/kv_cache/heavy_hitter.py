"""A cache of bounded size: the tokens that the latest queries looked at most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from qwen3_vl.errors import ConfigError
from qwen3_vl.plan import Guarantee, Neutral, Plan


@dataclass(frozen=True)
class HeavyHitter:
    """Heavy hitters.

    Paper: H2O, arXiv:2306.14048; summed over a window of queries as in SnapKV, arXiv:2404.14469
    Seam: retain
    Gives: a cache of `keep` tokens a head, and those since it was last thinned, chosen by attention
    Costs: what the latest queries did not look at is lost for later ones; a prompt is read whole
        first; a pass to score
    Avoid: for several questions about one picture or text: the first one decides what is left
    """

    guarantee: ClassVar[Guarantee] = Neutral({"keep": 1_000_000})

    keep: int = 4096
    sinks: int = 4
    recent: int = 128
    """The latest tokens, which stay in any case."""
    observed: int = 32
    """How many of the latest queries are asked; their own tokens are among the recent ones."""

    def __post_init__(self) -> None:
        if not 1 <= self.observed <= self.recent or self.sinks < 0:
            raise ConfigError("observed must be 1 … recent, and sinks at least 0")
        if self.keep <= self.sinks + self.recent:
            raise ConfigError(
                f"keep ({self.keep}) must be more than sinks and recent together "
                f"({self.sinks + self.recent}), or no place is left for heavy hitters"
            )

    def apply(self, plan: Plan) -> Plan:
        """Keep the heavy hitters of each head of each sequence."""
        return plan.answer(self, retain=self)

    def kept(self, length: int) -> int:
        """At most `keep`."""
        return min(length, self.keep)

    def score(self, k: Tensor, v: Tensor, queries: Tensor) -> Tensor:  # noqa: ARG002
        """The attention that each token got from the latest queries of the heads that share it."""
        asked, heads, dim = queries.shape
        keys, kv_heads, _ = k.shape
        grouped = queries.float().view(asked, kv_heads, heads // kv_heads, dim)
        scores = torch.einsum("qngd,knd->nqgk", grouped, k.float()) * dim**-0.5
        place = torch.arange(keys, device=k.device)
        own = place[keys - asked :]
        scores = scores.masked_fill(place > own[:, None, None], float("-inf"))
        worth = scores.softmax(dim=-1).sum(dim=(1, 2))
        worth[:, : self.sinks] = float("inf")
        worth[:, keys - self.recent :] = float("inf")
        return worth

"""A cache of bounded size whose tokens are drawn by lot: what every eviction has to beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from qwen3_vl.errors import ConfigError
from qwen3_vl.plan import Guarantee, Neutral, Plan


@dataclass(frozen=True)
class RandomEviction:
    """Random eviction.

    Paper: none; the null baseline of all papers on eviction
    Seam: retain
    Gives: a cache of at most `keep` tokens a head, and the result that a clever choice has to beat
    Costs: most of what is dropped was as good as what stays; a pass over the keys to draw lots
    Avoid: everywhere but in comparisons

    A token's lot is a hash of the signs of its key in that head, which no eviction changes. So what
    a head holds between sinks and latest tokens is an even draw from all that it has seen there,
    however many evictions that took. Two things bend this: a cache that rounds its keys can turn
    the sign of a number near zero, and that token draws once more; and tokens whose keys agree in
    all signs share a lot.
    """

    guarantee: ClassVar[Guarantee] = Neutral({"keep": 1_000_000})

    keep: int = 4096
    sinks: int = 4
    """The first tokens, which stay in any case."""
    recent: int = 128
    """The latest tokens, which stay in any case."""
    seed: int = 0
    """Another seed is another draw; the same one gives the same."""

    def __post_init__(self) -> None:
        if self.sinks < 0 or self.recent < 0:
            raise ConfigError("sinks and recent must be at least 0")
        if self.keep <= self.sinks + self.recent:
            raise ConfigError(
                f"keep ({self.keep}) must be more than sinks and recent together "
                f"({self.sinks + self.recent}), or no place is left to draw for"
            )

    def apply(self, plan: Plan) -> Plan:
        """Draw for each head of each sequence."""
        return plan.answer(self, retain=self)

    @property
    def observed(self) -> int:
        """It looks at no query."""
        return 0

    def kept(self, length: int) -> int:
        """At most `keep`."""
        return min(length, self.keep)

    def score(self, k: Tensor, v: Tensor, queries: Tensor) -> Tensor:  # noqa: ARG002
        """The lot of each token; the sinks and the latest above all."""
        # Not a hash of the place: places shift with each eviction, so the same ones would lose
        # every time, and what stands before them would stay for ever.
        limits = torch.iinfo(torch.int64)
        generator = torch.Generator().manual_seed(self.seed)
        numbers = torch.randint(limits.min, limits.max, k.shape[1:], generator=generator)
        # A sum of random numbers, one for each negative sign; that it overflows is meant.
        lots = torch.where(k < 0, numbers.to(k.device), 0).sum(dim=-1).T.contiguous()
        lots[:, : self.sinks] = limits.max
        lots[:, len(k) - self.recent :] = limits.max
        return lots

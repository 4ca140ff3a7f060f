"""A cache of constant size: the first tokens and the latest ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from qwen3_vl.errors import ConfigError
from qwen3_vl.plan import Guarantee, Neutral, Plan


@dataclass(frozen=True)
class SlidingWindow:
    """Sliding window with attention sinks.

    Paper: Efficient Streaming Language Models with Attention Sinks, arXiv:2309.17453
    Seam: retain
    Gives: memory and time per token that stop growing, however long the answer
    Costs: everything between sinks and window is forgotten, pictures too; a prompt is read whole
    Avoid: wherever an answer may depend on something further back than the window
    """

    guarantee: ClassVar[Guarantee] = Neutral({"window": 1_000_000})

    window: int = 4096
    sinks: int = 4

    def __post_init__(self) -> None:
        if self.window < 1 or self.sinks < 0:
            raise ConfigError("window must be at least 1 and sinks at least 0")

    def apply(self, plan: Plan) -> Plan:
        """Keep sinks and window of each sequence."""
        return plan.answer(self, retain=self)

    @property
    def observed(self) -> int:
        """It looks at no query."""
        return 0

    def kept(self, length: int) -> int:
        """Sinks and window, as far as there are so many."""
        return min(length, self.sinks + self.window)

    def score(self, k: Tensor, v: Tensor, queries: Tensor) -> Tensor:  # noqa: ARG002
        """The later the better; the sinks above all."""
        age = torch.arange(len(k), device=k.device, dtype=torch.float32)
        age[: self.sinks] = float("inf")
        return age.expand(k.shape[1], -1)

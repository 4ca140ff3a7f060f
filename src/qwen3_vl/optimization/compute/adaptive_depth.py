"""Not every layer runs: some never, and the later ones not for tokens that are decided."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from qwen3_vl.errors import ConfigError, Incompatible
from qwen3_vl.plan import Guarantee, Neutral, Plan


@dataclass(frozen=True)
class AdaptiveDepth:
    """Fewer layers for tokens that are easy.

    Paper: CALM, arXiv:2207.07061, for the exit; ShortGPT, arXiv:2403.03853, for layers left out
    Seam: depth
    Gives: less time for a new token that is sure early; and for every token, where layers are left
        out
    Costs: the head is computed once more for each token that is not sure; answers change
    Avoid: with models that were not trained to answer early, until it is measured on your task
    """

    guarantee: ClassVar[Guarantee] = Neutral({"skip": (), "threshold": 1.0})

    skip: tuple[int, ...] = ()
    """Layers that never run, counted from 0. The first ones, which DeepStack adds to, must."""
    exit_share: float = 0.75
    """After this share of the layers a new token may leave; its keys and values are then left in
    the layers after. 1: none leaves."""
    threshold: float = 0.95
    """It leaves if its likeliest answer is more probable than this."""

    def __post_init__(self) -> None:
        if not (0 <= self.exit_share <= 1 and 0 <= self.threshold <= 1):
            raise ConfigError("exit_share and threshold must be from 0 to 1")
        if len(set(self.skip)) < len(self.skip) or min(self.skip, default=0) < 0:
            raise ConfigError("skip must name each layer once, counted from 0")

    def apply(self, plan: Plan) -> Plan:
        """Run fewer layers of the decoder."""
        layers = plan.config.text_config.num_hidden_layers
        taps = len(plan.config.vision_config.deepstack_visual_indexes)
        if not all(taps <= layer < layers for layer in self.skip):
            raise Incompatible(
                f"adaptive_depth: layers that can be skipped are {taps} to {layers - 1}, "
                f"not {list(self.skip)}; DeepStack adds to the ones before"
            )
        if self.exit_after(layers) < taps:
            raise Incompatible(
                f"adaptive_depth: exit_share must be at least {taps}/{layers}, because DeepStack "
                f"adds to the first {taps} layers"
            )
        return plan.answer(self, depth=self)

    def skips(self, layer: int) -> bool:
        """Whether this layer never runs."""
        return layer in self.skip

    def exit_after(self, layers: int) -> int:
        """The share, rounded up."""
        return math.ceil(self.exit_share * layers)

    def leaves(self, logits: Tensor) -> Tensor:
        """Those whose likeliest answer is probable enough."""
        return logits.float().softmax(dim=-1).amax(dim=-1) > self.threshold

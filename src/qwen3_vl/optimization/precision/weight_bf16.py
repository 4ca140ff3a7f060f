"""Weights and head in bfloat16, as kernels read them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from qwen3_vl.models.linears import check_pattern
from qwen3_vl.models.packed import PackedLinear, packed_head
from qwen3_vl.plan import Bounded, Guarantee, Plan
from qwen3_vl.seams import LinearRule


@dataclass(frozen=True)
class WeightBf16:
    """Weights in bfloat16.

    Paper: bfloat16 for deep learning, arXiv:1905.12322
    Seam: linear
    Gives: with kernels, decoding at the speed of memory, with the very weights of a bfloat16
        checkpoint; sums are float32
    Costs: a tied head has a copy beside the table. Weights of a float32 checkpoint are rounded, by
        0.4 % at most. Where the processor multiplies bfloat16, kernels round what is multiplied to
        it too, but not for up to eight tokens
    Avoid: without kernels, where each product restores its weights
    """

    guarantee: ClassVar[Guarantee] = Bounded(0.02)

    modules: str = r"\.(self_attn|attn|mlp)\."
    """A regular expression: which linear modules, by name. Embeddings and experts are not among
    them."""

    words: bool = True
    """Whether words are scored so too. Without it, another technique may decide about the head."""

    def __post_init__(self) -> None:
        check_pattern(self.modules)

    def apply(self, plan: Plan) -> Plan:
        """Store the weights of these modules so, and the head."""
        plan = plan.answer(self, linear=LinearRule(self.modules, self))
        return plan.answer(self, head=self) if self.words else plan

    def linear(self, inputs: int, outputs: int, *, bias: bool) -> PackedLinear:
        """The module that holds the packed weights."""
        return PackedLinear(inputs, outputs, bias=bias, bits=16)

    def head(self, table: nn.Embedding | None, hidden: int, words: int) -> nn.Module:
        """The module that holds those of the head."""
        return packed_head(table, hidden, words, bits=16)

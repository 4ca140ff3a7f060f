"""Weights as 8-bit integers with a scale for each output."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from qwen3_vl.models.linears import check_pattern
from qwen3_vl.models.packed import PackedLinear
from qwen3_vl.plan import Bounded, Guarantee, Plan
from qwen3_vl.seams import LinearRule


@dataclass(frozen=True)
class WeightInt8:
    """Weights in 8 bits.

    Paper: LLM.int8(), arXiv:2208.07339, of which the rounding of weights by row is taken
    Seam: linear
    Gives: half the bytes of bfloat16 weights, a quarter of float32
    Costs: rounding errors of 0.4 % of a row's largest weight; kernels also round what is
        multiplied to 8 bits. Without kernels, as on a GPU, each product restores its weights
    Avoid: without kernels, where memory is not short
    """

    guarantee: ClassVar[Guarantee] = Bounded(0.05)

    modules: str = r"\.(self_attn|attn|mlp)\."
    """A regular expression: which linear modules, by name. Embeddings and head are not among
    them, nor are experts."""

    def __post_init__(self) -> None:
        check_pattern(self.modules)

    def apply(self, plan: Plan) -> Plan:
        """Store the weights of these modules so."""
        return plan.answer(self, linear=LinearRule(self.modules, self))

    def linear(self, inputs: int, outputs: int, *, bias: bool) -> PackedLinear:
        """The module that holds the packed weights."""
        return PackedLinear(inputs, outputs, bias=bias, bits=8)

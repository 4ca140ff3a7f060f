"""Weights in 4 bits with a scale for each group of 32."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from qwen3_vl.models.linears import check_pattern
from qwen3_vl.models.packed import PackedLinear
from qwen3_vl.plan import Bounded, Guarantee, Plan
from qwen3_vl.seams import LinearRule


@dataclass(frozen=True)
class WeightInt4:
    """Weights in 4 bits.

    Paper: group-wise rounding as in GPTQ, arXiv:2210.17323, without its corrections; scales of
        groups are 8-bit integers under a float32 scale of the row: 4.25 bits a weight
    Seam: linear
    Gives: a quarter of the bytes of bfloat16 weights, and so much more speed where memory is slow
    Costs: rounding errors of about 9 % of a weight; with kernels, tokens are rounded to 8 bits too
    Avoid: for small models, and where answers must not change
    """

    guarantee: ClassVar[Guarantee] = Bounded(0.5)

    modules: str = r"\.language_model\.layers\.\d+\.(self_attn|mlp)\."
    """A regular expression: which linear modules, by name."""

    def __post_init__(self) -> None:
        check_pattern(self.modules)

    def apply(self, plan: Plan) -> Plan:
        """Store the weights of these modules so."""
        return plan.answer(self, linear=LinearRule(self.modules, self))

    def linear(self, inputs: int, outputs: int, *, bias: bool) -> PackedLinear:
        """The module that holds the packed weights."""
        return PackedLinear(inputs, outputs, bias=bias, bits=4)

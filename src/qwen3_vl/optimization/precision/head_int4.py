"""The head in 4 bits: where words are many, it is read with every token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from qwen3_vl.models.packed import packed_head
from qwen3_vl.plan import Bounded, Guarantee, Plan


@dataclass(frozen=True)
class HeadInt4:
    """Words are scored in 4 bits.

    Paper: group-wise rounding as in GPTQ, arXiv:2210.17323, without its corrections; 4.25 bits a
        weight, as in weight_int4
    Seam: head
    Gives: half the time and bytes of head_int8, an eighth of a token's for the 2B model
    Costs: rounding errors of logits, near those that weight_int4 makes before
    Avoid: where probabilities of words matter, not only the likeliest; head_int8 keeps those
    """

    guarantee: ClassVar[Guarantee] = Bounded(0.15)

    def apply(self, plan: Plan) -> Plan:
        """Score so."""
        return plan.answer(self, head=self)

    def head(self, table: nn.Embedding | None, hidden: int, words: int) -> nn.Module:
        """The module that holds the packed weights."""
        return packed_head(table, hidden, words, bits=4)

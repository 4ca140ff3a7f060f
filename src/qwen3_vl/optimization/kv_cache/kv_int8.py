"""Keys and values in 8 bits, in pages that kernels attend over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from qwen3_vl.errors import Incompatible
from qwen3_vl.models.paged import PagedStore
from qwen3_vl.plan import Bounded, Guarantee, Plan


@dataclass(frozen=True)
class KvInt8:
    """The cache in 8 bits.

    Paper: PagedAttention, arXiv:2309.06180, for the pages; scales are per token and head
    Seam: kv_format
    Gives: half the bytes of a bfloat16 cache, and at long contexts time: kernels attend over pages
        as they are
    Costs: rounding errors of keys and values, and of queries where kernels attend
    Avoid: for short contexts, where the cache is small beside the weights
    """

    guarantee: ClassVar[Guarantee] = Bounded(0.05)

    def apply(self, plan: Plan) -> Plan:
        """Store the cache of every layer so."""
        if plan.device.type != "cpu":
            raise Incompatible(
                f"kv_int8: its pages are for the CPU, not for {plan.device}; use quantized_kv there"
            )
        return plan.answer(self, kv_format=self)

    def store(self) -> PagedStore:
        """An empty store."""
        return PagedStore(8)

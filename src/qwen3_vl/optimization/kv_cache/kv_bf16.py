"""Keys and values in bfloat16, in pages that kernels attend over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from qwen3_vl.errors import Incompatible
from qwen3_vl.models.paged import PagedStore
from qwen3_vl.plan import Bounded, Guarantee, Plan


@dataclass(frozen=True)
class KvBf16:
    """The cache in bfloat16.

    Paper: PagedAttention, arXiv:2309.06180, for the pages
    Seam: kv_format
    Gives: half the bytes of a float32 cache, and kernels that attend over pages
    Costs: nothing in a bfloat16 model; else the rounding of keys and values
    Avoid: where a cache in 8 bits is good enough, which is half as large
    """

    guarantee: ClassVar[Guarantee] = Bounded(0.01)

    def apply(self, plan: Plan) -> Plan:
        """Store the cache of every layer so."""
        if plan.device.type != "cpu":
            raise Incompatible(
                f"kv_bf16: its pages are for the CPU, not for {plan.device}; use quantized_kv there"
            )
        return plan.answer(self, kv_format=self)

    def store(self) -> PagedStore:
        """An empty store."""
        return PagedStore(16)

"""Attention tile by tile, in plain torch, for devices and masks without a fused kernel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from qwen3_vl.errors import ConfigError
from qwen3_vl.ops.chunked_attention import chunked_attention
from qwen3_vl.plan import Exact, Guarantee, Plan


@dataclass(frozen=True)
class MemoryEfficientAttention:
    """Attention tile by tile.

    Paper: Self-attention Does Not Need O(n²) Memory, arXiv:2112.05682
    Seam: mixer
    Gives: memory for one tile of scores instead of all, on any device
    Costs: time, where torch has a fused kernel: it runs many small operations
    Avoid: on CPUs and recent GPUs, whose fused kernels need no more memory and are faster
    """

    guarantee: ClassVar[Guarantee] = Exact()

    query_chunk: int = 512
    key_chunk: int = 1024

    def __post_init__(self) -> None:
        if min(self.query_chunk, self.key_chunk) < 1:
            raise ConfigError("query_chunk and key_chunk must be at least 1")

    def apply(self, plan: Plan) -> Plan:
        """Compute all attention, of text and pictures, in tiles."""
        return plan.answer(self, mixer=self)

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, *, causal: bool) -> Tensor:
        """Attend within one sequence."""
        tile = {"query_chunk": self.query_chunk, "key_chunk": self.key_chunk}
        return chunked_attention(q, k, v, causal=causal, **tile)[0]

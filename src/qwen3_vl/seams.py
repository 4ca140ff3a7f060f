"""The seams: small protocols through which a technique changes what the model does.

A seam asks one question and its default is the identity. Nothing here may hold behaviour.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class CacheView(Protocol):
    """What one forward pass sees of keys and values; it owns the attention call.

    How keys and values are stored, which of them a query sees, and which kernel runs are one
    decision, made behind this call. The sequences of a batch lie one after the other.
    """

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Store `k` and `v` [tokens, kv_heads, dim] and attend with `q` [tokens, heads, dim]."""
        ...

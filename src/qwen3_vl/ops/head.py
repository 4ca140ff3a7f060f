"""What each word scores: a packed table, and the likeliest again the table itself, in one call."""

from __future__ import annotations

import torch
from torch import Tensor

from qwen3_vl.ops import native
from qwen3_vl.ops.largest import largest
from qwen3_vl.ops.products import Packed, Product

_TOGETHER = 16
"""Tokens whose likeliest words are scored again at once: their rows of the table are copied."""


class Head:
    """Scores words; its parts stay where they are as long as it is used."""

    def __init__(self, matrix: Packed, table: Tensor | None = None, refined: int = 0) -> None:
        """So many words are `refined` by the `table` [words, hidden] that the `matrix` packs."""
        self.words = matrix.outputs
        self._product = Product(matrix)
        self._table = table
        self._refined = refined
        self.native = None
        """As kernels are told of it; None without them."""
        if table is None or native.keepable(table):
            self.native = native.head(self._product.joined, table, refined)

    def __call__(self, x: Tensor) -> Tensor:
        """The logits [tokens, words] of `x` [tokens, hidden], in float32 at least.

        To round so many to bfloat16 takes a hundredth of a token's time, and makes words equal that
        are not.
        """
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        kernels = native.kernels_for(x)
        if kernels is None or self.native is None or x.dtype != torch.float32:
            return self._one_by_one(x)
        x, logits = x.contiguous(), x.new_empty(len(x), self.words)
        kernels.score(native.pool(), self.native, x.data_ptr(), len(x), logits.data_ptr())
        return logits

    def _one_by_one(self, x: Tensor) -> Tensor:
        logits = self._product(x)
        if self._table is None:
            return logits
        parts = zip(logits.split(_TOGETHER), x.split(_TOGETHER), strict=True)
        return torch.cat([self._refine(self._table, *part) for part in parts])

    def _refine(self, table: Tensor, logits: Tensor, x: Tensor) -> Tensor:
        words = largest(logits, self._refined)
        exact = table[words].to(x.dtype) @ x.unsqueeze(-1)
        return logits.scatter(1, words, exact.squeeze(-1))

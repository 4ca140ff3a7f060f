"""Words scored by a packed table, the likeliest again by the table itself, in one native call."""

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

    def __init__(self, matrix: Packed, table: Tensor, refined: int) -> None:
        """The `matrix` is packed from the `table` [words, hidden]."""
        self._product = Product(matrix)
        self._table = table
        self._refined = refined
        self._native = None
        if native.keepable(table):
            self._native = native.head(self._product.joined, table, refined)

    def __call__(self, x: Tensor) -> Tensor:
        """The logits [tokens, words] of `x` [tokens, hidden], which is in float32 or float64."""
        kernels = native.kernels_for(x)
        if kernels is None or self._native is None or x.dtype != torch.float32:
            return self._one_by_one(x)
        x, logits = x.contiguous(), x.new_empty(len(x), len(self._table))
        kernels.score(native.pool(), self._native, x.data_ptr(), len(x), logits.data_ptr())
        return logits

    def _one_by_one(self, x: Tensor) -> Tensor:
        parts = zip(self._product(x).split(_TOGETHER), x.split(_TOGETHER), strict=True)
        return torch.cat([self._with_refined(*part) for part in parts])

    def _with_refined(self, logits: Tensor, x: Tensor) -> Tensor:
        words = largest(logits, self._refined)
        exact = self._table[words].to(x.dtype) @ x.unsqueeze(-1)
        return logits.scatter(1, words, exact.squeeze(-1))

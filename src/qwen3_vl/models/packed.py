"""A linear module whose weights are packed for the kernels."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from qwen3_vl.models.stored import StoredModule, TensorReader
from qwen3_vl.ops.head import Head
from qwen3_vl.ops.packed import Bits, empty, in_halves, pack
from qwen3_vl.ops.products import Packed, Product


class PackedLinear(StoredModule):
    """`x` times weights of 4, 8 or 16 bits, plus a bias.

    Where so many panels are `promising`, weights lie in halves: see `Packed`.
    """

    def __init__(
        self, inputs: int, outputs: int, *, bias: bool, bits: Bits, promising: int = 0
    ) -> None:
        super().__init__()
        self.in_features, self.out_features = inputs, outputs
        self.bits: Bits = bits
        self._promising = promising
        self.register_buffer("packed", empty(outputs, inputs, bits))
        # Without elements: it keeps the model's dtype, in which weights are written, through casts.
        self.register_buffer("written", torch.empty(0), persistent=False)
        self.bias = nn.Parameter(torch.empty(outputs)) if bias else None
        self.packed: Tensor
        self.written: Tensor
        self._product: tuple[int, Product] | None = None

    @property
    def matrix(self) -> Packed:
        """The weights as a product takes them."""
        return Packed(self.packed, self.out_features, self.in_features, self.bits, self._promising)

    @property
    def address(self) -> int:
        """Where the weights lie: asked for each layer and word, so by no detour."""
        return self._buffers["packed"].data_ptr()  # type: ignore[union-attr]

    def forward(self, x: Tensor) -> Tensor:
        """`x` [..., inputs] times the weights."""
        flat = self._multiplied(x.reshape(-1, self.in_features))
        return flat.reshape(*x.shape[:-1], self.out_features)

    def _multiplied(self, x: Tensor) -> Tensor:
        return self._joined()(x, bias=self.bias)

    def read(self, tensors: TensorReader) -> None:
        """Round the weights as they come from the file."""
        self.packed = tensors.prepared(
            self._form,
            lambda: self._rounded(tensors.take("weight", (self.out_features, self.in_features))),
        )
        self.written = torch.empty(0, dtype=tensors.dtype("weight"), device=self.packed.device)
        if self.bias is not None:
            self.bias = nn.Parameter(tensors.take("bias", tuple(self.bias.shape)))

    def stored(self) -> Mapping[str, Tensor]:
        """The restored weights, so that what is saved is an ordinary checkpoint."""
        stored = {"weight": self.matrix.weight.to(self.written.dtype)}
        return stored if self.bias is None else stored | {"bias": self.bias}

    def made(self) -> Mapping[str, Tensor]:
        """The packed weights."""
        return {self._form: self.packed}

    @property
    def _form(self) -> str:
        if self._promising:
            return f"int{self.bits}_halves"
        return "bf16" if self.bits == 16 else f"int{self.bits}"

    def _rounded(self, weight: Tensor) -> Tensor:
        packed = pack(weight, self.bits)
        return in_halves(packed) if self._promising else packed

    def _joined(self) -> Product:
        """A product of this matrix alone; made anew when its memory has moved."""
        at = self.address
        if self._product is None or self._product[0] != at:
            self._product = at, Product(self.matrix)
        return self._product[1]


class PackedScores(PackedLinear):
    """A head: its logits are in float32 at least, in which kernels make them."""

    def __init__(self, inputs: int, words: int, *, bits: Bits, promising: int = 0) -> None:
        super().__init__(inputs, words, bias=False, bits=bits, promising=promising)
        self._scoring: tuple[tuple[int, ...], Head] | None = None

    def _multiplied(self, x: Tensor) -> Tensor:
        return self.scoring()(x)

    def scoring(self) -> Head:
        """The call for it; made anew when memory has moved."""
        at = self._addresses()
        if self._scoring is None or self._scoring[0] != at:
            self._scoring = at, self._prepared()
        return self._scoring[1]

    def _addresses(self) -> tuple[int, ...]:
        return (self.address,)

    def _prepared(self) -> Head:
        return Head(self.matrix)


class PackedHead(PackedScores):
    """Scores words against a packed copy of the table that they are looked up in.

    The likeliest words, so many as `refine` says, it scores again with the table's own numbers.
    """

    def __init__(
        self, table: nn.Embedding, *, bits: Bits, refine: int = 0, promising: int = 0
    ) -> None:
        super().__init__(table.embedding_dim, table.num_embeddings, bits=bits, promising=promising)
        # In a tuple, so that torch does not count the table as this module's own.
        self._table = (table,)
        self._refine = refine

    def _addresses(self) -> tuple[int, ...]:
        return self.address, self._table[0].weight.data_ptr()

    def _prepared(self) -> Head:
        if not self._refine:
            return Head(self.matrix)
        return Head(self.matrix, self._table[0].weight.detach(), self._refine)

    def read(self, tensors: TensorReader) -> None:
        """Round the table, which has been read."""
        weight = self._table[0].weight.detach()
        self.packed = tensors.prepared(self._form, lambda: self._rounded(weight))
        self.written = weight.new_empty(0)

    def stored(self) -> Mapping[str, Tensor]:
        """Nothing of its own."""
        return {}


def packed_head(
    table: nn.Embedding | None,
    hidden: int,
    words: int,
    *,
    bits: Bits,
    refine: int = 0,
    promising: int = 0,
) -> PackedLinear:
    """A head of its own, or where it is tied one of this `table`."""
    if table is not None:
        return PackedHead(table, bits=bits, refine=refine, promising=promising)
    return PackedScores(hidden, words, bits=bits, promising=promising)

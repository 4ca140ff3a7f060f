"""The plain ways to hold keys and values: not at all, or one growing pair of tensors a layer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from qwen3_vl.config.model import TextConfig
from qwen3_vl.ops.attention import attention


class NoCache:
    """A view that remembers nothing: each sequence attends to itself. Training uses it."""

    def __init__(self, lengths: Sequence[int]) -> None:
        self.lengths = list(lengths)

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:  # noqa: ARG002
        """Causal attention within each sequence."""
        sequences = zip(*(x.split(self.lengths) for x in (q, k, v)), strict=True)
        return torch.cat([attention(*sequence, causal=True) for sequence in sequences])


class DenseCache:
    """Keys and values of some sequences, kept whole in the model's dtype.

    It also knows the next text position of each sequence, which a picture moves by less than its
    number of tokens; so all that a conversation leaves behind lies here, and nothing in the model.
    """

    def __init__(self, config: TextConfig, sequences: int) -> None:
        self.positions = [0] * sequences
        self.lengths = [0] * sequences
        layers = range(config.num_hidden_layers)
        self._stores = [[_Store() for _ in range(sequences)] for _ in layers]

    def get_seq_length(self) -> int:
        """The length of the longest sequence."""
        return max(self.lengths, default=0)

    def view(self, lengths: Sequence[int]) -> DenseView:
        """What one pass sees that brings `lengths` new tokens to the sequences."""
        return DenseView(self._stores, lengths)

    def advance(self, lengths: Sequence[int], positions: Sequence[int]) -> None:
        """Count the tokens of a pass that has ended, and note the positions that follow them."""
        self.lengths = [old + new for old, new in zip(self.lengths, lengths, strict=True)]
        self.positions = list(positions)


class DenseView:
    """One pass over a `DenseCache`."""

    def __init__(self, stores: Sequence[Sequence[_Store]], lengths: Sequence[int]) -> None:
        self._stores = stores
        self._lengths = list(lengths)

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Append the new keys and values of each sequence and attend to all it has."""
        split = zip(*(x.split(self._lengths) for x in (q, k, v)), strict=True)
        out = [
            attention(new_q, *store.append(new_k, new_v), causal=True)
            for store, (new_q, new_k, new_v) in zip(self._stores[layer], split, strict=True)
            if len(new_q)
        ]
        return torch.cat(out)


class _Store:
    """Keys and values of one sequence in one layer, in tensors that double when they are full."""

    def __init__(self) -> None:
        self._length = 0
        self._keys: Tensor | None = None
        self._values: Tensor | None = None

    def append(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        end = self._length + len(k)
        self._keys = self._room(self._keys, k, end)
        self._values = self._room(self._values, v, end)
        self._keys[self._length : end] = k
        self._values[self._length : end] = v
        self._length = end
        return self._keys[:end], self._values[:end]

    def _room(self, store: Tensor | None, new: Tensor, end: int) -> Tensor:
        if store is not None and len(store) >= end:
            return store
        larger = new.new_empty(max(end, 2 * self._length), *new.shape[1:])
        if store is not None:
            larger[: self._length] = store[: self._length]
        return larger

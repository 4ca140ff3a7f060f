"""From padded rows to flat tokens and back: padding is never computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from qwen3_vl.errors import InputError


@dataclass(frozen=True)
class Packing:
    """Which cells of a padded batch [rows, columns] hold tokens."""

    mask: Tensor
    """[rows, columns], true where a token is"""
    lengths: tuple[int, ...]
    """How many tokens each row has."""

    @classmethod
    def of(
        cls,
        input_ids: Tensor,
        attention_mask: Tensor | None,
        *,
        held: Sequence[int] | None = None,
    ) -> Packing:
        """Read the mask; it may begin with columns for what a cache holds: `held` tokens a row."""
        if input_ids.ndim != 2:
            raise InputError(f"input_ids must be [batch, tokens], not {list(input_ids.shape)}")
        if attention_mask is None:
            rows, columns = input_ids.shape
            return cls(torch.ones_like(input_ids, dtype=torch.bool), (columns,) * rows)
        fits = attention_mask.ndim == 2 and len(attention_mask) == len(input_ids)
        extra = attention_mask.shape[1] - input_ids.shape[1] if fits else -1
        if extra < 0 or (extra and held is None):
            raise InputError(
                f"attention_mask {list(attention_mask.shape)} does not fit "
                f"input_ids {list(input_ids.shape)}"
            )
        mask = attention_mask.bool()
        if not torch.equal(mask.to(attention_mask.dtype), attention_mask):
            raise InputError("attention_mask must be 1 where a token is and 0 where none is")
        past, mask = mask[:, :extra].sum(dim=1).tolist(), mask[:, extra:]
        if held is not None and extra and past != list(held):
            raise InputError(
                f"attention_mask shows {past} tokens of the past, but the cache holds "
                f"{list(held)}, and none of them can be hidden; leave out the past columns"
            )
        return cls(mask, tuple(mask.sum(dim=1).tolist()))

    def last(self, columns: int) -> Packing:
        """The packing of the last columns; 0 means all."""
        mask = self.mask[:, -columns:]
        return Packing(mask, tuple(mask.sum(dim=1).tolist()))

    def flatten(self, padded: Tensor) -> Tensor:
        """[rows, columns, …] to [tokens, …]; without padding nothing is copied."""
        if sum(self.lengths) == self.mask.numel():
            return padded.flatten(0, 1)
        return padded[self.mask]

    def pad(self, flat: Tensor) -> Tensor:
        """[tokens, …] to [rows, columns, …] with zeros where no token is.

        Without padding nothing is copied.
        """
        if len(flat) == self.mask.numel():
            return flat.unflatten(0, self.mask.shape)
        padded = flat.new_zeros(*self.mask.shape, *flat.shape[1:])
        padded[self.mask] = flat
        return padded

    def rows(self, flat: Tensor) -> tuple[Tensor, ...]:
        """The tokens of each row."""
        return flat.split(list(self.lengths))

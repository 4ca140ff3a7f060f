"""From padded rows to flat tokens and back: padding is never computed."""

from __future__ import annotations

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
        cls, input_ids: Tensor, attention_mask: Tensor | None, *, after_cache: bool = False
    ) -> Packing:
        """Read the mask; one `after_cache` may begin with columns for what the cache holds."""
        if input_ids.ndim != 2:
            raise InputError(f"input_ids must be [batch, tokens], not {list(input_ids.shape)}")
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        fits = attention_mask.ndim == 2 and len(attention_mask) == len(input_ids)
        extra = attention_mask.shape[-1] - input_ids.shape[1]
        if not fits or extra < 0 or (extra and not after_cache):
            raise InputError(
                f"attention_mask {list(attention_mask.shape)} does not fit "
                f"input_ids {list(input_ids.shape)}"
            )
        mask = attention_mask[:, extra:].bool()
        return cls(mask, tuple(mask.sum(dim=1).tolist()))

    def flatten(self, padded: Tensor) -> Tensor:
        """[rows, columns, …] to [tokens, …]."""
        return padded[self.mask]

    def pad(self, flat: Tensor) -> Tensor:
        """[tokens, …] to [rows, columns, …] with zeros where no token is."""
        padded = flat.new_zeros(*self.mask.shape, *flat.shape[1:])
        padded[self.mask] = flat
        return padded

    def rows(self, flat: Tensor) -> tuple[Tensor, ...]:
        """The tokens of each row."""
        return flat.split(list(self.lengths))

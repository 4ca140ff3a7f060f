"""Keys and values as small integers; the latest tokens stay as the model computed them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from qwen3_vl.errors import ConfigError, Incompatible
from qwen3_vl.models.cache import GrowingRows
from qwen3_vl.ops.rounding import pack_nibbles, quantise, restore, unpack_nibbles
from qwen3_vl.plan import Guarantee, Neutral, Plan


@dataclass(frozen=True)
class QuantizedKV:
    """Quantised keys and values.

    Paper: KIVI, arXiv:2402.02750, of which the recent window is taken; scales are per token
    Seam: kv_format
    Gives: 0.28 (8 bits) or 0.16 (4 bits) of the bytes of a float32 cache, at groups of 32
    Costs: rounding errors; every step restores the whole cache
    Avoid: for short contexts, where the cache is small beside the weights; for 8 bits on a CPU,
        where kernels read the codes of kv_int8 as they are
    """

    guarantee: ClassVar[Guarantee] = Neutral({"residual": 1_000_000})

    bits: Literal[4, 8] = 8
    group: int = 32
    """How many numbers share a scale."""
    residual: int = 64
    """How many of the latest tokens are kept as they are."""

    def __post_init__(self) -> None:
        if self.bits not in (4, 8):
            raise ConfigError(f"bits is {self.bits}; it can be 4 or 8")
        if self.group < 2 or self.group % 2 or self.residual < 0:
            raise ConfigError("group must be even and at least 2, residual at least 0")

    def apply(self, plan: Plan) -> Plan:
        """Store the cache of every layer so."""
        dim = plan.config.text_config.head_dim
        if dim % self.group:
            raise Incompatible(
                f"quantized_kv: heads of {dim} numbers do not split into groups of {self.group}; "
                f"choose a group that divides {dim}"
            )
        return plan.answer(self, kv_format=self)

    def store(self) -> QuantizedStore:
        """An empty store."""
        return QuantizedStore(self)


class QuantizedStore:
    """Old tokens as codes and scales, the latest ones whole."""

    def __init__(self, settings: QuantizedKV) -> None:
        self._settings = settings
        self._old = [_Codes(settings), _Codes(settings)]
        self._recent: list[Tensor] = []

    def append(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Take new tokens whole; round those that are no longer among the latest."""
        old = self._recent or [k[:0], v[:0]]
        self._recent = [torch.cat(pair) for pair in zip(old, (k, v), strict=True)]
        result = self.read()
        leaving = len(self._recent[0]) - self._settings.residual
        if leaving > 0:
            for codes, recent in zip(self._old, self._recent, strict=True):
                codes.append(recent[:leaving])
            self._recent = [recent[leaving:].clone() for recent in self._recent]
        return result

    def read(self) -> tuple[Tensor, Tensor]:
        """All tokens in the model's dtype."""
        k, v = (
            torch.cat((codes.restored(recent.dtype), recent)) if len(codes) else recent
            for codes, recent in zip(self._old, self._recent, strict=True)
        )
        return k, v

    def keep(self, index: Tensor) -> None:
        """Choose among codes and latest tokens without rounding anything again.

        The latest tokens stay whole only if every head keeps them all; else they are rounded.
        """
        old, recent = len(self._old[0]), len(self._recent[0])
        latest = torch.arange(old, old + recent, device=index.device).unsqueeze(1)
        if recent <= len(index) and bool((index[len(index) - recent :] == latest).all()):
            index = index[: len(index) - recent]
        else:
            for codes, rows in zip(self._old, self._recent, strict=True):
                codes.append(rows)
            self._recent = [rows[:0] for rows in self._recent]
        for codes in self._old:
            if len(codes):
                codes.keep(index)

    def __len__(self) -> int:
        return len(self._old[0]) + (len(self._recent[0]) if self._recent else 0)

    @property
    def nbytes(self) -> int:
        """Codes, scales and the latest tokens."""
        return sum(one.nbytes for one in (*self._old, *self._recent))


class _Codes:
    """Rows [tokens, kv_heads, dim] as integers with a scale for each group."""

    def __init__(self, settings: QuantizedKV) -> None:
        self._group = settings.group
        self._bits = settings.bits
        self._codes = GrowingRows()
        self._scales = GrowingRows()

    def append(self, rows: Tensor) -> None:
        codes, scales = quantise(rows.unflatten(-1, (-1, self._group)), self._bits)
        self._codes.append(pack_nibbles(codes) if self._bits == 4 else codes)
        self._scales.append(scales)

    def restored(self, dtype: torch.dtype) -> Tensor:
        codes = self._codes.rows
        codes = unpack_nibbles(codes) if self._bits == 4 else codes
        return restore(codes, self._scales.rows, dtype).flatten(-2)

    def keep(self, index: Tensor) -> None:
        self._codes.keep(index)
        self._scales.keep(index)

    def __len__(self) -> int:
        return len(self._codes)

    @property
    def nbytes(self) -> int:
        return self._codes.nbytes + self._scales.nbytes

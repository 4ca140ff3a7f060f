"""Keys and values in pages of 32 tokens as kernels read them (csrc/cpu/pages.h), and attention.

A cache is an array of pages, and a sequence in it a table of page numbers: so pages can be shared,
copied when they are written to, dropped and moved.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from qwen3_vl.errors import InputError
from qwen3_vl.ops import native, rms_norm
from qwen3_vl.ops.products import FEW

if TYPE_CHECKING:
    from qwen3_vl import _native

TOKENS = 32
"""Of a page."""
PageBits = Literal[8, 16]
"""Integers with a scale for each token and head, or bfloat16."""
_MULTIPLE, _MOST = 32, 256
_PANEL = 16
_TOP = 127


def fits(dim: int) -> bool:
    """Whether heads of this size can be attended to in pages as they are."""
    return dim % _MULTIPLE == 0 and dim <= _MOST


def filled_up(dim: int) -> int:
    """The size that heads have in pages: zeros behind them change no product."""
    return -(-dim // _MULTIPLE) * _MULTIPLE


@dataclass(frozen=True)
class PageFormat:
    """How the keys and values of one layer lie in its pages."""

    heads: int
    """Of keys and values."""
    dim: int
    """A multiple of 32."""
    bits: PageBits = 8
    sees: int = 0
    """So many pages does a token see that comes with few others: the first, the last, and between
    them those in which it could find most, by the bounds of their keys. 0: all; else at least 3."""

    @property
    def nbytes(self) -> int:
        """Of a page."""
        return self.heads * (2 * self._half_bytes + self._bounds_bytes)

    @property
    def _half_bytes(self) -> int:
        """The keys, or the values, of a head."""
        return TOKENS * self.dim * self.bits // 8 + (4 * TOKENS if self.bits == 8 else 0)

    @property
    def _bounds_bytes(self) -> int:
        return 2 * 2 * self.dim if self.sees else 0

    def empty(self, count: int) -> Tensor:
        """So many pages."""
        return torch.zeros(count, self.nbytes, dtype=torch.uint8)

    def pack(self, k: Tensor, v: Tensor) -> Tensor:
        """Round `k`, `v` [pages · 32, heads, dim] and lay them out in pages, without bounds."""
        keys, values = (x.unflatten(0, (-1, TOKENS)).transpose(1, 2) for x in (k, v))
        unknown = keys.new_zeros((*keys.shape[:2], self._bounds_bytes), dtype=torch.uint8)
        if self.bits == 16:
            keys, values = keys.bfloat16(), values.bfloat16()
            return torch.cat((self._panels(keys), _bytes(values), unknown), dim=2).flatten(1)
        (keys, key_scales), (values, value_scales) = _rounded(keys), _rounded(values)
        halves = (
            self._panels((keys.int() + 128).to(torch.uint8)),
            _bytes(key_scales),
            _bytes(values),
            _bytes(value_scales),
            unknown,
        )
        return torch.cat(halves, dim=2).flatten(1)

    def unpack(self, pages: Tensor) -> tuple[Tensor, Tensor]:
        """What pages hold: keys and values [pages · 32, heads, dim] in float32."""
        halves = pages.unflatten(1, (self.heads, -1))[:, :, : 2 * self._half_bytes]
        halves = halves.unflatten(2, (2, -1))
        size = TOKENS * self.dim * self.bits // 8
        raw_keys, raw_values = halves[:, :, 0, :size], halves[:, :, 1, :size]
        if self.bits == 16:
            keys = _as(raw_keys, torch.bfloat16).float()
            values = _as(raw_values, torch.bfloat16).float()
        else:
            keys, values = raw_keys.float() - 128, _as(raw_values, torch.int8).float()
        together = 32 // self.bits
        keys = keys.unflatten(2, (TOKENS // _PANEL, self.dim // together, _PANEL, together))
        keys = keys.permute(0, 1, 2, 4, 3, 5).reshape(*keys.shape[:2], TOKENS, self.dim)
        values = values.unflatten(2, (TOKENS, self.dim))
        if self.bits == 8:
            scales = _as(halves[:, :, :, size:], torch.float32).unsqueeze(-1)
            keys, values = keys * scales[:, :, 0], values * scales[:, :, 1]
        return keys.transpose(1, 2).flatten(0, 1), values.transpose(1, 2).flatten(0, 1)

    def write(self, stretch: Stretch, k: Tensor, v: Tensor) -> None:
        """Put the new tokens [tokens, heads, dim] of a stretch into their pages."""
        begin, end = stretch.held // TOKENS, stretch.held + stretch.count
        numbers = stretch.table[begin : -(-end // TOKENS)].long()
        keys, values = self.unpack(stretch.pages[numbers])
        part = slice(stretch.held - begin * TOKENS, end - begin * TOKENS)
        keys[part], values[part] = k, v
        packed = self.pack(keys, values)
        if self.sees:
            old = self.bounds(stretch.pages[numbers[:1]]) if part.start else None
            bounds = self._bounds_of(k, part.start, old)
            self._tails(packed).copy_(_bytes(bounds.flatten(2).bfloat16()))
        stretch.pages[numbers] = packed

    def bounds(self, pages: Tensor) -> Tensor:
        """The least and the most of each dimension of the keys [pages, heads, 2, dim]."""
        return _as(self._tails(pages), torch.bfloat16).float().unflatten(2, (2, self.dim))

    def _tails(self, pages: Tensor) -> Tensor:
        """Where bounds lie: [pages, heads, bytes], without a copy."""
        return pages.unflatten(1, (self.heads, -1))[:, :, 2 * self._half_bytes :]

    def _bounds_of(self, k: Tensor, skipped: int, old: Tensor | None) -> Tensor:
        """Those of new keys, of which the first comes behind so many in its page."""
        behind = -(skipped + len(k)) % TOKENS

        def bound(empty: float) -> Tensor:
            full = F.pad(k.float(), (0, 0, 0, 0, skipped, behind), value=empty)
            pages = full.unflatten(0, (-1, TOKENS))
            return pages.amin(dim=1) if empty > 0 else pages.amax(dim=1)

        least, most = bound(float("inf")), bound(float("-inf"))
        if old is not None:
            least[0] = torch.minimum(least[0], old[0, :, 0])
            most[0] = torch.maximum(most[0], old[0, :, 1])
        return torch.stack((least, most), dim=2)

    def chosen(self, q: Tensor, pages: Tensor) -> Tensor:
        """Which of its pages [key heads, pages] a token with queries [heads, dim] sees."""
        count = len(pages)
        seen = torch.ones(self.heads, count, dtype=torch.bool)
        if not self.sees or count <= self.sees:
            return seen
        least, most = self.bounds(pages).to(q.dtype).unbind(dim=2)
        grouped = q.unflatten(0, (self.heads, -1)).unsqueeze(0)
        products = torch.maximum(grouped * least.unsqueeze(2), grouped * most.unsqueeze(2))
        reach = products.sum(dim=3).amax(dim=2).T  # [key heads, pages]
        best = reach[:, 1:-1].topk(self.sees - 2, dim=1).indices + 1
        seen[:, 1:-1] = False
        return seen.scatter(1, best, value=True)

    def _panels(self, keys: Tensor) -> Tensor:
        """[pages, heads, 32, dim] → bytes: sixteen tokens side by side, four bytes of each."""
        split = keys.unflatten(3, (-1, 32 // self.bits)).unflatten(2, (-1, _PANEL))
        return _bytes(split.transpose(3, 4))


def _rounded(x: Tensor) -> tuple[Tensor, Tensor]:
    """Signed codes, and a scale for each row."""
    x = x.float()
    scales = x.abs().amax(dim=-1) / _TOP
    codes = (x / scales.clamp(min=torch.finfo(torch.float32).tiny).unsqueeze(-1)).round()
    return codes.to(torch.int8), scales


def _bytes(x: Tensor) -> Tensor:
    """Give them as [pages, heads, bytes]."""
    return x.contiguous().view(torch.uint8).flatten(2)


def _as(raw: Tensor, dtype: torch.dtype) -> Tensor:
    return raw.contiguous().view(dtype)


@dataclass(slots=True)
class Stretch:
    """The part of a pass that belongs to one sequence."""

    pages: Tensor
    """[pages, bytes]: those of the cache it lies in."""
    table: Tensor
    """[pages of the sequence], int32: their numbers, with room for the new tokens."""
    count: int
    """Its tokens in this pass."""
    held: int
    """How many it had before."""


@dataclass(frozen=True)
class Turning:
    """What makes queries and keys of projections: the angles of each token, and norms."""

    turns: Tensor
    """[tokens, dim]: the cosines of half the dimensions, then the sines."""
    norms: tuple[Tensor, Tensor] | None = None
    """RMSNorm's weights for each head of queries and of keys."""
    eps: float = 0.0

    @classmethod
    def none(cls, tokens: int, dim: int) -> Turning:
        """For queries and keys that are ready."""
        turns = torch.zeros(tokens, dim)
        turns[:, : dim // 2] = 1
        return cls(turns)


class PagedPass:
    """New tokens of some sequences, on their way through the pages of one layer."""

    def __init__(self, layout: PageFormat, heads: int, stretches: Sequence[Stretch]) -> None:
        """Of queries there are so many `heads`; the sequences' tokens lie one after the other."""
        self._layout, self._heads = layout, heads
        self._stretches = stretches
        self.rows = array("q")
        """The stretches as kernels read them."""
        first = 0
        for one in stretches:
            count, held = one.count, one.held
            if held + count > TOKENS * one.table.numel():
                tokens = f"{held} tokens and {count} more"
                raise InputError(f"{one.table.numel()} pages have no room for {tokens}")
            self.rows.extend((one.pages.data_ptr(), one.table.data_ptr(), first, count, held))
            first += count

    def remember(self, qkv: Tensor, turning: Turning) -> Tensor:
        """Put keys and values into their pages; give queries, scaled, [tokens, heads, dim].

        `qkv` [tokens, heads + 2 · key heads, dim] is what the projections made.
        """
        norms = turning.norms or ()
        kernels = native.kernels_for(qkv, turning.turns, *norms)
        if kernels is None or qkv.dtype != torch.float32:
            return self._remember_meaning(qkv, turning)
        qkv = qkv.contiguous()
        q = qkv.new_empty(len(qkv), self._heads, self._layout.dim)
        q_norm, k_norm = (one.data_ptr() for one in norms) if norms else (0, 0)
        kernels.remember(
            *self.described(self.rows),
            qkv.data_ptr(),
            turning.turns.data_ptr(),
            q_norm,
            k_norm,
            turning.eps,
            q.data_ptr(),
        )
        return q

    def attend(self, q: Tensor, *, causal: bool = True, log_sums: Tensor | None = None) -> Tensor:
        """What the queries [tokens, heads, dim] see, in the same shape.

        A token sees all that its sequence had, and those of the pass: up to itself, or all; where
        the format says so, only some pages of it, if few tokens come together.
        `log_sums` [tokens, heads] takes the logs of the sums of the weights, by which two results
        over different keys can be joined.
        """
        kernels = native.kernels_for(q)
        if kernels is None or q.dtype != torch.float32:
            return self._attend_meaning(q, causal, log_sums)
        q = q.contiguous()
        out = torch.empty_like(q)
        kernels.attend(
            *self.described(self.rows),
            causal,
            q.data_ptr(),
            out.data_ptr(),
            0 if log_sums is None else log_sums.data_ptr(),
        )
        return out

    def described(
        self, rows: array[int]
    ) -> tuple[_native.Pool, _native.PageShape, int, int, int, int]:
        """As kernels are told of it, with its `rows` or those of some layers, which are held."""
        layout = self._layout
        shape = native.page_shape(layout.bits, layout.heads, layout.dim, layout.sees)
        at, count = rows.buffer_info()[0], len(self._stretches)
        return native.pool(), shape, layout.nbytes, at, count, self._heads

    def _parts(self) -> Iterator[tuple[Stretch, slice]]:
        """The stretches, and where their tokens lie."""
        for one, first in zip(self._stretches, self.rows[2::5], strict=True):
            yield one, slice(first, first + one.count)

    def _remember_meaning(self, qkv: Tensor, turning: Turning) -> Tensor:
        kv_heads = self._layout.heads
        q, k, v = qkv.split([self._heads, kv_heads, kv_heads], dim=1)
        if turning.norms:
            q, k = (
                rms_norm.meaning(x, norm, turning.eps)
                for x, norm in zip((q, k), turning.norms, strict=True)
            )
        q, k = _turned(q, turning.turns), _turned(k, turning.turns)
        for one, part in self._parts():
            self._layout.write(one, k[part], v[part])
        return q * self._layout.dim**-0.5

    def _attend_meaning(self, q: Tensor, causal: bool, log_sums: Tensor | None) -> Tensor:
        out = torch.empty_like(q)
        for one, part in self._parts():
            length = one.held + one.count
            numbers = one.table[: -(-length // TOKENS)].long()
            k, v = (x[:length].to(q.dtype) for x in self._layout.unpack(one.pages[numbers]))
            group = self._heads // self._layout.heads
            k, v = k.repeat_interleave(group, dim=1), v.repeat_interleave(group, dim=1)
            scores = torch.einsum("qhd,khd->qhk", q[part], k)
            seen = torch.ones(one.count, 1, length, dtype=torch.bool)
            if causal:
                seen = seen.squeeze(1).tril(one.held).unsqueeze(1)
            if self._layout.sees and one.count <= FEW:
                seen = torch.stack(
                    [self._choose(one, *each) for each in zip(q[part], seen, strict=True)]
                )
            scores = scores.masked_fill(~seen, float("-inf"))
            out[part] = torch.einsum("qhk,khd->qhd", scores.softmax(dim=-1), v)
            if log_sums is not None:
                log_sums[part] = scores.logsumexp(dim=-1)
        return out

    def _choose(self, stretch: Stretch, q: Tensor, seen: Tensor) -> Tensor:
        """Which of the keys that a token may see [1, keys] it does, [heads, keys]."""
        pages = -(-int(seen.sum()) // TOKENS)
        chosen = self._layout.chosen(q, stretch.pages[stretch.table[:pages].long()])
        keys = chosen.repeat_interleave(TOKENS, dim=1)
        keys = F.pad(keys, (0, seen.shape[1] - keys.shape[1]))  # or cut, where the last is not full
        return (keys & seen).repeat_interleave(self._heads // self._layout.heads, dim=0)


def together(passes: Sequence[PagedPass]) -> array[int]:
    """The rows of a pass through some layers, one after the other."""
    rows = array("q")
    for one in passes:
        rows.extend(one.rows)
    return rows


def _turned(x: Tensor, turns: Tensor) -> Tensor:
    """Heads [tokens, heads, dim] rotated to their positions."""
    cosines, sines = turns.unsqueeze(1).to(x.dtype).chunk(2, dim=-1)
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cosines - second * sines, second * cosines + first * sines), dim=-1)

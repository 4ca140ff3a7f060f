"""The plain cache: keys and values of some sequences, and the views through which a pass sees them.

Seams decide in which form they are stored, how attention is computed, and which tokens stay.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy, deepcopy
from typing import cast

import torch
from torch import Tensor

from qwen3_vl.config.model import TextConfig
from qwen3_vl.errors import InputError
from qwen3_vl.models.paged import PagedStore
from qwen3_vl.ops.block_attention import block_attention
from qwen3_vl.ops.pages import PagedPass, Turning, fits
from qwen3_vl.seams import PLAIN, KVStore, Seams


class NoCache:
    """A view that remembers nothing: each sequence attends to itself. Training uses it."""

    def __init__(self, lengths: Sequence[int], seams: Seams = PLAIN) -> None:
        self._lengths = list(lengths)
        self._attention = causal_attention(seams)

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:  # noqa: ARG002
        """Causal attention within each sequence."""
        sequences = zip(*(x.split(self._lengths) for x in (q, k, v)), strict=True)
        return torch.cat([self._attention(*one) for one in sequences if len(one[0])])

    def store(self, layer: int, k: Tensor, v: Tensor) -> None:
        """Nothing: no later pass will ask."""

    def pages(self, layer: int, heads: int, like: Tensor) -> None:
        """There are none."""


class DenseCache:
    """Keys and values of some sequences.

    It also knows the next text position of each sequence, which a picture moves by less than its
    number of tokens; so all that a conversation leaves behind lies here, and nothing in the model.
    `seams` are those of the model that it is for.
    """

    def __init__(self, config: TextConfig, sequences: int, seams: Seams = PLAIN) -> None:
        self.positions = [0] * sequences
        self.lengths = [0] * sequences
        """How many tokens each sequence has had; the store may hold fewer."""
        self._seams = seams
        self._in_pages = attends_in_pages(seams)
        layers = range(config.num_hidden_layers)
        self._in_pass = False
        self._lines = [[_Line(seams) for _ in range(sequences)] for _ in layers]

    def get_seq_length(self) -> int:
        """The length of the longest sequence."""
        return max(self.lengths, default=0)

    @property
    def nbytes(self) -> int:
        """The memory that keys and values take."""
        return sum(line.store.nbytes for layer in self._lines for line in layer)

    def check_seams(self, seams: Seams) -> None:
        """Refuse a model that attends or remembers in another way than this cache was made for."""
        for name in ("mixer", "select", "kv_format", "retain"):
            if getattr(self._seams, name) != getattr(seams, name):
                raise InputError(
                    f"the cache was made for a model that answers the seam {name!r} otherwise; "
                    "make it with DenseCache(model.config.text_config, sequences, model.seams)"
                )

    def view(self, lengths: Sequence[int]) -> DenseView:
        """What one pass sees that brings `lengths` new tokens to the sequences.

        Raises:
            InputError: an earlier pass did not end, so some layers hold more than others.
        """
        if self._in_pass:
            raise InputError(
                "an earlier pass over this cache was broken off, and left it half filled; "
                "begin again with a new cache"
            )
        self._in_pass = True
        return DenseView(self._lines, lengths, self._seams, self._in_pages)

    def advance(self, lengths: Sequence[int], positions: Sequence[int]) -> None:
        """Count the tokens of a pass that has ended, and note the positions that follow them."""
        self.lengths = [old + new for old, new in zip(self.lengths, lengths, strict=True)]
        self.positions = list(positions)
        self._in_pass = False

    def fork(self, sequences: Sequence[int]) -> DenseCache:
        """A cache whose sequences go on where these of this one are; this one stays as it is.

        One may be named several times: to ask two things about a picture that is read once. Of
        keys in pages only those that are written to are copied.

        Raises:
            InputError: there is no such sequence, a pass was broken off, or keys and values carry
                gradients.
        """
        if wrong := [one for one in sequences if not 0 <= one < len(self.lengths)]:
            raise InputError(
                f"there is no sequence {wrong[0]}; the cache holds {len(self.lengths)}"
            )
        if self._in_pass:
            raise InputError("an earlier pass over this cache was broken off; it cannot be forked")
        twin = copy(self)
        twin.positions = [self.positions[one] for one in sequences]
        twin.lengths = [self.lengths[one] for one in sequences]
        try:
            twin._lines = [[layer[one].fork() for one in sequences] for layer in self._lines]
        except RuntimeError as error:
            if "graph leaves" not in str(error):
                raise
            raise InputError(
                "this cache was filled with gradients, which cannot be forked; "
                "fill it within torch.inference_mode()"
            ) from error
        return twin

    def evict(self) -> None:
        """Drop the tokens that the `retain` techniques do not keep."""
        for layer in self._lines:
            for line in layer:
                line.evict()


class DenseView:
    """One pass over a `DenseCache`."""

    def __init__(
        self,
        lines: Sequence[Sequence[_Line]],
        lengths: Sequence[int],
        seams: Seams,
        in_pages: bool,
    ) -> None:
        """Of `in_pages` see attends_in_pages."""
        self._lines = lines
        self._lengths = list(lengths)
        self._attention = causal_attention(seams)
        self._in_pages = in_pages

    def pages(self, layer: int, heads: int, like: Tensor) -> PagedPass | None:
        """The way of the new tokens through the pages of a layer, to write and attend there.

        `heads` is the number of query heads, and keys are `like` this tensor. None if keys do not
        lie in pages, or if a technique attends otherwise or wants to see queries.
        """
        if not self._in_pages or not fits(like.shape[-1]):
            return None
        stores = [cast(PagedStore, line.store) for line in self._lines[layer]]
        some = [one for one in zip(stores, self._lengths, strict=True) if one[1]]
        for store, new in some:
            store.extend(new, like)
        stretches = [store.latest(new) for store, new in some]
        return PagedPass(some[0][0].layout, heads, stretches)

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Append the new keys and values of each sequence and attend to all it has."""
        if (paged := self.pages(layer, q.shape[1], k)) is not None:
            qkv = torch.cat((q, k, v), dim=1).float()
            turning = Turning.none(len(q), q.shape[2])
            return paged.attend(paged.remember(qkv, turning)).to(q.dtype)
        split = zip(*(x.split(self._lengths) for x in (q, k, v)), strict=True)
        out = [
            self._attention(new_q, *line.append(new_q, new_k, new_v))
            for line, (new_q, new_k, new_v) in zip(self._lines[layer], split, strict=True)
            if len(new_q)
        ]
        return torch.cat(out)

    def store(self, layer: int, k: Tensor, v: Tensor) -> None:
        """Append the new keys and values of each sequence."""
        split = zip(*(x.split(self._lengths) for x in (k, v)), strict=True)
        for line, (new_k, new_v) in zip(self._lines[layer], split, strict=True):
            if len(new_k):
                line.store.append(new_k, new_v)


def attends_in_pages(seams: Seams) -> bool:
    """Whether keys lie in pages, and no technique attends otherwise or wants to see queries."""
    plain = seams.mixer is PLAIN.mixer and not seams.select
    seen = any(one.observed for one in seams.retain)
    return (
        plain and not seen and isinstance(seams.kv_format and seams.kv_format.store(), PagedStore)
    )


def causal_attention(seams: Seams) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """Attention within one sequence: the mixer, over what the `select` techniques let be seen."""

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if not seams.select:
            return seams.mixer(q, k, v, causal=True)
        chosen = seams.select[0].chosen(q, k)
        for select in seams.select[1:]:
            chosen = chosen & select.chosen(q, k)
        return block_attention(q, k, v, chosen, seams.select[0].block, seams.mixer)

    return attend


class _Line:
    """What one sequence has in one layer: its store, and the latest queries if someone asks."""

    def __init__(self, seams: Seams) -> None:
        self.store: KVStore = (seams.kv_format or PlainFormat()).store()
        self._retain = seams.retain
        self._observed = max((one.observed for one in seams.retain), default=0)
        self._queries: Tensor | None = None

    def fork(self) -> _Line:
        twin = copy(self)
        twin.store = deepcopy(self.store)
        return twin

    def append(self, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        if self._observed:
            old = q[:0] if self._queries is None else self._queries
            self._queries = torch.cat((old, q[-self._observed :]))[-self._observed :].clone()
        return self.store.append(k, v)

    def evict(self) -> None:
        for retain in self._retain:
            kept = retain.kept(len(self.store))
            if kept >= len(self.store):
                continue
            k, v = self.store.read()
            queries = k[:0] if self._queries is None else self._queries
            worth = retain.score(k, v, queries[max(0, len(queries) - retain.observed) :])
            self.store.keep(worth.topk(kept, dim=-1).indices.sort(dim=-1).values.T)


class PlainFormat:
    """Keys and values as the model computes them."""

    def store(self) -> PlainStore:
        """An empty store."""
        return PlainStore()


class PlainStore:
    """Keys and values of one sequence in one layer, whole."""

    def __init__(self) -> None:
        self._keys = GrowingRows()
        self._values = GrowingRows()

    def append(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Copy the new tokens behind the old ones."""
        self._keys.append(k)
        self._values.append(v)
        return self.read()

    def read(self) -> tuple[Tensor, Tensor]:
        """What is held, without a copy."""
        return self._keys.rows, self._values.rows

    def keep(self, index: Tensor) -> None:
        """Move what stays together; the rest is given back."""
        self._keys.keep(index)
        self._values.keep(index)

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def nbytes(self) -> int:
        """The room of both tensors."""
        return self._keys.nbytes + self._values.nbytes


class GrowingRows:
    """Rows [rows, heads, …] in a tensor that doubles when it is full."""

    def __init__(self) -> None:
        self._room: Tensor | None = None
        self._length = 0

    @property
    def rows(self) -> Tensor:
        """All rows, without a copy."""
        if self._room is None:
            raise IndexError("no row was appended yet")
        return self._room[: self._length]

    def append(self, new: Tensor) -> None:
        """Copy rows behind those that are there."""
        end = self._length + len(new)
        if self._room is None or len(self._room) < end:
            room = new.new_empty(max(end, 2 * self._length), *new.shape[1:])
            if self._room is not None:
                room[: self._length] = self.rows
            self._room = room
        self._room[self._length : end] = new
        self._length = end

    def keep(self, index: Tensor) -> None:
        """Hold for each head only the rows `index` [kept, heads], in this order."""
        rows = self.rows
        shape = (*index.shape, *[1] * (rows.ndim - 2))
        self._room = rows.gather(0, index.view(shape).expand(*index.shape, *rows.shape[2:]))
        self._length = len(index)

    def __len__(self) -> int:
        return self._length

    @property
    def nbytes(self) -> int:
        """All the room that is taken, filled or not."""
        return 0 if self._room is None else self._room.nbytes

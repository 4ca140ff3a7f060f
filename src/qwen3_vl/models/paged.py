"""Keys and values of a sequence in pages, for kernels that attend over them."""

from __future__ import annotations

import weakref
from copy import copy

import torch
import torch.nn.functional as F
from torch import Tensor

from qwen3_vl.models.page_pool import PagePool
from qwen3_vl.ops.pages import TOKENS, PageBits, PageFormat, Stretch, filled_up


class PagedStore:
    """Keys and values of one sequence in one layer.

    A deep copy shares the pages; what one of the two writes to becomes its own.
    """

    def __init__(self, bits: PageBits, sees: int = 0) -> None:
        """Of `sees` see PageFormat."""
        self._bits: PageBits = bits
        self._sees = sees
        self._pool: PagePool | None = None
        self._numbers: list[int] = []
        self._table = torch.empty(0, dtype=torch.int32)
        self._length = 0
        self._dim = 0
        self._dtype = torch.float32

    def __deepcopy__(self, memo: dict[int, object]) -> PagedStore:
        twin = copy(self)
        twin._numbers = list(self._numbers)
        if self._pool is not None:
            self._pool.share(twin._numbers)
            twin._hold(self._pool)
        return twin

    @property
    def layout(self) -> PageFormat:
        """That of its pages; they begin with the first token."""
        return self._held.layout

    def extend(self, new: int, like: Tensor) -> None:
        """Make room for so many new tokens of keys `like` these; the caller writes them."""
        pool, numbers = self._pool, self._numbers
        if pool is None:
            self._dim, self._dtype = like.shape[-1], like.dtype
            dim = filled_up(self._dim)
            pool = PagePool(PageFormat(like.shape[-2], dim, self._bits, self._sees))
            self._hold(pool)
        begun, room = divmod(self._length, TOKENS)
        if new and room and (own := pool.alone(numbers[begun])) != numbers[begun]:
            numbers[begun] = own
            self._table = torch.tensor(numbers, dtype=torch.int32)
        self._length += new
        if (missing := -(-self._length // TOKENS) - len(numbers)) > 0:
            numbers += pool.take(missing)
            self._table = torch.tensor(numbers, dtype=torch.int32)

    def latest(self, count: int) -> Stretch:
        """Where so many latest tokens lie, once all that share pages have their room."""
        return Stretch(self._held.pages, self._table, count, self._length - count)

    def append(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Write new tokens; give all that is held, in their dtype."""
        self._write(k, v)
        return self.read()

    def read(self) -> tuple[Tensor, Tensor]:
        """All that is held, restored in the dtype that it came in."""
        k, v = (x.to(self._dtype) for x in self._restored())
        return k, v

    def keep(self, index: Tensor) -> None:
        """Hold only some tokens; their codes stay as they are."""
        k, v = (
            x.gather(0, index.unsqueeze(-1).expand(-1, -1, x.shape[-1])) for x in self._restored()
        )
        self._leave()
        self._numbers, self._length = [], 0
        self._hold(PagePool(self.layout))
        self._write(k, v)

    def _hold(self, pool: PagePool) -> None:
        """Take part in a pool until this store is no more, or leaves."""
        self._pool = pool
        self._leave = weakref.finalize(self, pool.release, self._numbers)
        self._leave.atexit = False

    @property
    def _held(self) -> PagePool:
        if self._pool is None:
            raise IndexError("no token was appended yet")
        return self._pool

    def _write(self, k: Tensor, v: Tensor) -> None:
        self.extend(len(k), k)
        short = self.layout.dim - k.shape[-1]
        new_k, new_v = (F.pad(x, (0, short)).float() for x in (k, v))
        self.layout.write(self.latest(len(k)), new_k, new_v)

    def _restored(self) -> tuple[Tensor, Tensor]:
        pool = self._held
        pages = pool.pages[self._table.long()]
        k, v = (x[: self._length, :, : self._dim] for x in pool.layout.unpack(pages))
        return k, v

    def __len__(self) -> int:
        return self._length

    @property
    def nbytes(self) -> int:
        """Its share of the room that is taken, filled or not."""
        pages = 0 if self._pool is None else self._pool.nbytes_of(self._numbers)
        return pages + self._table.nbytes

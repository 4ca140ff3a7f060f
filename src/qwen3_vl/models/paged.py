"""Keys and values of a sequence in pages, for kernels that attend over them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from qwen3_vl.ops.pages import TOKENS, PageBits, PageFormat, Stretch, filled_up


class PagedStore:
    """Keys and values of one sequence in one layer."""

    def __init__(self, bits: PageBits) -> None:
        self._bits: PageBits = bits
        self._layout: PageFormat | None = None
        self._pages = torch.empty(0, 0, dtype=torch.uint8)
        self._table = torch.empty(0, dtype=torch.int32)
        self._length = 0
        self._dim = 0
        self._dtype = torch.float32

    def extend(self, new: int, like: Tensor) -> tuple[PageFormat, Stretch]:
        """Room for so many new tokens of keys `like` these; the caller writes them."""
        if self._layout is None:
            self._dim, self._dtype = like.shape[-1], like.dtype
            self._layout = PageFormat(like.shape[-2], filled_up(self._dim), self._bits)
            self._pages = self._layout.empty(0)
        held, self._length = self._length, self._length + new
        wanted = -(-self._length // TOKENS)
        if wanted > len(self._pages):
            more = self._layout.empty(max(wanted, 2 * len(self._pages)) - len(self._pages))
            self._pages = torch.cat((self._pages, more))
            self._table = torch.arange(len(self._pages), dtype=torch.int32)
        return self._layout, Stretch(self._pages, self._table, new, held)

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
        self._length = 0
        self._pages = self._pages[:0]
        self._write(k, v)

    def _write(self, k: Tensor, v: Tensor) -> None:
        layout, stretch = self.extend(len(k), k)
        short = layout.dim - k.shape[-1]
        layout.write(stretch, F.pad(k, (0, short)).float(), F.pad(v, (0, short)).float())

    def _restored(self) -> tuple[Tensor, Tensor]:
        if self._layout is None:
            raise IndexError("no token was appended yet")
        pages = self._pages[self._table[: -(-self._length // TOKENS)].long()]
        k, v = (x[: self._length, :, : self._dim] for x in self._layout.unpack(pages))
        return k, v

    def __len__(self) -> int:
        return self._length

    @property
    def nbytes(self) -> int:
        """All the room that is taken, filled or not."""
        return self._pages.nbytes + self._table.nbytes

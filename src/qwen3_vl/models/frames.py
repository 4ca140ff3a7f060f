"""The frames of a pass through the vision tower, and how their patches attend to each other."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from qwen3_vl.models.positions import apply_rotary_pos_emb
from qwen3_vl.ops.pages import TOKENS, PageBits, PagedPass, PageFormat, Stretch, Turning, fits
from qwen3_vl.seams import PLAIN, Seams


class Frames:
    """Patches, frame after frame: every one sees those of its own frame."""

    def __init__(
        self, lengths: Sequence[int], rotary: tuple[Tensor, Tensor], heads: int, seams: Seams
    ) -> None:
        self._lengths = list(lengths)
        self._rotary = rotary
        self._mixer = seams.mixer
        dim = rotary[0].shape[-1]
        self.paged: tuple[PagedPass, Tensor] | None = None
        """The way through pages and the angles of the patches, if they attend there."""
        if seams.frames and attends_in_frames(seams, dim):
            turns = torch.cat([x[:, : dim // 2] for x in rotary], dim=1)
            self.paged = seams.frames.begin(self._lengths, heads, dim), turns

    def attend(self, qkv: Tensor, dtype: torch.dtype) -> Tensor:
        """Attend with what a projection made [patches, 3 · heads · dim]; give [patches, hidden].

        Outside of pages it is computed in `dtype`; so it is where gradients are recorded, for
        rounding has none.
        """
        heads = qkv.view(len(qkv), 3, -1, self._rotary[0].shape[-1])
        if self.paged is not None and not (qkv.requires_grad and torch.is_grad_enabled()):
            pages, turns = self.paged
            q = pages.remember(heads.flatten(1, 2).float(), Turning(turns))
            return pages.attend(q, causal=False).flatten(1).to(qkv.dtype)
        q, k, v = heads.unbind(1)
        q, k = apply_rotary_pos_emb(q.float(), k.float(), *self._rotary)
        frames = zip(*(x.to(dtype).split(self._lengths) for x in (q, k, v)), strict=True)
        out = torch.cat([self._mixer(*frame, causal=False) for frame in frames])
        return out.flatten(1).to(qkv.dtype)


def attends_in_frames(seams: Seams, dim: int) -> bool:
    """Whether heads of this size can attend in the format of `seams`, and no technique objects."""
    return seams.frames is not None and fits(dim) and seams.mixer is PLAIN.mixer


def paged_frames(lengths: Sequence[int], heads: int, dim: int, bits: PageBits) -> PagedPass:
    """A way through pages for patches of which nothing is kept."""
    layout = PageFormat(heads, dim, bits)
    counts = [-(-length // TOKENS) for length in lengths]
    pages = layout.empty(sum(counts))
    tables = torch.arange(len(pages), dtype=torch.int32).split(counts)
    stretches = [
        Stretch(pages, table, length, held=0) for table, length in zip(tables, lengths, strict=True)
    ]
    return PagedPass(layout, heads, stretches)

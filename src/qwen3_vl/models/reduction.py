"""Fewer visual tokens for the decoder: one assignment for embeddings, positions and DeepStack."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from qwen3_vl.models.fusion import Fused
from qwen3_vl.seams import Reduce


@dataclass(frozen=True)
class Tokens:
    """What the decoder runs."""

    fused: Fused
    positions: Tensor
    """[3, tokens]; where tokens became one, the mean of theirs"""
    lengths: Sequence[int]
    """How many tokens each sequence has."""
    target: Tensor | None = None
    """Which of them each token of the prompt went into; None: each is itself."""

    def spread(self, x: Tensor) -> Tensor:
        """A row for each token of the prompt: that of the token it went into."""
        return x if self.target is None else x[self.target]


def reduce(
    fused: Fused, positions: Tensor, lengths: Sequence[int], steps: Sequence[Reduce]
) -> Tokens:
    """Let `steps` group the tokens of each picture, and each group become its mean.

    Text stays as it is, and so does the order: a group stands where its first token stood.
    """
    plain = Tokens(fused, positions, lengths)
    if not steps or not len(fused.places):
        return plain
    leader = torch.arange(len(fused.embeddings), device=fused.places.device)
    for picture, text in _pictures(fused, lengths):
        leader[picture] = picture[_grouped(fused.embeddings[picture], text, steps)]
    kept, target = leader.unique(return_inverse=True)
    if len(kept) == len(leader):
        return plain
    places = target[fused.places]
    new_places = places.unique()
    deepstack = (
        _means(tap, torch.searchsorted(new_places, places), len(new_places))
        for tap in fused.deepstack
    )
    return Tokens(
        Fused(_means(fused.embeddings, target, len(kept)), new_places, tuple(deepstack)),
        _means(positions.T.float(), target, len(kept)).T,
        [len(row.unique()) for row in target.split(list(lengths))],
        target,
    )


def _pictures(fused: Fused, lengths: Sequence[int]) -> Iterator[tuple[Tensor, Tensor]]:
    """The places of each picture, and the text of its sequence.

    A picture is a run of visual tokens, for there is text between two of them.
    """
    visual = torch.zeros(len(fused.embeddings), dtype=torch.bool, device=fused.places.device)
    visual[fused.places] = True
    place = torch.arange(len(visual), device=visual.device)
    for own, row in zip(visual.split(list(lengths)), place.split(list(lengths)), strict=True):
        text = fused.embeddings[row[~own]]
        seen = row[own]
        ends = (seen.diff() > 1).nonzero().flatten() + 1
        for picture in seen.tensor_split(ends.cpu()):
            if len(picture):
                yield picture, text


def _grouped(tokens: Tensor, text: Tensor, steps: Sequence[Reduce]) -> Tensor:
    """For each token the first token of the group that it ends up in."""
    leader = torch.arange(len(tokens), device=tokens.device)
    for step in steps:
        kept, group = leader.unique(return_inverse=True)
        chosen = step.groups(_means(tokens, group, len(kept)), text)[group]
        _, chosen = chosen.unique(return_inverse=True)
        first = torch.full_like(leader, len(leader))
        first = first.scatter_reduce(0, chosen, torch.arange(len(leader)).to(leader), "amin")
        leader = first[chosen]
    return leader


def _means(x: Tensor, group: Tensor, count: int) -> Tensor:
    """The mean [count, …] of the rows of each group; a group of one keeps its bits."""
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    sums = wide.new_zeros(count, *x.shape[1:]).index_add_(0, group, wide)
    size = torch.bincount(group, minlength=count)
    return (sums / size.unsqueeze(1)).to(x.dtype)

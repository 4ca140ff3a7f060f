"""Which numbers of long rows are the largest."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

_TOGETHER = 64


def largest(x: Tensor, count: int) -> Tensor:
    """The places [rows, count] of the largest numbers of `x` [rows, width], in no order.

    There must be so many. They lie in the blocks with the largest maxima, of which there need be
    no more than numbers asked for; so most of a row is looked at once, where `topk` sorts copies.
    """
    if short := -x.shape[1] % _TOGETHER:
        x = F.pad(x, (0, short), value=float("-inf"))
    blocks = x.unflatten(1, (-1, _TOGETHER))
    if count >= blocks.shape[1]:
        return x.topk(count, dim=1).indices
    chosen = blocks.amax(dim=-1).topk(count, dim=1).indices
    near = blocks.gather(1, chosen.unsqueeze(-1).expand(-1, -1, _TOGETHER)).flatten(1)
    places = near.topk(count, dim=1).indices
    return chosen.gather(1, places // _TOGETHER) * _TOGETHER + places % _TOGETHER

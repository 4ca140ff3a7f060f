"""Tables of which rows are looked up."""

from __future__ import annotations

import torch
from torch import nn


def empty_table(rows: int, width: int) -> nn.Embedding:
    """A table without values yet.

    Torch's own constructor draws some, and where there is no memory behind the table, as on a
    skeleton, it loads torch's compiler for that: more than a second.
    """
    return nn.Embedding.from_pretrained(torch.empty(rows, width), freeze=False)

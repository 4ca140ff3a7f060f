"""Causal attention in which a block of queries sees some of the earlier blocks of keys."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def block_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    chosen: Tensor,
    block: int,
    attention: Callable[..., Tensor],
) -> Tensor:
    """Attend with `q` [queries, heads, dim] over some blocks of `k`, `v` [keys, kv_heads, dim].

    `chosen` is [kv_heads, query blocks, key blocks]; the blocks are counted from the first key, and
    the queries are those of the last keys. A query sees its own block in any case.

    The chosen keys are put together with the queries' own block behind them: what is left is causal
    attention whose last query sees every key, which any kernel can compute.
    """
    offset = len(k) - len(q)
    owns = torch.arange(offset // block, -(-len(k) // block), device=q.device)
    later = torch.arange(chosen.shape[-1], device=q.device) >= owns.unsqueeze(1)
    if bool((chosen | later).all()):
        return attention(q, k, v, causal=True)
    group = q.shape[1] // k.shape[1]
    out = torch.empty_like(q)
    for row, own in enumerate(owns.tolist()):
        start, end = max(offset, own * block), min(len(k), (own + 1) * block)
        rows = slice(start - offset, end - offset)
        for head in range(k.shape[1]):
            heads = slice(head * group, (head + 1) * group)
            keys = _places(chosen[head, row, :own], own, block, end)
            seen = (x[:end, head].index_select(0, keys).unsqueeze(1) for x in (k, v))
            out[rows, heads] = attention(q[rows, heads], *seen, causal=True)
    return out


def meaning(q: Tensor, k: Tensor, v: Tensor, chosen: Tensor, block: int) -> Tensor:
    """The formula itself, with a mask over all keys: the oracle of the tests."""
    offset = len(k) - len(q)
    query = torch.arange(offset, len(k), device=q.device).unsqueeze(1)
    key = torch.arange(len(k), device=q.device)
    row = query // block - offset // block
    seen = (chosen[:, row, key // block] | (query // block == key // block)) & (key <= query)
    group = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(group, dim=1), v.repeat_interleave(group, dim=1)
    scores = torch.einsum("qhd,khd->hqk", q, k) * q.shape[-1] ** -0.5
    scores = scores.masked_fill(~seen.repeat_interleave(group, dim=0), float("-inf"))
    return torch.einsum("hqk,khd->qhd", scores.softmax(dim=-1), v)


def _places(blocks: Tensor, own: int, block: int, end: int) -> Tensor:
    """The keys of the chosen blocks before the own one, and of that up to `end`."""
    inner = torch.arange(block, device=blocks.device)
    earlier = (blocks.nonzero() * block + inner).flatten()
    return torch.cat((earlier, torch.arange(own * block, end, device=blocks.device)))

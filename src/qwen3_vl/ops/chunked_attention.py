"""Softmax attention in pieces: memory for one tile of scores, and the log of the softmax's sum.

The log-sum-exp lets two results over different keys be merged into the one over both.
"""

from __future__ import annotations

import torch
from torch import Tensor


def chunked_attention(
    q: Tensor, k: Tensor, v: Tensor, *, causal: bool, query_chunk: int, key_chunk: int
) -> tuple[Tensor, Tensor]:
    """Attend with `q` [queries, heads, dim] over `k`, `v` [keys, kv_heads, dim].

    Gives the result [queries, heads, dim] and the log-sum-exp of the scores [queries, heads].
    In causal order the last query sees every key.
    """
    offset = len(k) - len(q)
    parts = []
    for start in range(0, len(q), query_chunk):
        rows = q[start : start + query_chunk]
        # The last query of these sees the keys up to here.
        seen = min(len(k), offset + start + len(rows)) if causal else len(k)
        first = offset + start if causal else len(k)
        parts.append(_rows(rows, k[:seen], v[:seen], first, key_chunk))
    out, lse = zip(*parts, strict=True)
    return torch.cat(out), torch.cat(lse)


def merge(one: Tensor, one_lse: Tensor, other: Tensor, other_lse: Tensor) -> tuple[Tensor, Tensor]:
    """The result over both sets of keys, from the results over each."""
    lse = torch.logaddexp(one_lse, other_lse)
    share = (one_lse - lse).exp().unsqueeze(-1).to(one.dtype)
    other_share = (other_lse - lse).exp().unsqueeze(-1).to(one.dtype)
    return one * share + other * other_share, lse


def _rows(q: Tensor, k: Tensor, v: Tensor, first: int, key_chunk: int) -> tuple[Tensor, Tensor]:
    """A few queries over all keys they may see; the query of row 0 sees those up to `first`."""
    queries, heads, dim = q.shape
    group = heads // k.shape[1]
    wide = torch.promote_types(q.dtype, torch.float32)
    q = q.to(wide).view(queries, -1, group, dim) * dim**-0.5
    top = q.new_full((queries, heads // group, group), float("-inf"))
    total = torch.zeros_like(top)
    out = torch.zeros_like(q)
    for start in range(0, len(k), key_chunk):
        keys = k[start : start + key_chunk].to(wide)
        scores = torch.einsum("qngd,knd->qngk", q, keys)
        if start + len(keys) > first + 1:
            last = torch.arange(queries, device=q.device) + first
            hidden = torch.arange(start, start + len(keys), device=q.device) > last[:, None]
            scores = scores.masked_fill(hidden[:, None, None], float("-inf"))
        new_top = torch.maximum(top, scores.amax(dim=-1))
        weights = (scores - new_top.unsqueeze(-1)).exp()
        shrink = (top - new_top).exp()
        total = total * shrink + weights.sum(dim=-1)
        values = v[start : start + key_chunk].to(wide)
        out = out * shrink.unsqueeze(-1) + torch.einsum("qngk,knd->qngd", weights, values)
        top = new_top
    out = out / total.unsqueeze(-1)
    return out.reshape(queries, heads, dim).to(v.dtype), (top + total.log()).flatten(1)

"""Softmax attention of one sequence, with grouped key heads and an optional causal order."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def attention(q: Tensor, k: Tensor, v: Tensor, *, causal: bool) -> Tensor:
    """Attend with `q` [queries, heads, dim] over `k`, `v` [keys, kv_heads, dim].

    In causal order the last query sees every key, the one before it all but the last, and so on.
    """
    queries, heads, dim = q.shape
    keys, kv_heads, _ = k.shape
    q, k, v = (x.transpose(0, 1).unsqueeze(0) for x in (q, k, v))
    if queries == 1:
        # One query sees all keys: the heads that share a key head become its queries, and no
        # key is read or copied twice.
        q = q.reshape(1, kv_heads, heads // kv_heads, dim)
        out = F.scaled_dot_product_attention(q, k, v).reshape(1, heads, 1, dim)
    else:
        aligned = causal and queries == keys
        out = F.scaled_dot_product_attention(
            q,
            k,
            v,
            attn_mask=_causal_mask(queries, keys, q.device) if causal and not aligned else None,
            is_causal=aligned,
            enable_gqa=heads != kv_heads,
        )
    return out.squeeze(0).transpose(0, 1)


def meaning(q: Tensor, k: Tensor, v: Tensor, *, causal: bool) -> Tensor:
    """The formula itself, in plain steps: the oracle that `attention` is tested against."""
    group = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(group, dim=1), v.repeat_interleave(group, dim=1)
    scores = torch.einsum("qhd,khd->hqk", q, k) * q.shape[-1] ** -0.5
    if causal:
        hidden = ~_causal_mask(q.shape[0], k.shape[0], q.device)
        scores = scores.masked_fill(hidden, float("-inf"))
    return torch.einsum("hqk,khd->qhd", scores.softmax(dim=-1), v)


def _causal_mask(queries: int, keys: int, device: torch.device) -> Tensor:
    """True where a query may look."""
    return torch.ones(queries, keys, dtype=torch.bool, device=device).tril(keys - queries)

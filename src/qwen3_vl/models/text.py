"""The decoder: tokens of all sequences lie one after the other, without padding.

A module sees `[tokens, hidden]`. Which token belongs to which sequence is known by the cache view
alone, which owns the attention call; so a sequence gives the same numbers in any batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qwen3_vl.config.model import TextConfig
from qwen3_vl.models.experts import MoeLayer
from qwen3_vl.models.fusion import Fused
from qwen3_vl.models.positions import Qwen3VLRotaryEmbedding, rotate
from qwen3_vl.models.tables import empty_table
from qwen3_vl.ops.rms_norm import rms_norm
from qwen3_vl.ops.rotation import Angles
from qwen3_vl.seams import CacheView, Depth, Fusion, Scoring


class RMSNorm(nn.Module):
    """Scales a vector to unit mean square, then by a learned weight."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last dimension."""
        return rms_norm(x, self.weight, self.eps)


def repeat_kv(hidden_states: Tensor, n_rep: int) -> Tensor:
    """Repeat each key head of [batch, kv_heads, tokens, dim] for the query heads that share it."""
    return hidden_states.repeat_interleave(n_rep, dim=1)


class Qwen3VLAttention(nn.Module):
    """Projects, normalises each head, rotates; then the cache view attends."""

    def __init__(self, config: TextConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.head_dim = config.head_dim
        hidden, bias = config.hidden_size, config.attention_bias
        inner = config.num_attention_heads * config.head_dim
        inner_kv = config.num_key_value_heads * config.head_dim
        self.q_proj = nn.Linear(hidden, inner, bias=bias)
        self.k_proj = nn.Linear(hidden, inner_kv, bias=bias)
        self.v_proj = nn.Linear(hidden, inner_kv, bias=bias)
        self.o_proj = nn.Linear(inner, hidden, bias=bias)
        self.q_norm = RMSNorm(config.head_dim, config.rms_norm_eps)
        self.k_norm = RMSNorm(config.head_dim, config.rms_norm_eps)

    def forward(self, x: Tensor, rotary: Angles, view: CacheView) -> Tensor:
        """Attend with all tokens [tokens, hidden] of this pass."""
        q = self.q_norm(self.q_proj(x).view(len(x), -1, self.head_dim))
        k, v = self._keys_values(x, rotary)
        out = view.attend(self.layer, rotate(q, *rotary.pair), k, v)
        return self.o_proj(out.reshape(len(x), -1))

    def remember(self, x: Tensor, rotary: Angles, view: CacheView) -> None:
        """Leave keys and values of tokens that do not attend here, for those that come later."""
        view.store(self.layer, *self._keys_values(x, rotary))

    def _keys_values(self, x: Tensor, rotary: Angles) -> tuple[Tensor, Tensor]:
        heads = (len(x), -1, self.head_dim)
        k = self.k_norm(self.k_proj(x).view(heads))
        return rotate(k, *rotary.pair), self.v_proj(x).view(heads)


class TextMLP(nn.Module):
    """The gated MLP: silu(gate) · up, projected down."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Transform each token by itself."""
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class DecoderLayer(nn.Module):
    """Attention and MLP, each after a norm and added to what came in."""

    def __init__(self, config: TextConfig, layer: int) -> None:
        super().__init__()
        self.self_attn = Qwen3VLAttention(config, layer)
        if config.experts is not None and config.has_experts(layer):
            self.mlp = MoeLayer(config, config.experts)
        else:
            self.mlp = TextMLP(config)
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(self, x: Tensor, rotary: Angles, view: CacheView) -> Tensor:
        """One layer over all tokens."""
        x = x + self.self_attn(self.input_layernorm(x), rotary, view)
        return x + self.mlp(self.post_attention_layernorm(x))

    def remember(self, x: Tensor, rotary: Angles, view: CacheView) -> None:
        """Leave keys and values of tokens that have left the decoder before this layer."""
        self.self_attn.remember(self.input_layernorm(x), rotary, view)


class TextModel(nn.Module):
    """Embedding, decoder layers with DeepStack, final norm."""

    def __init__(
        self, config: TextConfig, depth: Depth | None = None, fusion: Fusion | None = None
    ) -> None:
        super().__init__()
        self.embed_tokens = empty_table(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(
            DecoderLayer(config, layer) for layer in range(config.num_hidden_layers)
        )
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.rotary = Qwen3VLRotaryEmbedding(config)
        self.depth = depth
        self._runners, self._whole = fusion.runners(self) if fusion else (None, None)

    def forward(
        self,
        inputs: Fused,
        positions: Tensor,
        view: CacheView,
        watch: Callable[[Tensor], None] | None = None,
        head: Callable[[Tensor], Tensor] | None = None,
    ) -> Tensor:
        """Run embeddings [tokens, hidden] at `positions` [3, tokens].

        `watch` is shown the embeddings, then what leaves each layer before DeepStack adds to it,
        but after the last layer what leaves the final norm. With the `head` tokens may leave early,
        if a `depth` technique wants it; they leave their keys and values in the layers after.
        """
        # Fused layers may put what leaves them in the place of what came.
        keep = torch.clone if self._runners else lambda x: x
        x = keep(inputs.embeddings)
        dtype = x.dtype
        rotary = self.rotary.angles(positions, dtype)
        seen, left = x, None
        for index, run in enumerate(self._runners or self.layers):
            if watch:
                watch(keep(seen))
            if self.depth and head and index == self.depth.exit_after(len(self.layers)):
                final = self.norm(x.to(dtype))
                left = self.depth.leaves(head(final)).unsqueeze(1)
                if left.all():
                    self._remember(x, rotary, view, index)
                    return final
            if self._skips(index):
                continue
            before = x if left is None else keep(x)
            seen = run(x, rotary, view)
            if left is not None:
                seen = torch.where(left, before, seen)
            x = inputs.add_deepstack(index, seen)
        x = self.norm(x.to(dtype))  # where layers were fused it is in float32
        if watch:
            watch(x)
        return x

    def run_words(
        self,
        words: Tensor,
        positions: Tensor,
        view: CacheView,
        head: Scoring | None = None,
    ) -> Tensor:
        """Run `words` [tokens] without pictures, as `forward` does with what they embed to."""
        if self._whole and not self.depth:
            whole = self._whole(words, self.embed_tokens, positions, view, head)
            if whole is not None:
                return whole
        inputs = Fused(self.embed_tokens(words), words[:0], ())
        return self(inputs, positions, view, head=head)

    def _remember(self, x: Tensor, rotary: Angles, view: CacheView, start: int) -> None:
        for index in range(start, len(self.layers)):
            if not self._skips(index):
                cast(DecoderLayer, self.layers[index]).remember(x, rotary, view)

    def _skips(self, layer: int) -> bool:
        return self.depth is not None and self.depth.skips(layer)

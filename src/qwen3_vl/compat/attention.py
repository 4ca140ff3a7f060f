"""One attention layer by itself, under the names of older layouts."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from enum import Enum

import torch
from torch import Tensor, nn

from qwen3_vl.config.model import Qwen3VLConfig, TextConfig, VisionConfig
from qwen3_vl.errors import ConfigError, Incompatible, InputError
from qwen3_vl.models.cache import NoCache
from qwen3_vl.models.inputs import check_tensor
from qwen3_vl.models.packing import Packing
from qwen3_vl.models.positions import Qwen3VLRotaryEmbedding
from qwen3_vl.models.text import Qwen3VLAttention
from qwen3_vl.optimization.attention.block_sparse_attention import BlockSparseAttention
from qwen3_vl.optimization.attention.flash_attention_2 import FlashAttention2
from qwen3_vl.optimization.attention.memory_efficient_attention import MemoryEfficientAttention
from qwen3_vl.plan import Optimization
from qwen3_vl.recipes import compile_recipe
from qwen3_vl.seams import Seams


class AttentionMechanisms(str, Enum):
    """The ways to compute attention that `AdaptiveAttention` takes."""

    STANDARD = "standard"
    """With whatever kernel torch takes."""
    FLASH = "flash"
    MEMORY_EFFICIENT = "memory_efficient"
    BLOCK_SPARSE = "block_sparse"
    AUTO = "auto"
    """`flash` where the device has a kernel for it, else `memory_efficient`."""


_TECHNIQUES: Mapping[AttentionMechanisms, tuple[Optimization, ...]] = {
    AttentionMechanisms.STANDARD: (),
    AttentionMechanisms.FLASH: (FlashAttention2(),),
    AttentionMechanisms.MEMORY_EFFICIENT: (MemoryEfficientAttention(),),
    AttentionMechanisms.BLOCK_SPARSE: (BlockSparseAttention(),),
}
_FUSED_ON_GPUS = (torch.bfloat16, torch.float16)


class AdaptiveAttention(nn.Module):
    """The attention of one decoder layer, causal and without a cache, its weights at random."""

    def __init__(
        self,
        config: TextConfig | Qwen3VLConfig,
        attention_type: AttentionMechanisms | str = AttentionMechanisms.FLASH,
    ) -> None:
        """`attention_type` is standard, flash, memory_efficient, block_sparse or auto."""
        super().__init__()
        if not isinstance(config, Qwen3VLConfig | TextConfig):
            raise ConfigError(
                f"config is a {type(config).__name__}; it must be a Qwen3VLConfig or a TextConfig"
            )
        self.config = config if isinstance(config, Qwen3VLConfig) else _around(config)
        self.attention_type = _mechanism(attention_type)
        self.self_attn = Qwen3VLAttention(self.config.text_config, layer=0)
        nn.init.ones_(self.self_attn.q_norm.weight)
        nn.init.ones_(self.self_attn.k_norm.weight)
        self.rotary = Qwen3VLRotaryEmbedding(self.config.text_config)

    def forward(
        self,
        hidden_states: Tensor,
        position_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
    ) -> Tensor:
        """Attend within each row of [batch, tokens, hidden]; the result has the same shape.

        `attention_mask` [batch, tokens] is 0 on padding, which comes out as zeros. `position_ids`
        are [batch, tokens] or [3, batch, tokens], by default those of text.
        """
        check_tensor("hidden_states", hidden_states)
        size = self.config.text_config.hidden_size
        if hidden_states.ndim != 3 or hidden_states.shape[2] != size:
            raise InputError(
                f"hidden_states {list(hidden_states.shape)} must be [batch, tokens, {size}]"
            )
        packing = Packing.of(hidden_states[..., 0], attention_mask)
        if not any(packing.lengths):
            raise InputError("there is no token: give some, and do not mask them all")
        tokens, positions = packing.flatten(hidden_states), _positions(position_ids, packing)
        view = NoCache(packing.lengths, self._seams(tokens.device, tokens.dtype))
        return packing.pad(
            self.self_attn(tokens, self.rotary.angles(positions, tokens.dtype), view)
        )

    def _seams(self, device: torch.device, dtype: torch.dtype) -> Seams:
        if self.attention_type is not AttentionMechanisms.AUTO:
            return compile_recipe(_TECHNIQUES[self.attention_type], self.config, device).seams
        if device.type == "cpu" or dtype in _FUSED_ON_GPUS:
            with suppress(Incompatible):  # a GPU that is too old for it
                return compile_recipe([FlashAttention2()], self.config, device).seams
        return compile_recipe([MemoryEfficientAttention()], self.config, device).seams


def _mechanism(name: AttentionMechanisms | str) -> AttentionMechanisms:
    try:
        return AttentionMechanisms(name)
    except ValueError:
        known = ", ".join(one.value for one in AttentionMechanisms)
        raise ConfigError(f"attention_type is {name!r}; it can be {known}") from None


def _positions(given: Tensor | None, packing: Packing) -> Tensor:
    """The positions [3, tokens] of what is no padding: those given, or the places in the row."""
    if given is None:
        given = packing.mask.long().cumsum(dim=1) - 1
    check_tensor("position_ids", given)
    shape = packing.mask.shape
    if given.shape not in (shape, (3, *shape)):
        raise InputError(
            f"position_ids {list(given.shape)} must be [batch, tokens] = {list(shape)}, "
            "or three of these"
        )
    return torch.stack([packing.flatten(axis) for axis in given.expand(3, *shape)])


def _around(text: TextConfig) -> Qwen3VLConfig:
    """A whole model around a decoder, because techniques look at whole models."""
    vision = VisionConfig(out_hidden_size=text.hidden_size, deepstack_visual_indexes=())
    return Qwen3VLConfig(text, vision, image_token_id=0, video_token_id=0)

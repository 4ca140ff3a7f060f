"""The vision tower: patches in, one feature per 2×2 block out, and three DeepStack taps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qwen3_vl.config.model import VisionConfig
from qwen3_vl.errors import InputError
from qwen3_vl.models.frames import Frames
from qwen3_vl.models.positions import (
    Grid,
    learned_positions,
    patch_coordinates,
    patch_rotary,
)
from qwen3_vl.models.stored import StoredModule, TensorReader
from qwen3_vl.models.tables import empty_table
from qwen3_vl.seams import PLAIN, PatchAttention, Seams


@dataclass(frozen=True)
class Pictures:
    """Pixels and grids of the images and videos of a batch."""

    pixel_values: Tensor | None = None
    pixel_values_videos: Tensor | None = None
    image_grid_thw: Tensor | None = None
    video_grid_thw: Tensor | None = None

    def __post_init__(self) -> None:
        for kind, pixels, grid in (
            ("image", self.pixel_values, self.image_grid_thw),
            ("video", self.pixel_values_videos, self.video_grid_thw),
        ):
            if (pixels is None) != (grid is None):
                raise InputError(f"{kind} pixels and {kind}_grid_thw belong together; one is None")


@dataclass(frozen=True)
class VisualFeatures:
    """What the decoder gets of the pictures: a token each, and what DeepStack adds to it."""

    tokens: Tensor
    """[tokens, hidden]"""
    deepstack: tuple[Tensor, ...]
    """One [tokens, hidden] for each of the first decoder layers."""


class PatchProjection(StoredModule):
    """A patch to a vector: one matrix product, stored in checkpoints as a 3-D convolution."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.kernel = (config.temporal_patch_size, config.patch_size, config.patch_size)
        self.channels = config.in_channels
        self.weight = nn.Parameter(torch.empty(config.hidden_size, config.patch_dim))
        self.bias = nn.Parameter(torch.empty(config.hidden_size))

    def forward(self, patches: Tensor) -> Tensor:
        """Project patches [patches, channels · time · height · width]."""
        frames, area = self.kernel[0], self.kernel[1] * self.kernel[2]
        slices = patches.view(-1, self.channels, frames, area)
        if frames > 1 and bool((slices == slices[:, :, :1]).all()):
            return self._project_still(slices[:, :, 0])
        return F.linear(patches.to(self.weight.dtype), self.weight, self.bias)

    def _project_still(self, picture: Tensor) -> Tensor:
        """All time slices of a still picture are equal: x·w₀ + x·w₁ = x·(w₀ + w₁), half the work.

        The sum of weights is taken, and used, in float32 so that no bit of it is rounded away.
        """
        weight = self.weight.float().view(len(self.weight), self.channels, self.kernel[0], -1)
        folded = weight.sum(dim=2).flatten(1)
        return F.linear(picture.float().flatten(1), folded, self.bias.float()).to(self.weight.dtype)

    def read(self, tensors: TensorReader) -> None:
        """Flatten the convolution's kernel."""
        shape = (len(self.bias), self.channels, *self.kernel)
        self.weight = nn.Parameter(tensors.take("weight", shape).flatten(1))
        self.bias = nn.Parameter(tensors.take("bias", tuple(self.bias.shape)))

    def stored(self) -> Mapping[str, Tensor]:
        """The kernel in the convolution's shape."""
        shape = (len(self.bias), self.channels, *self.kernel)
        return {"weight": self.weight.view(shape), "bias": self.bias}


class PatchEmbed(nn.Module):
    """Holds the projection under the name that checkpoints use."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.proj = PatchProjection(config)

    def forward(self, patches: Tensor) -> Tensor:
        """Patches to vectors."""
        return self.proj(patches)


class VisionAttention(nn.Module):
    """Every patch of a frame sees every patch of the same frame."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.qkv = nn.Linear(config.hidden_size, 3 * config.hidden_size)
        self.proj = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, x: Tensor, frames: PatchAttention) -> Tensor:
        """Attend within each frame of `x` [patches, hidden]."""
        return self.proj(frames.attend(self.qkv(x), x.dtype))


class VisionMLP(nn.Module):
    """Two linear layers with a GELU between them."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.linear_fc1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.linear_fc2 = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        """Transform each patch by itself."""
        return self.linear_fc2(F.gelu(self.linear_fc1(x), approximate="tanh"))


class VisionBlock(nn.Module):
    """Attention and MLP, each after a norm and added to what came in."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.hidden_size, eps=1e-6)
        self.norm2 = nn.LayerNorm(config.hidden_size, eps=1e-6)
        self.attn = VisionAttention(config)
        self.mlp = VisionMLP(config)

    def forward(self, x: Tensor, frames: PatchAttention) -> Tensor:
        """One block over all frames."""
        x = x + self.attn(self.norm1(x), frames)
        return x + self.mlp(self.norm2(x))


class PatchMerger(nn.Module):
    """Joins the patches of a merge block into one token of the decoder's width.

    The main merger normalises each patch, the DeepStack mergers the joined block.
    """

    def __init__(self, config: VisionConfig, *, norm_after_join: bool) -> None:
        super().__init__()
        self.joined = config.hidden_size * config.merge_area
        self.norm_after_join = norm_after_join
        self.norm = nn.LayerNorm(self.joined if norm_after_join else config.hidden_size, eps=1e-6)
        self.linear_fc1 = nn.Linear(self.joined, self.joined)
        self.linear_fc2 = nn.Linear(self.joined, config.out_hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        """Patches [patches, hidden] to tokens [patches / 4, out_hidden]."""
        if self.norm_after_join:
            x = self.norm(x.reshape(-1, self.joined))
        else:
            x = self.norm(x).reshape(-1, self.joined)
        return self.linear_fc2(F.gelu(self.linear_fc1(x)))


class VisionModel(nn.Module):
    """The tower, for any number of pictures and videos of any size at once."""

    def __init__(self, config: VisionConfig, seams: Seams = PLAIN) -> None:
        super().__init__()
        self.config = config
        self.patch_embed = PatchEmbed(config)
        self.pos_embed = empty_table(config.num_position_embeddings, config.hidden_size)
        self.blocks = nn.ModuleList(VisionBlock(config) for _ in range(config.depth))
        self.merger = PatchMerger(config, norm_after_join=False)
        self.deepstack_merger_list = nn.ModuleList(
            PatchMerger(config, norm_after_join=True) for _ in config.deepstack_visual_indexes
        )
        self.seams = seams
        self._runners = seams.fusion.block_runners(list(self.blocks)) if seams.fusion else None

    def forward(self, patches: Tensor, grids: Sequence[Grid]) -> VisualFeatures:
        """Encode `patches` [patches, patch_dim], picture after picture as `grids` tells."""
        x = self.patch_embed(patches)
        positions, rotary = self._positions(grids, x.device)
        x = x + positions.to(x.dtype)
        dtype = x.dtype
        lengths = [rows * columns for steps, rows, columns in grids for _ in range(steps)]
        frames = Frames(lengths, rotary, self.config.num_heads, self.seams)
        mergers = dict(
            zip(self.config.deepstack_visual_indexes, self.deepstack_merger_list, strict=True)
        )
        deepstack: list[Tensor] = []
        for index, run in enumerate(self._runners or self.blocks):
            x = run(x, frames)
            if index in mergers:
                deepstack.append(mergers[index](x.to(dtype)))  # fused blocks leave float32
        return VisualFeatures(self.merger(x.to(dtype)), tuple(deepstack))

    def _positions(
        self, grids: Sequence[Grid], device: torch.device
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Learned and rotary positions of all patches; the frames of a video share theirs."""
        learned: list[Tensor] = []
        coordinates: list[Tensor] = []
        for grid in grids:
            places = patch_coordinates(grid, self.config.spatial_merge_size, device)
            learned.append(
                learned_positions(self.pos_embed.weight, grid, places).repeat(grid[0], 1)
            )
            coordinates.append(places.repeat(grid[0], 1))
        return torch.cat(learned), patch_rotary(torch.cat(coordinates), self.config)

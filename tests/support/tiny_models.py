"""Models small enough to run in milliseconds, with every part that the large ones have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from qwen3_vl.config.model import ExpertsConfig, Qwen3VLConfig, TextConfig, VisionConfig
from qwen3_vl.models.qwen3_vl import Qwen3VLForConditionalGeneration

Side = Literal["left", "right"]

_TEXT = TextConfig(
    vocab_size=320,
    hidden_size=64,
    intermediate_size=96,
    num_hidden_layers=4,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=16,
    max_position_embeddings=512,
    initializer_range=0.15,
    rope_theta=10000.0,
    mrope_section=(4, 2, 2),
)
_VISION = VisionConfig(
    depth=4,
    hidden_size=32,
    intermediate_size=48,
    num_heads=2,
    patch_size=4,
    out_hidden_size=64,
    num_position_embeddings=36,
    deepstack_visual_indexes=(0, 1, 2),
    initializer_range=0.15,
)


_MODEL = Qwen3VLConfig(
    text_config=_TEXT,
    vision_config=_VISION,
    vision_start_token_id=310,
    vision_end_token_id=311,
    image_token_id=312,
    video_token_id=313,
)
_EXPERTS = ExpertsConfig(num_experts=6, num_experts_per_tok=2, moe_intermediate_size=24)

CONFIGS: dict[str, Qwen3VLConfig] = {
    "dense_tied": _MODEL.replace(tie_word_embeddings=True),
    "dense_untied": _MODEL,
    "experts": _MODEL.replace(text_config=replace(_TEXT, experts=_EXPERTS)),
    "attention_bias": _MODEL.replace(
        text_config=replace(_TEXT, attention_bias=True), tie_word_embeddings=True
    ),
}


def tiny_model(name: str, seed: int = 0) -> Qwen3VLForConditionalGeneration:
    """A random model of one of the shapes above."""
    return random_model(CONFIGS[name], seed)


def random_model(config: Qwen3VLConfig, seed: int = 0) -> Qwen3VLForConditionalGeneration:
    """A random model whose logits spread widely, and whose norms and biases all matter."""
    model = Qwen3VLForConditionalGeneration.random(config, seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model


@dataclass(frozen=True)
class Image:
    """A picture of so many rows and columns of patches."""

    rows: int
    columns: int


@dataclass(frozen=True)
class Video:
    """A video of so many time steps, each of rows × columns patches."""

    steps: int
    rows: int
    columns: int


def tiny_inputs(
    config: Qwen3VLConfig, *rows: Sequence[int | Image | Video], seed: int = 0, pad: Side = "right"
) -> dict[str, Any]:
    """The arguments of a forward pass over a batch whose rows are made of these pieces.

    A number stands for so many random text tokens, a picture for its placeholders between their
    marks. Every frame of a video stands between marks of its own, after a token for its time.
    """
    generator = torch.Generator().manual_seed(seed)
    ids = [torch.cat([_ids(config, piece, generator) for piece in row]) for row in rows]
    images = [piece for row in rows for piece in row if isinstance(piece, Image)]
    videos = [piece for row in rows for piece in row if isinstance(piece, Video)]
    inputs = _padded(ids, pad)
    is_image = inputs["input_ids"] == config.image_token_id
    is_video = inputs["input_ids"] == config.video_token_id
    inputs["mm_token_type_ids"] = is_image.long() + 2 * is_video.long()
    vision = config.vision_config
    if images:
        grid = torch.tensor([(1, image.rows, image.columns) for image in images])
        # A still picture is the same at both times of a patch, as the processor makes it.
        frame = (int(grid.prod(dim=1).sum()), vision.in_channels, 1, vision.patch_size**2)
        pixels = torch.randn(frame, generator=generator)
        pixels = pixels.expand(-1, -1, vision.temporal_patch_size, -1).flatten(1)
        inputs |= {"pixel_values": pixels, "image_grid_thw": grid}
    if videos:
        grid = torch.tensor([(video.steps, video.rows, video.columns) for video in videos])
        shape = (int(grid.prod(dim=1).sum()), vision.patch_dim)
        pixels = torch.randn(shape, generator=generator)
        inputs |= {"pixel_values_videos": pixels, "video_grid_thw": grid}
    return inputs


def _ids(config: Qwen3VLConfig, piece: int | Image | Video, generator: torch.Generator) -> Tensor:
    if isinstance(piece, int):
        return torch.randint(0, 300, (piece,), generator=generator)
    token = config.image_token_id if isinstance(piece, Image) else config.video_token_id
    count = piece.rows * piece.columns // config.vision_config.merge_area
    frame = [config.vision_start_token_id, *[token] * count, config.vision_end_token_id]
    if isinstance(piece, Image):
        return torch.tensor(frame)
    times = torch.randint(0, 300, (piece.steps, 1), generator=generator)
    return torch.cat((times, torch.tensor(frame).expand(piece.steps, -1)), dim=1).flatten()


def _padded(rows: Sequence[Tensor], side: Side) -> dict[str, Any]:
    shape = (len(rows), max(map(len, rows)))
    ids, mask = torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.long)
    for index, row in enumerate(rows):
        place = slice(len(row)) if side == "right" else slice(shape[1] - len(row), None)
        ids[index, place] = row
        mask[index, place] = 1
    return {"input_ids": ids, "attention_mask": mask}

"""Text, pictures and videos in; the tensors that the model reads out."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from qwen3_vl.errors import ChatError, CheckpointError, ConfigError, InputError
from qwen3_vl.hub import HubOptions, resolve
from qwen3_vl.processing.chat import ChatTemplate, Conversation, collect_media, find_template
from qwen3_vl.processing.grouping import Images, Videos, flatten_images, flatten_videos
from qwen3_vl.processing.image import ImageLimits, ImageProcessor
from qwen3_vl.processing.inputs import ModelInputs, TokenCount
from qwen3_vl.processing.options import MediaOptions
from qwen3_vl.processing.pixels import PixelSettings
from qwen3_vl.processing.placeholders import (
    IMAGE_PAD,
    VIDEO_PAD,
    VISION_END,
    VISION_START,
    check_counts,
    expand,
    tokens_per_frame,
)
from qwen3_vl.processing.tokenizer import Tokenizer, as_id_lists, check_text
from qwen3_vl.processing.video import VideoLimits, VideoProcessor

Padding = bool | Literal["longest"]
Side = Literal["left", "right"]
Tensors = Literal["pt"] | None


class Qwen3VLProcessor:
    """The tokenizer, the chat template, and the picture and video processors of a checkpoint."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        image_processor: ImageProcessor | None = None,
        video_processor: VideoProcessor | None = None,
        chat_template: str | None = None,
    ):
        self.tokenizer = tokenizer
        self.image_processor = ImageProcessor() if image_processor is None else image_processor
        self.video_processor = VideoProcessor() if video_processor is None else video_processor
        if _patching(self.image_processor.pixels) != _patching(self.video_processor.pixels):
            raise ConfigError(
                "pictures and videos go into the same vision tower: patch_size, merge_size and "
                "temporal_patch_size must agree in their two preprocessor_config.json files"
            )
        self._template = None if chat_template is None else ChatTemplate(chat_template)
        self.image_token_id = tokenizer.token_to_id(IMAGE_PAD)
        self.video_token_id = tokenizer.token_to_id(VIDEO_PAD)
        self.vision_start_token_id = tokenizer.token_to_id(VISION_START)
        self.vision_end_token_id = tokenizer.token_to_id(VISION_END)

    @classmethod
    def from_pretrained(
        cls,
        name_or_folder: str | Path,
        *,
        image_limits: ImageLimits | None = None,
        video_limits: VideoLimits | None = None,
        revision: str | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        token: str | None = None,
    ) -> Qwen3VLProcessor:
        """Read the processor in a model's folder, or from the hub, without the weights."""
        options = HubOptions(revision, cache_dir, local_files_only, token)
        folder = resolve(name_or_folder, options, weights=False)
        return cls(
            Tokenizer.from_folder(folder),
            ImageProcessor.from_folder(folder).with_limits(image_limits),
            VideoProcessor.from_folder(folder).with_limits(video_limits),
            find_template(folder),
        )

    @property
    def chat_template(self) -> str | None:
        """The source of the chat template, if the checkpoint has one."""
        return None if self._template is None else self._template.source

    def save_pretrained(self, folder: str | Path) -> None:
        """Write all files that `from_pretrained` reads; each appears whole or not at all."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        images, videos = self.image_processor.to_dict(), self.video_processor.to_dict()
        named = {"processor_class": type(self).__name__}
        files = self.tokenizer.files() | {
            "preprocessor_config.json": _json(images | named),
            "video_preprocessor_config.json": _json(videos | named),
            "processor_config.json": _json(
                named | {"image_processor": images, "video_processor": videos}
            ),
        }
        if self.chat_template is not None:
            files["chat_template.jinja"] = self.chat_template
            # An older template file in the folder would win over the new one.
            if (folder / "chat_template.json").exists():
                files["chat_template.json"] = _json({"chat_template": self.chat_template})
        for name, content in files.items():
            _write(folder / name, content)

    def __call__(
        self,
        text: str | Sequence[str],
        images: Images | None = None,
        videos: Videos | None = None,
        *,
        return_tensors: Tensors = "pt",
        padding: Padding = False,
        padding_side: Side | None = None,
        return_mm_token_type_ids: bool = True,
        min_pixels: int | None = None,
        max_pixels: int | None = None,
        fps: float | None = None,
        num_frames: int | None = None,
        do_sample_frames: bool | None = None,
        video_min_pixels: int | None = None,
        video_max_pixels: int | None = None,
    ) -> ModelInputs:
        """Prepare prompts that already hold one placeholder per picture and video.

        `images` and `videos` are flat lists in the order of the placeholders, or one list per text.
        See `MediaOptions` for the settings of pictures and videos.
        """
        options = MediaOptions(
            min_pixels=min_pixels,
            max_pixels=max_pixels,
            fps=fps,
            num_frames=num_frames,
            do_sample_frames=do_sample_frames,
            video_min_pixels=video_min_pixels,
            video_max_pixels=video_max_pixels,
        )
        texts = [check_text(one) for one in (text if isinstance(text, (list, tuple)) else [text])]
        if not texts:
            raise InputError("no text was given; pass a str or a list of str")
        pictures, per_text = flatten_images(images)
        check_counts(texts, IMAGE_PAD, "images", len(pictures), per_text)
        films, per_text = flatten_videos(videos)
        check_counts(texts, VIDEO_PAD, "videos", len(films), per_text)
        tensors, plans = {}, []
        if pictures:
            values, grids = self.image_processor([options.image(one) for one in pictures])
            tensors |= {"pixel_values": values, "image_grid_thw": grids}
        if films:
            values, grids, plans = self.video_processor([options.video(one) for one in films])
            tensors |= {"pixel_values_videos": values, "video_grid_thw": grids}
        image_grids = tensors["image_grid_thw"].tolist() if pictures else []
        merge_size = self.image_processor.pixels.merge_size
        rows = [self.tokenizer.encode(t) for t in expand(texts, image_grids, plans, merge_size)]
        rows = self._columns(rows, padding, padding_side or self.tokenizer.padding_side)
        if not return_mm_token_type_ids:
            del rows["mm_token_type_ids"]
        return ModelInputs(_as_tensors(rows, return_tensors) | tensors)

    def apply_chat_template(
        self,
        messages: Conversation | Sequence[Conversation],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = False,
        add_vision_id: bool = False,
        template_variables: Mapping[str, Any] | None = None,
        tokenize: bool = False,
        return_dict: bool = False,
        return_tensors: Tensors = "pt",
        padding: Padding = False,
        padding_side: Side | None = None,
        return_mm_token_type_ids: bool = True,
        min_pixels: int | None = None,
        max_pixels: int | None = None,
        fps: float | None = None,
        num_frames: int | None = None,
        do_sample_frames: bool | None = None,
        video_min_pixels: int | None = None,
        video_max_pixels: int | None = None,
    ) -> str | list[str] | list[list[int]] | Tensor | ModelInputs:
        """The prompt of one conversation or of a list of them.

        With `tokenize` the ids instead, and with `return_dict` too all the model's inputs, for
        which the pictures and videos in the messages are read.
        """
        options = MediaOptions(
            min_pixels=min_pixels,
            max_pixels=max_pixels,
            fps=fps,
            num_frames=num_frames,
            do_sample_frames=do_sample_frames,
            video_min_pixels=video_min_pixels,
            video_max_pixels=video_max_pixels,
        )
        batched = _is_batch(messages)
        conversations: Sequence[Any] = messages if batched else [messages]
        prompts = [
            self._prompt(one, tools, add_generation_prompt, add_vision_id, template_variables)
            for one in conversations
        ]
        if tokenize:
            inputs = self._inputs(
                prompts,
                conversations,
                options,
                return_tensors=return_tensors,
                padding=padding,
                padding_side=padding_side,
                return_mm_token_type_ids=return_mm_token_type_ids,
            )
            return inputs if return_dict else inputs["input_ids"]
        if return_dict or padding or options != MediaOptions():
            raise InputError(
                "return_dict, padding and settings of pictures and videos need tokenize=True"
            )
        return prompts if batched else prompts[0]

    def prepare(
        self,
        conversations: Sequence[Conversation],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        padding_side: Side = "left",
        options: MediaOptions | None = None,
    ) -> ModelInputs:
        """The model's inputs that ask for the next turn of each conversation, as one batch."""
        prompts = [self._prompt(one, tools, True, False, None) for one in conversations]
        options = MediaOptions() if options is None else options
        return self._inputs(
            prompts, conversations, options, padding=True, padding_side=padding_side
        )

    def count_tokens(
        self,
        messages: Conversation,
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = True,
        add_vision_id: bool = False,
        template_variables: Mapping[str, Any] | None = None,
        options: MediaOptions | None = None,
    ) -> TokenCount:
        """How long the prompt of a conversation will be. Pictures are measured, not decoded."""
        prompt = self._prompt(
            messages, tools, add_generation_prompt, add_vision_id, template_variables
        )
        media = collect_media(messages)
        options = MediaOptions() if options is None else options
        check_counts([prompt], IMAGE_PAD, "images", len(media.images), None)
        check_counts([prompt], VIDEO_PAD, "videos", len(media.videos), None)
        grids = [self.image_processor.measure(options.image(one)) for one in media.images]
        plans = [self.video_processor.measure(options.video(one)) for one in media.videos]
        merge = self.image_processor.pixels.merge_size
        return TokenCount(
            total=len(self.tokenizer.encode(expand([prompt], grids, plans, merge)[0])),
            images=tuple(tokens_per_frame(grid, merge) for grid in grids),
            videos=tuple(p.grid[0] * tokens_per_frame(p.grid, merge) for p in plans),
        )

    def decode(
        self,
        ids: Any,
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool = False,
    ) -> str:
        """The text of one row of ids: a list, a tensor or an array."""
        return self.batch_decode([ids], skip_special_tokens, clean_up_tokenization_spaces)[0]

    def batch_decode(
        self,
        ids: Any,
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool = False,
    ) -> list[str]:
        """The text of each row of ids."""
        if clean_up_tokenization_spaces:
            raise InputError(
                "clean_up_tokenization_spaces=True would change the text; leave it False"
            )
        return [self.tokenizer.decode(row, skip_special_tokens) for row in as_id_lists(ids)]

    def _inputs(
        self,
        prompts: Sequence[str],
        conversations: Sequence[Conversation],
        options: MediaOptions,
        *,
        return_tensors: Tensors = "pt",
        padding: Padding = False,
        padding_side: Side | None = None,
        return_mm_token_type_ids: bool = True,
    ) -> ModelInputs:
        media = [collect_media(one) for one in conversations]
        return self(
            prompts,
            [[options.image(image) for image in one.images] for one in media],
            [[options.video(video) for video in one.videos] for one in media],
            return_tensors=return_tensors,
            padding=padding,
            padding_side=padding_side,
            return_mm_token_type_ids=return_mm_token_type_ids,
        )

    def _prompt(
        self,
        messages: Conversation,
        tools: Sequence[Mapping[str, Any]] | None,
        add_generation_prompt: bool,
        add_vision_id: bool,
        variables: Mapping[str, Any] | None,
    ) -> str:
        if self._template is None:
            raise ChatError(
                "this checkpoint has no chat template; pass chat_template to Qwen3VLProcessor"
            )
        return self._template.render(
            messages,
            tools=tools,
            add_generation_prompt=add_generation_prompt,
            add_vision_id=add_vision_id,
            variables=variables,
            special_tokens=self.tokenizer.special_tokens,
        )

    def _columns(
        self, rows: list[list[int]], padding: Padding, side: Side
    ) -> dict[str, list[list[int]]]:
        """Ids, attention mask and kinds of token, padded to the longest row if asked to."""
        if padding not in (True, False, "longest") or side not in ("left", "right"):
            raise InputError(
                f"padding = {padding!r} on side {side!r} is not supported; "
                "padding is True, False or 'longest', the side 'left' or 'right'"
            )
        kinds = {self.image_token_id: 1, self.video_token_id: 2}
        columns = {
            "input_ids": (rows, self.tokenizer.pad_token_id),
            "attention_mask": ([[1] * len(row) for row in rows], 0),
            "mm_token_type_ids": ([[kinds.get(index, 0) for index in row] for row in rows], 0),
        }
        length = max(map(len, rows)) if padding else 0
        return {
            name: [_padded(row, length, fill, side) for row in values]
            for name, (values, fill) in columns.items()
        }


def _patching(pixels: PixelSettings) -> tuple[int, int, int]:
    return pixels.patch_size, pixels.temporal_patch_size, pixels.merge_size


def _padded(row: list[int], length: int, fill: int, side: Side) -> list[int]:
    missing = [fill] * (length - len(row))
    return missing + row if side == "left" else row + missing


def _as_tensors(rows: dict[str, list[list[int]]], kind: Tensors) -> dict[str, Any]:
    if kind is None:
        return dict(rows)
    if kind != "pt":
        raise InputError(f"return_tensors = {kind!r} is not supported; use 'pt' or None")
    if len({len(row) for row in rows["input_ids"]}) > 1:
        raise InputError(
            "the prompts differ in length and cannot form one tensor; "
            "pass padding=True, or return_tensors=None for lists"
        )
    return {name: torch.tensor(values, dtype=torch.long) for name, values in rows.items()}


def _is_batch(messages: Any) -> bool:
    is_list = isinstance(messages, (list, tuple))
    return is_list and len(messages) > 0 and isinstance(messages[0], (list, tuple))


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2) + "\n"


def _write(path: Path, content: str) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_text(content, encoding="utf-8", newline="")
        part.replace(path)
    except OSError as problem:
        part.unlink(missing_ok=True)
        raise CheckpointError(f"cannot write {path}: {problem}") from problem

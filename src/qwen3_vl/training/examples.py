"""A conversation as a model learns it: its ids and pictures, and which ids it is to say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from qwen3_vl.errors import InputError
from qwen3_vl.processing.processor import Qwen3VLProcessor

_ANSWER = "<|im_start|>assistant\n"


@dataclass(frozen=True)
class Example:
    """One conversation."""

    ids: Tensor
    """[tokens]"""
    weights: Tensor
    """[tokens]: how much it counts that the model says this id; 0 for what it is told."""
    pixel_values: Tensor | None = None
    image_grid_thw: Tensor | None = None
    pixel_values_videos: Tensor | None = None
    video_grid_thw: Tensor | None = None

    @property
    def tokens(self) -> int:
        """How many tokens it has."""
        return len(self.ids)

    @property
    def patches(self) -> int:
        """How many patches its pictures and videos have."""
        given = (self.pixel_values, self.pixel_values_videos)
        return sum(len(pixels) for pixels in given if pixels is not None)

    @classmethod
    def of(
        cls,
        conversation: Sequence[Mapping[str, Any]],
        processor: Qwen3VLProcessor,
        *,
        balance: float = 0.0,
    ) -> Example:
        """Prepare a conversation; the model learns to say the answers in it, and to end them.

        Each token of an answer of n tokens counts n^-balance: with 0 all tokens count the same,
        with 1 all answers do, however long they are.
        """
        inputs: Any = processor.apply_chat_template(
            conversation, tokenize=True, add_generation_prompt=False, return_dict=True
        )
        ids = inputs["input_ids"][0]
        weights = torch.zeros(len(ids))
        for start, end in _answers(ids.tolist(), processor):
            weights[start:end] = (end - start) ** -balance
        if not weights.any():
            raise InputError("a conversation to learn from needs a message of the assistant")
        media = {key: inputs[key] for key in cls.__dataclass_fields__ if key in inputs}
        return cls(ids, weights, **media)


def _answers(ids: list[int], processor: Qwen3VLProcessor) -> list[tuple[int, int]]:
    """Where each answer begins, and where it ends: behind the token that ends the turn."""
    tokenizer = processor.tokenizer
    head, end = tokenizer.encode(_ANSWER), tokenizer.token_to_id("<|im_end|>")
    found: list[tuple[int, int]] = []
    for place, token in enumerate(ids):
        if token == head[0] and ids[place : place + len(head)] == head:
            start = place + len(head)
            found.append((start, ids.index(end, start) + 1))
    return found

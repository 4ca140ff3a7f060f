"""A prompt answered, or led along a given answer, and watched: logits, time, size of the cache."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

import torch
from torch import Tensor

from qwen3_vl.errors import InputError
from qwen3_vl.models.generation import Walk
from qwen3_vl.models.packing import Packing
from qwen3_vl.models.qwen3_vl import Qwen3VLForConditionalGeneration
from qwen3_vl.models.vision import Pictures
from qwen3_vl.ops.largest import largest


@dataclass(frozen=True)
class Trace:
    """One prompt answered, token by token."""

    tokens: tuple[int, ...]
    """Those that were chosen, or that it was led along; the token that ends an answer too."""
    logits: Tensor
    """[tokens, vocabulary] in float32: from which each of them was chosen, or would have been."""
    seconds: float
    peak_cache: int
    """Bytes: the most that the cache took."""
    final_cache: int
    """Bytes: what it took at the end."""


def answer(model: Qwen3VLForConditionalGeneration, inputs: Mapping[str, Any], limit: int) -> Trace:
    """The greedy answer to a prompt, of `limit` tokens at most."""
    ends = model.generation_config.eos_token_id
    return _decode(model, inputs, limit, lambda _, likeliest: likeliest, ends)


def follow(
    model: Qwen3VLForConditionalGeneration, inputs: Mapping[str, Any], tokens: Sequence[int]
) -> Trace:
    """Lead a model along a given answer; what it would have said instead is in the logits.

    Each token is a step of its own over the cache, so that what techniques do to the cache counts.
    """
    if not tokens:
        raise InputError("there is no token to follow; an answer must have at least one")
    return _decode(model, inputs, len(tokens), lambda step, _: tokens[step])


@torch.inference_mode()
def _decode(
    model: Qwen3VLForConditionalGeneration,
    inputs: Mapping[str, Any],
    limit: int,
    choose: Callable[[int, int], int],
    ends: Sequence[int] = (),
) -> Trace:
    ids = inputs["input_ids"]
    walk = Walk(model, ids, Packing.of(ids, None), _pictures(inputs))
    tokens: list[int] = []
    logits: list[Tensor] = []
    started = time.perf_counter()
    for step in range(limit):
        logits.append(walk.score()[0])
        tokens.append(choose(step, _likeliest(logits[-1])))
        if tokens[-1] in ends:
            break
        walk.take(tokens[-1:])
    seconds = time.perf_counter() - started
    held = walk.cache.nbytes
    peak = max(walk.peak_cache, held)
    return Trace(tuple(tokens), torch.stack(logits), seconds, peak, held)


def _likeliest(logits: Tensor) -> int:
    likeliest = largest(logits.unsqueeze(0), 1)[0, 0]
    best = float(logits[likeliest])
    if not isfinite(best):
        raise InputError(
            f"no token can be chosen: the highest logit is {best}; are the weights "
            "whole? In float16 numbers overflow: try bfloat16"
        )
    return int(likeliest)


def _pictures(inputs: Mapping[str, Any]) -> Pictures:
    return Pictures(
        inputs.get("pixel_values"),
        inputs.get("pixel_values_videos"),
        inputs.get("image_grid_thw"),
        inputs.get("video_grid_thw"),
    )

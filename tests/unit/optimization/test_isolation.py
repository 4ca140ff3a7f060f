"""Requests that share a model do not touch each other, whatever techniques it has."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from qwen3_vl.config.generation import GenerationConfig
from qwen3_vl.models.generation import Decoding
from qwen3_vl.models.qwen3_vl import Qwen3VLForConditionalGeneration
from qwen3_vl.models.vision import Pictures
from qwen3_vl.plugins import techniques
from qwen3_vl.testing import Bench, Prompt
from tests.support.techniques import small


def answer(model: Qwen3VLForConditionalGeneration, prompt: Prompt) -> Iterator[int]:
    pictures = Pictures(pixel_values=prompt.pixel_values, image_grid_thw=prompt.image_grid_thw)
    settings = GenerationConfig(max_new_tokens=40)
    steps = Decoding(model, prompt.input_ids, None, pictures, settings).steps()
    return (token for (token,) in steps if token is not None)


@pytest.mark.parametrize("name", techniques())
def test_interleaved_and_cancelled_requests_change_nothing(
    bench: Bench, files: Path, name: str
) -> None:
    model = bench.load(small(name, files))
    one, other, third = bench.prompts[3], bench.prompts[5], bench.prompts[4]
    alone = [list(answer(bench.load(small(name, files)), prompt)) for prompt in (one, other)]
    cancelled = answer(model, third)
    next(cancelled)
    pairs = list(zip(answer(model, one), answer(model, other), strict=True))
    cancelled.close()  # type: ignore[attr-defined]
    assert [list(tokens) for tokens in zip(*pairs, strict=True)] == alone

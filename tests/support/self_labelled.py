"""A tiny random model and questions that it answers right, for it was asked before."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from PIL import Image

from qwen3_vl.config.model import Qwen3VLConfig
from qwen3_vl.loading import embedded_folder
from qwen3_vl.models.qwen3_vl import Qwen3VLForConditionalGeneration
from qwen3_vl.processing.processor import Qwen3VLProcessor
from qwen3_vl.recipes import compile_recipe
from qwen3_vl.testing import tiny_config
from qwen3_vl.validation.quality.decode import answer
from qwen3_vl.validation.quality.item import Item, Turn
from tests.support.tiny_checkpoint import with_embedded_tokens, write_checkpoint
from tests.support.tiny_models import random_model

_WORDS = ("Which colour?", "How many things are there in it?", "Name what you see, from left on.")


@dataclass(frozen=True)
class Begins(Item):
    """Right is what begins rightly: a random model does not know when to stop."""

    def score(self, text: str) -> float:
        return float(text.startswith(self.answer))


@dataclass(frozen=True)
class World:
    """A model, its processor, and what it knows."""

    model: Qwen3VLForConditionalGeneration
    processor: Qwen3VLProcessor

    def with_recipe(self, recipe: str) -> Qwen3VLForConditionalGeneration:
        return self.model.with_seams(compile_recipe(recipe, self.model.config).seams)

    def items(self, count: int) -> list[Item]:
        """Questions about pictures, each with the beginning of the model's own answer."""
        return [self._item(number) for number in range(count)]

    def _item(self, number: int) -> Item:
        content = (picture(number), {"type": "text", "text": f"{_WORDS[number % 3]} {number}"})
        item = Begins(f"task {number % 2}", (Turn(content, ""),))
        inputs = self.processor.prepare([item.prompt])
        text = self.processor.decode(answer(self.model, inputs, 12).tokens, True)
        return replace(item, turns=(Turn(content, text[:8]),))


def picture(number: int) -> dict[str, Any]:
    """A part of a message: random pixels, 8 × 8 patches of the tiny models."""
    generator = torch.Generator().manual_seed(number)
    pixels = torch.randint(0, 256, (32, 32, 3), dtype=torch.uint8, generator=generator)
    return {"type": "image", "image": Image.fromarray(pixels.numpy())}


def likelihood(number: int = 0) -> Item:
    """A text whose likelihood is judged."""
    content = ({"type": "text", "text": f"Go on, {number}."},)
    return Item("text", (Turn(content, "and so it went on"),), "likelihood")


@cache
def world() -> World:
    """Made once for all tests; nothing may change it."""
    config = tiny_config()
    words = Qwen3VLConfig.from_pretrained(embedded_folder()).text_config.vocab_size
    config = config.replace(text_config=replace(config.text_config, vocab_size=words))
    model = random_model(with_embedded_tokens(config), seed=5)
    with TemporaryDirectory() as folder:
        path = write_checkpoint(Path(folder) / "model", model)
        processor = Qwen3VLProcessor.from_pretrained(path)
    return World(model, processor)

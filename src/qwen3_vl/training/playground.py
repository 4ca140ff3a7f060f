"""How the playground's own models are made: their sizes, and what they learn in which order."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from random import Random

import torch

from qwen3_vl.config.model import Qwen3VLConfig, TextConfig, VisionConfig
from qwen3_vl.errors import ConfigError
from qwen3_vl.loading import embedded_folder
from qwen3_vl.models.pretrained import wanted_device
from qwen3_vl.models.qwen3_vl import Qwen3VLForConditionalGeneration
from qwen3_vl.processing.processor import Qwen3VLProcessor
from qwen3_vl.training.examples import Example
from qwen3_vl.training.trainer import Trainer, TrainingSettings
from qwen3_vl.validation.quality.suite import TASKS, make_item

_WEIGHTS: Mapping[str, float] = {
    "copy": 1.5,
    "count": 3.0,
    "grammar": 0.5,
    "grounding": 2.0,
    "json_edit": 0.5,
    "needle": 0.7,
    "needle_keys": 0.4,
    "needle_values": 0.4,
    "ocr": 4.0,
    "odd_one_out": 1.5,
    "recall": 1.5,
    "relation": 1.5,
    "table": 1.5,
}
"""How often a task comes up between lessons, beside the others, which count one."""
_WEIGHTS_AFTER: Mapping[str, float] = {
    "ocr": 10.0,
    "count": 6.0,
    "grounding": 4.0,
    "odd_one_out": 4.0,
    "relation": 4.0,
    "arithmetic": 2.0,
    "several_images": 2.0,
    "table": 2.0,
    "two_questions": 2.0,
    "video": 1.5,
    "chain": 1.2,
    "copy": 0.7,
    "json_edit": 0.7,
    "needle": 0.7,
    "recall": 0.7,
    "grammar": 0.5,
    "needle_keys": 0.5,
    "needle_values": 0.5,
}
"""The same when all lessons are over: to see takes more examples than to read."""
_LESSONS: Mapping[str, float] = {
    "colour_shape": 0.03,
    "ocr": 0.06,
    "copy": 0.02,
    "several_images": 0.03,
    "relation": 0.04,
    "recall": 0.02,
    "count": 0.05,
    "grounding": 0.04,
    "needle": 0.03,
    "odd_one_out": 0.03,
    "table": 0.03,
    "two_questions": 0.02,
    "video": 0.02,
    "needle_keys": 0.015,
    "needle_values": 0.015,
    "json_edit": 0.015,
    "arithmetic": 0.04,
    "chain": 0.02,
    "grammar": 0.005,
}
"""The share of the run for which a task is new. One after the other they are learned far sooner
than all at once: a model that is asked nineteen things finds none of them."""
_NEW = 0.5
"""How often the new task comes up in its lesson; else one of those before."""
_RISE = 0.35
"""The share of the run after which a task is as hard as in the test."""
_RISES_AFTER: Mapping[str, float] = {
    "ocr": 0.87,
    "count": 0.7,
    "grounding": 0.6,
    "odd_one_out": 0.5,
    "table": 0.5,
    "two_questions": 0.5,
}
"""The same when all lessons are over: what is small gets larger again, and shrinks slowly."""
_GENTLY = 0.5
"""The learning rate of a run that begins from a model, as a share of that from nothing."""
_SEEDS_APART = 10**9
"""Items of one seed, which no other has."""
_ADDING = ("o_proj.weight", "down_proj.weight", "attn.proj.weight", "mlp.linear_fc2.weight")
"""What a layer adds to the stream comes out of these."""
_BALANCE = 0.5
"""Between every token (0) and every answer (1) counting the same."""


@dataclass(frozen=True)
class Size:
    """A model of the playground."""

    text: TextConfig
    vision: VisionConfig
    examples: int
    settings: TrainingSettings

    def config(self, processor: Qwen3VLProcessor) -> Qwen3VLConfig:
        """The shape, with the ids of a tokenizer."""
        tokenizer = processor.tokenizer
        ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
        return Qwen3VLConfig(
            replace(self.text, **ends),
            self.vision,
            image_token_id=processor.image_token_id,
            video_token_id=processor.video_token_id,
            vision_start_token_id=processor.vision_start_token_id,
            vision_end_token_id=processor.vision_end_token_id,
            tie_word_embeddings=True,
        )


def _text(hidden: int, inner: int, layers: int, heads: int, kv_heads: int, dim: int) -> TextConfig:
    pairs = dim // 2
    across = pairs * 5 // 16
    return TextConfig(
        vocab_size=704,
        hidden_size=hidden,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        head_dim=dim,
        mrope_section=(pairs - 2 * across, across, across),
        rope_theta=10000.0,  # with a larger one most pairs would stand still at these lengths
        initializer_range=hidden**-0.5,
        max_position_embeddings=8192,
    )


def _vision(
    hidden: int, inner: int, depth: int, heads: int, taps: tuple[int, int, int], out: int
) -> VisionConfig:
    return VisionConfig(
        depth=depth,
        hidden_size=hidden,
        intermediate_size=inner,
        num_heads=heads,
        out_hidden_size=out,
        num_position_embeddings=256,
        deepstack_visual_indexes=taps,
    )


SIZES: Mapping[str, Size] = {
    "nano": Size(
        _text(64, 160, 4, 4, 2, 16),
        _vision(64, 160, 4, 2, (0, 1, 2), 64),
        20_000,
        TrainingSettings("muon", learning_rate=4e-3),
    ),
    "tiny": Size(
        _text(192, 512, 6, 6, 2, 32),
        _vision(128, 384, 6, 4, (1, 3, 4), 192),
        250_000,
        TrainingSettings("muon", learning_rate=4e-3, tokens=2048, patches=4096),
    ),
    "small": Size(
        _text(512, 1536, 12, 8, 4, 64),
        _vision(384, 1536, 12, 6, (2, 5, 8), 512),
        4_000_000,
        TrainingSettings("muon", learning_rate=1e-3, tokens=32768, patches=65536, workers=12),
    ),
}


class PlaygroundExamples:
    """One task after the other, ever harder, then all: an index has its task, level and item.

    Without `lessons` it begins where these are over.
    """

    def __init__(
        self, processor: Qwen3VLProcessor, count: int, seed: int = 0, *, lessons: bool = True
    ) -> None:
        self._processor = processor
        self._count = count
        self._seed = seed
        ends = list(accumulate(_LESSONS.values()))
        self._end = ends[-1]
        self._begin = 0.0 if lessons else self._end
        self._starts = {
            task: end - share for (task, share), end in zip(_LESSONS.items(), ends, strict=True)
        }

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Example:
        """The example of this index, always the same."""
        random = Random(f"{self._seed}/{index}")  # noqa: S311 (nothing here is secret)
        share = self._begin + (1 - self._begin) * index / self._count
        over = share >= self._end
        task = self._task(share, random, _WEIGHTS_AFTER if over else _WEIGHTS)
        rise = _RISES_AFTER.get(task, _RISE) if over else _RISE
        level = self._level((share - self._starts[task]) / rise, random)
        own = self._seed * _SEEDS_APART + index
        item = make_item(task, own, split="train", level=level)
        return Example.of(item.conversation, self._processor, balance=_BALANCE)

    def _task(self, share: float, random: Random, weights: Mapping[str, float]) -> str:
        """The new one or one of those before it; after all lessons any, by its weight."""
        begun = [task for task in TASKS if self._starts[task] <= share]
        newest = max(begun, key=lambda task: self._starts[task])
        in_lesson = share < self._starts[newest] + _LESSONS[newest]
        if in_lesson and random.random() < _NEW:
            return newest
        (task,) = random.choices(begun, [weights.get(task, 1.0) for task in begun])
        return task

    def _level(self, share: float, random: Random) -> float:
        """The hardest rises to that of the test; half of the items are easier."""
        hardest = min(1.0, share)
        return hardest if random.random() < 0.5 else random.uniform(0, hardest)


def playground_trainer(
    size: str,
    folder: Path,
    *,
    start: Path | None = None,
    examples: int | None = None,
    seed: int = 0,
    device: str = "cpu",
) -> Trainer:
    """The run that makes a model of this size; in a folder where it was begun, it goes on.

    With the model in `start` it begins from what that has learned, and without lessons.

    Raises:
        ConfigError: there is no such size, the folder holds another run, or the model to start from
            is of another size.
    """
    if size not in SIZES:
        raise ConfigError(f"size is {size!r}; it can be {', '.join(SIZES)}")
    processor = Qwen3VLProcessor.from_pretrained(embedded_folder())
    config, settings = SIZES[size].config(processor), SIZES[size].settings
    if start is None:
        model = _new(config, seed)
    else:
        model = _known(config, start)
        settings = replace(settings, learning_rate=settings.learning_rate * _GENTLY)
    learned = PlaygroundExamples(
        processor, examples or SIZES[size].examples, seed, lessons=start is None
    )
    return Trainer(model.to(wanted_device(device)), learned, folder / "run", settings)


def _new(config: Qwen3VLConfig, seed: int) -> Qwen3VLForConditionalGeneration:
    """First weights: random, and small where a layer adds to what came in, to not drown it."""
    model = Qwen3VLForConditionalGeneration.random(config, seed)
    text, vision = config.text_config.num_hidden_layers, config.vision_config.depth
    with torch.no_grad():
        for name, one in model.named_parameters():
            if name.endswith(_ADDING):
                one /= math.sqrt(2 * (vision if ".visual." in name else text))
    return model


def _known(config: Qwen3VLConfig, folder: Path) -> Qwen3VLForConditionalGeneration:
    """Weights that were learned before."""
    model = Qwen3VLForConditionalGeneration.from_pretrained(folder, dtype="float32")
    if model.config != config:
        raise ConfigError(f"{folder} holds a model of another size or with other tokens")
    return model


def save_playground_model(trainer: Trainer, folder: Path) -> None:
    """Write what the run has come to, the average of its weights, as a model that can be loaded."""
    trainer.averaged().save_pretrained(folder)
    Qwen3VLProcessor.from_pretrained(embedded_folder()).save_pretrained(folder)

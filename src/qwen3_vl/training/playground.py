"""How the playground's own models are made: their sizes, and what they learn in which order."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
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
from qwen3_vl.training.answers import Answers
from qwen3_vl.training.drills import DRILLS, make_drill
from qwen3_vl.training.examples import Example
from qwen3_vl.training.sight import Sight, Views
from qwen3_vl.training.trainer import Trainer, TrainingSettings
from qwen3_vl.validation.quality.item import Item
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
    "arithmetic": 8.0,
    "chain": 4.0,
    "colour_shape": 1.0,
    "copy": 1.5,
    "count": 20.0,
    "grammar": 0.4,
    "grounding": 7.0,
    "json_edit": 1.5,
    "needle": 0.6,
    "needle_keys": 1.0,
    "needle_values": 8.0,
    "ocr": 16.0,
    "odd_one_out": 3.0,
    "recall": 0.8,
    "relation": 12.0,
    "several_images": 2.0,
    "table": 5.0,
    "two_questions": 3.0,
    "video": 8.0,
    "page": 7.0,
    "scene": 5.0,
    "grid": 1.0,
    "spots": 3.0,
    "boxes": 4.0,
    "steps": 4.0,
    "codes": 4.0,
}
"""The same when all lessons are over, with drills. What takes most is to read, and to find a thing
by its name and tell where it is: from a fifth of 20,000 examples that was hardly learned at all.
Chains and codes take many examples too, but short ones without a picture."""
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
    "ocr": 0.7,
    "count": 0.6,
    "grounding": 0.55,
    "relation": 0.6,
    "odd_one_out": 0.5,
    "table": 0.5,
    "two_questions": 0.5,
}
"""The same when all lessons are over: what is small gets larger again, and shrinks slowly."""
_GENTLY = 0.3
"""The learning rate of a run that begins from a model, as a share of that from nothing: so it loses
less of what it has learned."""
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
    views: int
    """Pictures that the tower learns to see from."""
    examples: int
    """Conversations that the whole learns from."""
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
        10_000,
        20_000,
        TrainingSettings("muon", learning_rate=4e-3),
    ),
    "tiny": Size(
        _text(192, 512, 6, 6, 2, 32),
        _vision(128, 384, 6, 4, (1, 3, 4), 192),
        40_000,
        250_000,
        TrainingSettings("muon", learning_rate=4e-3, tokens=3072, patches=9216),
    ),
    "small": Size(
        _text(512, 1536, 12, 8, 4, 64),
        _vision(384, 1536, 12, 6, (2, 5, 8), 512),
        400_000,
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
        item = self._item(share, random, self._seed * _SEEDS_APART + index)
        return Example.of(item.conversation, self._processor, balance=_BALANCE)

    def _item(self, share: float, random: Random, own: int) -> Item:
        over = share >= self._end
        task = self._task(share, random, over)
        if task in DRILLS:
            return make_drill(task, own, level=random.random())
        rise = _RISES_AFTER.get(task, _RISE) if over else _RISE
        level = self._level((share - self._starts[task]) / rise, random)
        return make_item(task, own, split="train", level=level)

    def _task(self, share: float, random: Random, over: bool) -> str:
        """The new one or one of those before it; after all lessons any, and drills."""
        if over:
            return random.choices(list(_WEIGHTS_AFTER), list(_WEIGHTS_AFTER.values()))[0]
        begun = [task for task in TASKS if self._starts[task] <= share]
        newest = max(begun, key=lambda task: self._starts[task])
        if share < self._starts[newest] + _LESSONS[newest] and random.random() < _NEW:
            return newest
        return random.choices(begun, [_WEIGHTS.get(task, 1.0) for task in begun])[0]

    def _level(self, share: float, random: Random) -> float:
        """The hardest rises to that of the test; half of the items are easier."""
        hardest = min(1.0, share)
        return hardest if random.random() < 0.5 else random.uniform(0, hardest)


@dataclass(frozen=True)
class Lesson:
    """A part of the training, to be run to its end before the next is asked for."""

    name: str
    folder: Path
    trainer: Trainer
    until: int | None = None
    """How many of its examples are enough."""


class Playground:
    """The making of a model of some size; in a folder where it was begun, it goes on.

    With the model in `start` it begins from what that has learned, and without lessons one by one.
    """

    def __init__(
        self,
        size: str,
        folder: Path,
        *,
        start: Path | None = None,
        views: int | None = None,
        examples: int | None = None,
        until: int | None = None,
        seed: int = 0,
        device: str = "cpu",
    ) -> None:
        """`views` is how many pictures it learns to see from; with none it sees as it does.

        With `until` the last lesson ends after so many examples; it can be gone on with.

        Raises:
            ConfigError: there is no such size, or the model to start from is of another.
        """
        if size not in SIZES:
            raise ConfigError(f"size is {size!r}; it can be {', '.join(SIZES)}")
        self._size = SIZES[size]
        self._folder = folder
        self._until = until
        self._views = self._size.views if views is None else views
        self._seed = seed
        self._processor = Qwen3VLProcessor.from_pretrained(embedded_folder())
        config = self._size.config(self._processor)
        model = _new(config, seed) if start is None else _known(config, start)
        self.model = model.to(wanted_device(device))
        self._examples = examples or self._size.examples
        self._lessons = start is None

    def lessons(self) -> Iterator[Lesson]:
        """What is left of the training: to see, and then to answer.

        Raises:
            ConfigError: the folder holds another run.
        """
        settings = self._size.settings
        if not self._lessons:
            settings = replace(settings, learning_rate=settings.learning_rate * _GENTLY)
        tower = self.model.model.visual
        if self._views:
            views = Views(self._processor, self._views, self._seed)
            folder = self._folder / "sight"
            seeing = Trainer(Sight(tower, views), folder, settings)
            if seeing.progress.next_index < seeing.progress.of:
                yield Lesson("to see", folder, seeing)
            seeing.settle()
        if self._views or not self._lessons:  # eyes that have learned stay as they are
            for part in (tower.patch_embed, tower.pos_embed, tower.blocks):
                part.requires_grad_(requires_grad=False)
        examples = PlaygroundExamples(
            self._processor, self._examples, self._seed, lessons=self._lessons
        )
        folder = self._folder / "run"
        answering = Trainer(Answers(self.model, examples), folder, settings)
        yield Lesson("to answer", folder, answering, self._until)
        answering.settle()

    def save(self) -> None:
        """Write what has been made as a model that can be loaded."""
        self.model.save_pretrained(self._folder)
        self._processor.save_pretrained(self._folder)


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

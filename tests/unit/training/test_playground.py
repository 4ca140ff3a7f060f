"""The playground's models: their shapes, and a mix of tasks that follows from an index."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from qwen3_vl.config.model import Qwen3VLConfig
from qwen3_vl.errors import ConfigError
from qwen3_vl.loading import embedded_folder
from qwen3_vl.models.anatomy import Anatomy
from qwen3_vl.processing.processor import Qwen3VLProcessor
from qwen3_vl.training import playground
from qwen3_vl.training.drills import DRILLS
from qwen3_vl.training.playground import (
    SIZES,
    Playground,
    PlaygroundExamples,
)
from qwen3_vl.validation.quality.suite import TASKS, make_item


@pytest.fixture(scope="module")
def processor() -> Qwen3VLProcessor:
    return Qwen3VLProcessor.from_pretrained(embedded_folder())


@pytest.mark.parametrize(
    ("size", "least", "most"), [("nano", 0, 1e6), ("tiny", 5e6, 15e6), ("small", 60e6, 80e6)]
)
def test_sizes_have_what_the_large_ones_have(
    processor: Qwen3VLProcessor, size: str, least: float, most: float
) -> None:
    config = SIZES[size].config(processor)
    text, vision = config.text_config, config.vision_config
    assert least < Anatomy.of(config).parameters < most
    assert text.num_attention_heads > text.num_key_value_heads
    assert sum(text.mrope_section) == text.head_dim // 2
    assert len(vision.deepstack_visual_indexes) == 3
    assert (vision.patch_size, vision.spatial_merge_size) == (16, 2)
    assert config.tie_word_embeddings
    assert text.eos_token_id == processor.tokenizer.eos_token_id
    assert len(processor.tokenizer) <= text.vocab_size


def test_the_embedded_model_has_the_shape_of_tiny(processor: Qwen3VLProcessor) -> None:
    embedded = Qwen3VLConfig.from_pretrained(embedded_folder())
    assert embedded.text_config.hidden_size == SIZES["tiny"].text.hidden_size
    assert embedded == SIZES["tiny"].config(processor)


def test_words_are_one_token_and_digits_are_apart(processor: Qwen3VLProcessor) -> None:
    encode = processor.tokenizer.encode
    for task in TASKS:
        for message in make_item(task, 0).conversation:
            content = message["content"]
            parts = [{"text": content}] if isinstance(content, str) else content
            for piece in re.findall(r" ?[a-z]+", "\n".join(p.get("text", "") for p in parts)):
                assert len(encode(piece)) == 1, piece
    assert len(encode("A7K2")) == 4
    assert encode("12") == [*encode("1"), *encode("2")]
    assert processor.tokenizer.decode(encode("Größe 東京\n")) == "Größe 東京\n"


def test_an_index_gives_always_the_same_example(processor: Qwen3VLProcessor) -> None:
    first, again, other = (PlaygroundExamples(processor, 1000, seed) for seed in (0, 0, 1))
    for index in (0, 7, 999):
        one, same, else_ = first[index], again[index], other[index]
        assert torch.equal(one.ids, same.ids)
        assert torch.equal(one.weights, same.weights)
        assert not torch.equal(one.ids, else_.ids)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, float]]:
    """Task, split and level of each item, in whose place a short one is made."""
    noted: list[tuple[str, str, float]] = []

    def note(task: str, index: int, split: str, level: float) -> object:
        noted.append((task, split, level))
        return make_item("arithmetic", index, split="train", level=level)

    monkeypatch.setattr(playground, "make_item", note)
    monkeypatch.setattr(
        playground, "make_drill", lambda drill, index, level: note(drill, index, "train", level)
    )
    return noted


def test_tasks_come_one_after_the_other_and_grow_harder(
    processor: Qwen3VLProcessor, asked: list[tuple[str, str, float]]
) -> None:
    examples = PlaygroundExamples(processor, 4000)
    for index in range(4000):
        examples[index]
    tasks, splits, levels = zip(*asked, strict=True)
    assert set(splits) == {"train"}
    assert set(tasks[:100]) == {"colour_shape"}, "they come one after the other"
    assert Counter(tasks[360:440])["copy"] > 30, "a new one often"
    assert {"colour_shape", "ocr"} < set(tasks[360:440]), "and those before it in between"
    firsts = {task: tasks.index(task) for task in tasks}
    assert firsts["ocr"] < firsts["table"] < firsts["json_edit"] < firsts["grammar"]
    assert set(tasks[2200:]) == {*TASKS, *DRILLS}
    assert not DRILLS.keys() & set(tasks[:2000])
    assert max(levels[:100]) < 0.1
    after = Counter(tasks[2200:])
    places = sum(after[task] for task in ("spots", "boxes", "relation", "grounding"))
    letters = sum(after[task] for task in ("ocr", "page", "table"))
    chains = after["chain"] + after["steps"]
    assert min(places, letters) > 2 * chains > 80, "most often places and letters, chains too"
    assert Counter(levels[3680:])[1.0] > 60
    assert min(levels[3000:]) < 0.1, "easy ones stay in the mix"


def test_without_lessons_all_tasks_come_from_the_first(
    processor: Qwen3VLProcessor, asked: list[tuple[str, str, float]]
) -> None:
    examples = PlaygroundExamples(processor, 2000, lessons=False)
    for index in range(1200):
        examples[index]
    tasks, _, levels = zip(*asked, strict=True)
    assert set(tasks) == {*TASKS, *DRILLS}
    assert Counter(levels)[1.0] > 20, "some are as hard as in the test at once"


def made(folder: Path, size: str = "nano", **options: Any) -> Playground:
    """A model of very few examples."""
    one = Playground(size, folder, examples=3, **options)
    run(one)
    one.save()
    return one


def run(one: Playground) -> None:
    for lesson in one.lessons():
        lesson.trainer.run(until=lesson.until)


def test_it_learns_to_see_and_then_to_answer(tmp_path: Path) -> None:
    one = Playground("nano", tmp_path, views=20, examples=3)
    lessons = one.lessons()
    seeing = next(lessons)
    tower, decoder = one.model.model.visual, one.model.model.language_model
    parts = {
        "eyes": (
            *tower.patch_embed.parameters(),
            *tower.pos_embed.parameters(),
            *tower.blocks.parameters(),
        ),
        "mergers": (*tower.merger.parameters(), *tower.deepstack_merger_list.parameters()),
        "words": tuple(decoder.parameters()),
    }
    assert changed(parts, seeing.trainer.run) == {"eyes", "mergers"}
    answering = next(lessons)
    assert (seeing.name, answering.name) == ("to see", "to answer")
    assert changed(parts, answering.trainer.run) == {"mergers", "words"}


def changed(parts: Mapping[str, Sequence[Tensor]], by: Callable[[], object]) -> set[str]:
    before = {name: [one.detach().clone() for one in part] for name, part in parts.items()}
    by()
    return {
        name
        for name, part in parts.items()
        if not all(torch.equal(one, old) for one, old in zip(part, before[name], strict=True))
    }


def test_without_views_a_new_model_learns_to_see_while_it_answers(tmp_path: Path) -> None:
    one = Playground("nano", tmp_path, views=0, examples=3)
    (lesson,) = one.lessons()
    assert changed({"eyes": tuple(one.model.model.visual.blocks.parameters())}, lesson.trainer.run)


def test_what_was_stopped_between_two_lessons_ends_as_if_it_was_not(tmp_path: Path) -> None:
    whole = made(tmp_path / "whole", views=20)
    stopped = Playground("nano", tmp_path / "stopped", views=20, examples=3)
    next(stopped.lessons()).trainer.run()
    again = made(tmp_path / "stopped", views=20)
    for one, same in zip(whole.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(one, same)
    assert [lesson.name for lesson in whole.lessons()] == ["to answer"]


def test_a_run_that_ends_early_can_be_gone_on_with(tmp_path: Path) -> None:
    options: dict[str, Any] = {"views": 0, "examples": 90}
    early = Playground("nano", tmp_path / "early", until=40, **options)
    run(early)
    (lesson,) = early.lessons()
    assert 40 <= lesson.trainer.progress.next_index < 90
    whole, later = (Playground("nano", tmp_path / name, **options) for name in ("whole", "early"))
    for one in (whole, later):
        run(one)
    same = zip(whole.model.parameters(), later.model.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in same)


def test_a_run_can_begin_from_a_model(tmp_path: Path) -> None:
    first = made(tmp_path / "first", views=0)
    second = Playground("nano", tmp_path / "second", start=tmp_path / "first", views=0, examples=3)
    for one, same in zip(first.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(one, same)
    (lesson,) = second.lessons()
    assert lesson.trainer.settings.learning_rate < SIZES["nano"].settings.learning_rate
    with pytest.raises(ConfigError, match="another size"):
        Playground("tiny", tmp_path / "third", start=tmp_path / "first")


def test_an_unknown_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="size is 'huge'; it can be nano, tiny, small"):
        Playground("huge", tmp_path)

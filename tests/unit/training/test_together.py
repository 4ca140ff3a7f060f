"""Answers and views at once: with some conversations comes a view, and both are learned from."""

from __future__ import annotations

import pytest
import torch

from qwen3_vl.loading import embedded_folder
from qwen3_vl.models.qwen3_vl import Qwen3VLForConditionalGeneration
from qwen3_vl.processing.processor import Qwen3VLProcessor
from qwen3_vl.training.answers import AnswerBatch, Answers
from qwen3_vl.training.batches import Budget
from qwen3_vl.training.playground import SIZES, PlaygroundExamples
from qwen3_vl.training.sight import Sight, SightBatch, Views
from qwen3_vl.training.together import PairBatch, Together

LESSON, ANSWERS = 5, 7


@pytest.fixture(scope="module")
def course() -> Together:
    processor = Qwen3VLProcessor.from_pretrained(embedded_folder())
    model = Qwen3VLForConditionalGeneration.random(SIZES["nano"].config(processor), seed=0)
    sight = Sight(model.model.visual, Views(processor.image_processor, LESSON))
    return Together(Answers(model, PlaygroundExamples(processor, ANSWERS)), sight)


def test_with_one_in_three_conversations_comes_a_view_of_its_own(course: Together) -> None:
    views = [course[index].view for index in range(len(course))]
    assert [index for index, view in enumerate(views) if view] == [0, 3, 6]
    lesson = [course._sight.views[index] for index in range(LESSON)]
    pixels = [view.pixels for view in (*lesson, *views) if view]
    for place, one in enumerate(pixels):
        assert not any(torch.equal(one, other) for other in pixels[:place])
    first = course[0]
    assert first.view is not None
    assert (first.tokens, first.patches) == (
        first.example.tokens,
        first.example.patches + first.view.patches,
    )


def test_the_loss_is_that_of_the_answers_and_a_tenth_of_that_of_the_views(
    course: Together,
) -> None:
    (batch,) = course.batches(Budget(10_000, 100_000))
    pairs = [course[index] for index in range(ANSWERS)]
    answers = AnswerBatch.of([pair.example for pair in pairs], ANSWERS)
    views = SightBatch.of([pair.view for pair in pairs if pair.view], ANSWERS)
    expected = course._answers.loss(answers) + 0.1 * course._sight.loss(views)
    torch.testing.assert_close(course.loss(batch), expected)
    assert (batch.tokens, batch.next_index) == (answers.tokens, ANSWERS)


def test_a_batch_without_views_has_the_loss_of_its_answers(course: Together) -> None:
    batch = PairBatch.of([course[1], course[2]], 3)
    assert batch.views is None
    assert torch.equal(course.loss(batch), course._answers.loss(batch.answers))


def test_all_of_the_model_and_what_reads_its_tokens_is_learned(course: Together) -> None:
    (batch,) = course.batches(Budget(10_000, 100_000))
    course.module.zero_grad()
    course.loss(batch).backward()
    names = {name for name, one in course.module.named_parameters() if one.grad is not None}
    assert names == {name for name, _ in course.module.named_parameters()}
    assert {"reader.weight", "model.model.visual.pos_embed.weight"} < names

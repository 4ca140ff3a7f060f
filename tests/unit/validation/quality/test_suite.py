"""The suite as a whole: fixed, balanced, without leaks from training to test."""

from __future__ import annotations

import re
import statistics
from collections import Counter, defaultdict

import pytest

from qwen3_vl.loading import embedded_folder
from qwen3_vl.processing.processor import Qwen3VLProcessor
from qwen3_vl.validation.quality.drawing import COLOURS
from qwen3_vl.validation.quality.objects import PLURALS
from qwen3_vl.validation.quality.recall import tokens
from qwen3_vl.validation.quality.suite import MOST_QUESTIONS, TASKS, VERSION, make_item
from tests.unit.validation.quality.reading_items import asked, digest, images_of

GOLDEN_VERSION = "1"
GOLDEN = {
    "colour_shape": "fc4f0f2efc573a9e",
    "count": "bf9ac0f246429d90",
    "odd_one_out": "a56975f4abb66d9e",
    "ocr": "045ea4a1b757738b",
    "table": "03b623adaf53e811",
    "relation": "5cd786cd63cc1d26",
    "two_questions": "62cf8a311df7e205",
    "several_images": "debc4ad737254012",
    "video": "fd7474b8b0b28ab7",
    "needle": "161f0c8d11893277",
    "needle_keys": "ad8aa17941846c47",
    "needle_values": "f9df74888897d9e1",
    "recall": "316812498e72cc2c",
    "copy": "6069f5b3bfc2b633",
    "json_edit": "c52f99d545ac75e2",
    "chain": "03fa74124578ebd2",
    "arithmetic": "6b3ebd29dd557bca",
    "grammar": "b8c00854f70699b8",
    "grounding": "40172759c041c034",
}
PICTURED = [name for name in TASKS if images_of(make_item(name, 0))]


def test_a_changed_item_needs_a_new_version():
    """When this fails, raise VERSION, and write down the new digests."""
    made = {
        name: digest(
            *(make_item(name, index) for index in range(6)),
            *(make_item(name, index, "train", 0.4) for index in range(6)),
        )
        for name in TASKS
    }
    assert (VERSION, made) == (GOLDEN_VERSION, GOLDEN)


@pytest.mark.parametrize("number", [200, pytest.param(2000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("task", TASKS)
def test_training_shares_no_item_with_the_test(task, number):
    trained = {digest(make_item(task, index, "train")) for index in range(number)}
    tested = {digest(make_item(task, index)) for index in range(number)}
    assert not trained & tested


@pytest.mark.parametrize("task", ["arithmetic", "chain"])
@pytest.mark.parametrize("level", [0.0, 1.0])
def test_small_tasks_keep_problems_for_the_test(task, level):
    trained, tested = (
        {
            question
            for index in range(600)
            for question, _ in asked(make_item(task, index, split, level))
        }
        for split in ("train", "test")
    )
    assert trained
    assert tested
    assert not trained & tested


@pytest.mark.parametrize("task", ["relation", "several_images", "video"])
def test_the_words_of_a_question_do_not_tell_the_answer(task):
    sorts = defaultdict(Counter)
    for index in range(1000):
        ((question, answer),) = asked(make_item(task, index))
        sorts[re.sub("|".join([*COLOURS, *PLURALS, "[0-9]"]), "_", question)][answer] += 1
    for answers in sorts.values():
        assert answers.most_common(1)[0][1] < 0.6 * sum(answers.values())


@pytest.mark.parametrize("task", [name for name in TASKS if name != "relation"])
def test_guessing_the_commonest_answer_rarely_helps(task):
    answers = Counter(make_item(task, index).answer for index in range(400))
    assert answers.most_common(1)[0][1] <= 0.2 * 400


def test_yes_and_no_are_as_common():
    answers = Counter(make_item("relation", index).answer for index in range(400))
    assert answers["yes"] < 0.32 * 400
    assert answers["no"] > 0.2 * 400


@pytest.mark.parametrize("task", TASKS)
def test_an_item_asks_what_it_says(task):
    for index in range(20):
        tested, trained = make_item(task, index), make_item(task, index, "train", 0.5)
        assert tested.task == trained.task == task
        assert len(tested.turns) == (2 if task == "two_questions" else 1)
        assert 1 <= len(trained.turns) <= MOST_QUESTIONS
        assert tested.score(tested.answer) == 1
        questions = [question for question, _ in asked(trained)]
        assert len(set(questions)) == len(questions)
        # Pictures come first, and once.
        assert all(len(turn.content) == 1 for turn in trained.turns[1:])


@pytest.mark.parametrize("task", PICTURED)
def test_sides_are_multiples_of_the_patches(task):
    sizes = {image.size for index in range(60) for image in images_of(make_item(task, index))}
    assert all(width % 32 == 0 == height % 32 for width, height in sizes)
    assert max(max(size) for size in sizes) <= 256


def test_some_questions_share_a_picture_in_training():
    pictured = [task for task in PICTURED if task != "two_questions"]
    for task in pictured:
        numbers = {len(make_item(task, index, "train").turns) for index in range(60)}
        assert {1, 2, 3} <= numbers, task


def test_the_words_are_few():
    words = set()
    for task in TASKS:
        for index in range(150):
            for question, answer in asked(make_item(task, index, "train", index / 150)):
                words |= set(re.findall("[a-z]+", f"{question} {answer}"))
    assert len(words) <= 200


def effort(task, level):
    """Something that the knob of a task moves up, on average."""

    def of(item):
        question, answer = asked(item)[-1]
        if task in ("needle", "needle_keys", "needle_values", "recall", "json_edit", "copy"):
            return tokens(question)
        if task in ("grammar", "ocr", "table"):
            return tokens(answer)
        if task in ("chain", "arithmetic"):
            return len(question)
        if task == "several_images":
            return len(images_of(item))
        # The rest is about small things among others, in noise: what does not compress.
        pixels = images_of(item)[0]
        return len(pixels.getcolors(pixels.width * pixels.height))

    return statistics.mean(of(make_item(task, index, level=level)) for index in range(60))


@pytest.mark.parametrize("task", TASKS)
def test_the_knob_makes_it_harder(task):
    assert 1.1 * effort(task, 0.0) < effort(task, 1.0)


@pytest.mark.parametrize("task", ["needle", "needle_keys", "needle_values"])
def test_needles_lie_in_texts_of_all_lengths(task):
    lengths = [tokens(asked(make_item(task, index))[0][0]) for index in range(300)]
    assert min(lengths) < 200
    assert 800 < max(lengths) < 1100
    assert 250 < statistics.median(lengths) < 400


@pytest.fixture(scope="module")
def processor():
    return Qwen3VLProcessor.from_pretrained(embedded_folder())


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("split", ["train", "test"])
def test_items_pass_the_processor(processor, task, split):
    for index in range(3):
        item = make_item(task, index, split)
        inputs = processor.apply_chat_template(
            item.prompt, tokenize=True, return_dict=True, add_generation_prompt=True
        )
        told = [part for turn in item.turns for part in turn.content]
        images = sum(part["type"] == "image" for part in told)
        videos = sum(part["type"] == "video" for part in told)
        assert len(inputs.get("image_grid_thw", ())) == images
        assert len(inputs.get("video_grid_thw", ())) == videos
        if videos:
            frames = len(images_of(item))
            assert inputs["video_grid_thw"][0][0] == frames // 2

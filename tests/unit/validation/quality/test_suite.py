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
    "colour_shape": "d76a37afe03acbf2",
    "count": "581386de1685e5f9",
    "odd_one_out": "516c3df0ba547ce1",
    "ocr": "beb93944dc7d3005",
    "table": "7d71afe451dd2f9e",
    "relation": "026683b8774fc6ef",
    "two_questions": "166eb9ca3e4a943a",
    "several_images": "ee1389c30be73b5f",
    "video": "62404247a87bde59",
    "needle": "0361c54f0db53924",
    "needle_keys": "184a3416b26b24e1",
    "needle_values": "e11c2e8b3897b293",
    "recall": "932355a9da7e75b0",
    "copy": "4622a1580053b7ca",
    "json_edit": "6c929bb067113888",
    "chain": "dcb4b858d1ddafc5",
    "arithmetic": "a1c6be1d7ae60b12",
    "grammar": "245286f7271800dd",
    "grounding": "11314743e3e5dd62",
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


def test_what_is_asked_in_the_test_is_asked_in_training_too():
    for task in TASKS:
        tested, trained = (
            {_form(asked(make_item(task, index, split))[0][0]) for index in range(200)}
            for split in ("test", "train")
        )
        assert tested <= trained, task


def _form(question):
    """How a question begins, without the text before it and without names and numbers."""
    last = re.sub("|".join([*COLOURS, *PLURALS]), "_", question.rpartition("\n")[2])
    return re.sub("[A-Z0-9]+", "_", " ".join(last.split()[:3]))


def test_some_questions_share_a_picture_in_training():
    pictured = [task for task in PICTURED if task != "two_questions"]
    for task in pictured:
        numbers = {len(make_item(task, index, "train").turns) for index in range(60)}
        assert max(numbers) >= 3, task


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

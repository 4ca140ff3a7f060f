"""Two models on the same items: equal ones differ in nothing, others by what they do."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from qwen3_vl.config.generation import GenerationConfig
from qwen3_vl.models.qwen3_vl import Qwen3VLForConditionalGeneration as Model
from qwen3_vl.validation.quality import evaluate as evaluate_module
from qwen3_vl.validation.quality.decode import Trace, answer, follow
from qwen3_vl.validation.quality.evaluate import (
    Record,
    divergences,
    evaluate,
    evaluate_all,
    weight_bytes,
)
from qwen3_vl.validation.quality.item import Item, Turn
from qwen3_vl.validation.quality.statistics import non_inferior
from tests.support.self_labelled import likelihood, picture, world


def run(recipe: str, against: str, items: list[Item]) -> list[Record]:
    ours, theirs = world().with_recipe(recipe), world().with_recipe(against)
    return list(evaluate(ours, theirs, world().processor, items))


@pytest.mark.parametrize(
    "recipe", ["", "sliding_window(window=1000000)", "memory_efficient_attention"]
)
def test_an_equal_model_differs_in_nothing(recipe: str) -> None:
    records = run(recipe, "", [*world().items(3), likelihood()])
    for record in records:
        assert max(record.kl) < 1e-9
        assert record.agreement == 1
        assert record.first_divergence is None
        assert record.model.text == record.against.text
        assert record.model.peak_cache == record.against.peak_cache > 0
        assert record.model.weights == record.against.weights
    assert all(record.model.score == 1 for record in records[:3])
    assert non_inferior([record.gain for record in records])


def test_several_models_are_compared_with_one_that_answers_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipes = ("", "quantized_kv(bits=4, residual=0)")
    models = [world().with_recipe(recipe) for recipe in recipes]
    against = world().with_recipe("")
    items = [*world().items(2), likelihood()]
    asked: list[Model] = []

    def counted(way: Callable[..., Trace]) -> Callable[..., Trace]:
        def count(model: Model, *rest: object) -> Trace:
            asked.append(model)
            return way(model, *rest)

        return count

    monkeypatch.setattr(evaluate_module, "answer", counted(answer))
    monkeypatch.setattr(evaluate_module, "follow", counted(follow))
    together = list(evaluate_all(models, against, world().processor, items))
    assert asked.count(against) == len(items)
    for place, recipe in enumerate(recipes):
        for record, alone in zip(together, run(recipe, "", items), strict=True):
            assert record[place].kl == alone.kl
            assert record[place].model.text == alone.model.text
            assert record[place].model.final_cache == alone.model.final_cache


def test_the_same_model_gives_exactly_zero() -> None:
    (record,) = run("", "", [likelihood()])
    assert set(record.kl) == {0.0}
    assert record.gain == 0


def test_a_bounded_recipe_gives_a_small_distance_and_smaller_weights() -> None:
    (record,) = run("weight_int8", "", world().items(1))
    assert 0 < record.mean_kl < 0.1
    assert record.model.weights < record.against.weights


def test_a_technique_of_the_cache_has_its_effect_while_the_model_is_led() -> None:
    item = world().items(1)[0]
    (record,) = run("sliding_window(window=6, sinks=1)", "", [item])
    assert record.kl[0] < 1e-9  # the prompt is read whole
    assert max(record.kl[1:]) > 1e-3
    assert record.model.final_cache < record.against.final_cache


def test_the_first_divergence_is_that_of_the_greedy_answers() -> None:
    for record in run("quantized_kv(bits=4, residual=0)", "", world().items(4)):
        assert record.model.text is not None
        assert record.against.text is not None
        assert (record.model.text == record.against.text) == (record.first_divergence is None)
        assert (record.agreement == 1) == (record.first_divergence is None)
        if record.first_divergence is not None:
            assert 0 <= record.first_divergence < len(record.kl)


def test_each_model_answers_as_the_package_would() -> None:
    item, processor = world().items(1)[0], world().processor
    (record,) = run("quantized_kv(bits=4, residual=0)", "", [item])
    limit = 2 * len(processor.tokenizer.encode(item.answer)) + 16
    for recipe, answered in (
        ("quantized_kv(bits=4, residual=0)", record.model),
        ("", record.against),
    ):
        model, inputs = world().with_recipe(recipe), processor.prepare([item.prompt])
        ids = model.generate(**inputs, max_new_tokens=limit, do_sample=False)[0]
        assert answered.text == processor.decode(ids[inputs["input_ids"].shape[1] :], True)


def test_the_token_that_ends_an_answer_is_no_part_of_its_text() -> None:
    item, processor = world().items(1)[0], world().processor
    model = world().with_recipe("")
    inputs = processor.prepare([item.prompt])
    start = inputs["input_ids"].shape[1]
    tokens = model.generate(**inputs, max_new_tokens=3, do_sample=False)[0, start:].tolist()
    model.generation_config = GenerationConfig(eos_token_id=(tokens[2],))
    (record,) = evaluate(model, model, processor, [item])
    assert len(record.kl) == tokens.index(tokens[2]) + 1
    assert record.against.text == processor.decode(tokens[: tokens.index(tokens[2])], True)


def test_likelihood_is_that_of_the_right_answer() -> None:
    item, processor = likelihood(), world().processor
    (record,) = run("", "", [item])
    prompt = processor.prepare([item.prompt])["input_ids"]
    right = torch.tensor([processor.tokenizer.encode(item.answer)])
    ids = torch.cat((prompt, right), dim=1)
    labels = torch.cat((torch.full_like(prompt, -100), right), dim=1)
    loss = world().model(ids, labels=labels).loss
    assert loss is not None
    assert record.model.nll == pytest.approx(loss.item(), rel=1e-5)
    assert record.model.score is record.model.text is record.first_divergence is None


def test_a_gain_is_positive_where_the_model_is_better() -> None:
    (record,) = run("weight_int8", "", [likelihood()])
    assert record.model.nll is not None
    assert record.against.nll is not None
    assert record.gain == pytest.approx(record.against.nll - record.model.nll)


def test_a_box_is_scored_by_the_item() -> None:
    content = (picture(0), {"type": "text", "text": "Where?"})
    item = Item("box", (Turn(content, '{"bbox_2d": [1, 2, 3, 4]}'),), "box")
    (record,) = run("", "", [item])
    assert record.model.score == record.against.score == 0


def test_divergence_of_known_distributions() -> None:
    p, q = torch.tensor([[0.5, 0.5], [0.9, 0.1]]), torch.tensor([[0.25, 0.75], [0.9, 0.1]])
    first, second = divergences(p.log(), q.log())
    assert first == pytest.approx(0.5 * math.log(2) + 0.5 * math.log(2 / 3), rel=1e-6)
    assert second == 0


def test_weights_are_counted_in_the_form_in_which_they_work() -> None:
    parameters = sum(one.numel() for one in world().model.parameters())
    assert weight_bytes(world().model) == 4 * parameters

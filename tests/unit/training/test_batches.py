"""Batches hold all examples once, in order, within their budget; each is computed as alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qwen3_vl.errors import InputError
from qwen3_vl.training.answers import AnswerBatch, Answers
from qwen3_vl.training.batches import Budget, Examples, in_batches
from qwen3_vl.training.examples import Example
from tests.support.tiny_models import CONFIGS, Image, Video, tiny_inputs, tiny_model

CONFIG = CONFIGS["dense_tied"]


def batches(
    examples: Examples[Example], budget: Budget, start: int = 0, workers: int = 0
) -> Iterator[AnswerBatch]:
    return in_batches(examples, AnswerBatch.of, budget, start, workers)


class Lengths:
    """Examples of text of these lengths, each with its index for ids."""

    def __init__(self, lengths: list[int]) -> None:
        self.lengths = lengths

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> Example:
        size = self.lengths[index]
        return Example(torch.full((size,), index), torch.ones(size))


def mixed(index: int) -> Example:
    """An example of text, of a picture or of a video."""
    pieces = [
        (7, 5),
        (3, Image(4, 6), 4),
        (2, Video(2, 4, 4), 6),
        (2, Image(2, 4), 2, Image(4, 4), 3),
    ]
    inputs = tiny_inputs(CONFIG, pieces[index % 4], seed=index)
    ids = inputs.pop("input_ids")[0]
    weights = torch.rand(len(ids), generator=torch.Generator().manual_seed(index))
    media = {key: value for key, value in inputs.items() if "values" in key or "grid" in key}
    return Example(ids, weights * (weights > 0.4), **media)


class Mixed:
    def __len__(self) -> int:
        return 9

    def __getitem__(self, index: int) -> Example:
        return mixed(index)


@settings(deadline=None, max_examples=40)
@given(lengths=st.lists(st.integers(1, 30), min_size=1, max_size=40), start=st.integers(0, 39))
def test_every_example_is_in_one_batch_in_order(lengths: list[int], start: int) -> None:
    start = min(start, len(lengths) - 1)
    seen: list[int] = []
    for batch in batches(Lengths(lengths), Budget(40, 10), start):
        ids = batch.packing.flatten(batch.ids).tolist()
        assert len(ids) <= 40
        seen += ids
        assert batch.next_index == ids[-1] + 1
        following = lengths[batch.next_index : batch.next_index + 1]
        assert all(len(ids) + size > 40 for size in following), "one more would have fitted"
    assert seen == [index for index in range(start, len(lengths)) for _ in range(lengths[index])]


def test_from_where_one_ends_the_next_begins() -> None:
    every = list(batches(Lengths([9, 9, 9, 9, 9, 9, 9]), Budget(20, 1)))
    again = list(batches(Lengths([9, 9, 9, 9, 9, 9, 9]), Budget(20, 1), every[0].next_index))
    for one, other in zip(every[1:], again, strict=True):
        assert torch.equal(one.ids, other.ids)


def test_other_processes_make_the_same_batches() -> None:
    for one, other in zip(
        batches(Mixed(), Budget(60, 64)), batches(Mixed(), Budget(60, 64), workers=2), strict=True
    ):
        assert torch.equal(one.ids, other.ids)
        assert torch.equal(one.weights, other.weights)


def test_pictures_have_a_budget_of_their_own() -> None:
    patches = [
        sum(
            len(one)
            for one in (b.pictures.pixel_values, b.pictures.pixel_values_videos)
            if one is not None
        )
        for b in batches(Mixed(), Budget(10_000, 60))
    ]
    assert len(patches) > 2
    assert max(patches) <= 60


@pytest.mark.parametrize("budget", [Budget(10, 1000), Budget(1000, 10)], ids=str)
def test_an_example_larger_than_a_batch_is_named(budget: Budget) -> None:
    with pytest.raises(InputError, match=r"example .* raise the budget"):
        list(batches(Mixed(), budget))


def test_the_loss_of_a_batch_is_the_mean_over_all_tokens_of_its_examples() -> None:
    """Examples do not see each other: packed and alone they give the same sums and gradients."""
    model = tiny_model("dense_tied")
    (packed,) = batches(Mixed(), Budget(10_000, 10_000))
    alone = [one for index in range(9) for one in batches(Only(index), Budget(1000, 1000))]
    total = sum(one.weights.sum() for one in alone)
    course = Answers(model, Mixed())
    losses = [course.loss(one) * one.weights.sum() / total for one in alone]
    check_same(course, packed, torch.stack(losses).sum())


class Only:
    def __init__(self, index: int) -> None:
        self._index = index

    def __len__(self) -> int:
        return 1

    def __getitem__(self, _: int) -> Example:
        return mixed(self._index)


def check_same(course: Answers, packed: AnswerBatch, expected: torch.Tensor) -> None:
    model = course.module
    wanted = torch.autograd.grad(expected, list(model.parameters()), allow_unused=True)
    actual = course.loss(packed)
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-6)
    got = torch.autograd.grad(actual, list(model.parameters()), allow_unused=True)
    for one, other in zip(got, wanted, strict=True):
        if one is not None:
            # Both are sums of the same terms in another order.
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5 * float(other.abs().max()))

"""Padded rows to flat tokens and back."""

from __future__ import annotations

import pytest
import torch

from qwen3_vl.errors import InputError
from qwen3_vl.models.packing import Packing

IDS = torch.tensor([[1, 2, 3, 0], [4, 0, 0, 0], [0, 5, 6, 7]])
MASK = torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0], [0, 1, 1, 1]])


def test_only_tokens_are_left_in_the_order_of_the_rows():
    packing = Packing.of(IDS, MASK)
    assert packing.flatten(IDS).tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert packing.lengths == (3, 1, 3)
    assert [row.tolist() for row in packing.rows(packing.flatten(IDS))] == [
        [1, 2, 3],
        [4],
        [5, 6, 7],
    ]


def test_padding_comes_back_as_zeros():
    packing = Packing.of(IDS, MASK)
    states = torch.arange(1.0, 15.0).view(7, 2)
    padded = packing.pad(states)
    assert padded.shape == (3, 4, 2)
    assert torch.equal(packing.flatten(padded), states)
    assert (padded[~packing.mask] == 0).all()


def test_without_a_mask_all_are_tokens():
    packing = Packing.of(IDS, None)
    assert packing.lengths == (4, 4, 4)
    assert torch.equal(packing.flatten(IDS), IDS.flatten())


def test_an_empty_row_is_a_row():
    packing = Packing.of(IDS, MASK * torch.tensor([[1], [0], [1]]))
    assert packing.lengths == (3, 0, 3)
    assert [len(row) for row in packing.rows(packing.flatten(IDS))] == [3, 0, 3]


def test_a_mask_may_begin_with_what_a_cache_holds():
    longer = torch.cat((torch.ones(3, 5, dtype=torch.long), MASK), dim=1)
    assert Packing.of(IDS, longer, held=[5, 5, 5]).lengths == (3, 1, 3)
    with pytest.raises(InputError, match="does not fit"):
        Packing.of(IDS, longer)


def test_padding_of_the_past_is_not_in_the_cache_but_all_else_is_seen():
    past = torch.tensor([[0, 1, 1], [1, 1, 1], [0, 0, 1]])
    longer = torch.cat((past, MASK), dim=1)
    assert Packing.of(IDS, longer, held=[2, 3, 1]).lengths == (3, 1, 3)
    with pytest.raises(InputError, match=r"shows \[2, 3, 1\] .* cache holds \[3, 3, 1\]"):
        Packing.of(IDS, longer, held=[3, 3, 1])


@pytest.mark.parametrize("value", [2, -1, 0.5, float("nan"), float("-inf")])
def test_a_mask_says_yes_or_no(value):
    with pytest.raises(InputError, match="1 where a token is and 0 where none is"):
        Packing.of(IDS, MASK * value)


@pytest.mark.parametrize("columns", [0, 1, 3, 4, 9])
def test_the_last_columns_are_a_packing_too(columns):
    last = Packing.of(IDS, MASK).last(columns)
    assert torch.equal(last.mask, MASK[:, -columns:].bool())
    assert last.lengths == tuple(MASK[:, -columns:].sum(dim=1).tolist())


def test_without_padding_nothing_is_copied():
    flat = torch.arange(24.0).view(12, 2)
    padded = Packing.of(IDS, None).pad(flat)
    assert padded.shape == (3, 4, 2)
    assert padded.data_ptr() == flat.data_ptr()


@pytest.mark.parametrize(
    ("ids", "mask", "message"),
    [
        (IDS[0], None, r"input_ids must be \[batch, tokens\], not \[4\]"),
        (IDS, MASK[:2], r"attention_mask \[2, 4\] does not fit input_ids \[3, 4\]"),
        (IDS, MASK[:, :3], r"attention_mask \[3, 3\] does not fit input_ids \[3, 4\]"),
        (IDS, MASK[None], "does not fit"),
        (IDS, torch.tensor(1), r"attention_mask \[\] does not fit input_ids \[3, 4\]"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(ids, mask, message):
    with pytest.raises(InputError, match=message):
        Packing.of(ids, mask)

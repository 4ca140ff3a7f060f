"""The door of the model; what a whole call refuses is tested with the model."""

from __future__ import annotations

import pytest
import torch

from qwen3_vl.errors import InputError
from qwen3_vl.models.inputs import check_arguments, check_labels, checked_grids

IDS = torch.tensor([[1, 2, 3]])


def test_what_is_not_given_is_not_checked():
    check_arguments(IDS, past_key_values=None, attention_mask=None, image_grid_thw=None)
    assert checked_grids("image_grid_thw", None, 2) == []


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64], ids=str)
def test_whole_numbers_of_either_size_are_taken(dtype):
    check_arguments(IDS.to(dtype), labels=IDS.to(dtype))
    assert checked_grids("video_grid_thw", torch.tensor([[3, 4, 2]], dtype=dtype), 2) == [(3, 4, 2)]


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.float32], ids=str)
def test_other_numbers_name_their_argument(dtype):
    with pytest.raises(InputError, match=f"input_ids is {dtype}; .* use input_ids.long"):
        check_arguments(IDS.to(dtype))


@pytest.mark.parametrize("grid", [(1, 3, 4), (1, 4, 3), (1, 0, 4), (0, 4, 4), (1, -2, -2)])
def test_a_grid_is_whole_blocks(grid):
    with pytest.raises(InputError, match=r"video_grid_thw: grid .* not whole blocks of 2×2"):
        checked_grids("video_grid_thw", torch.tensor([grid]), 2)


def test_a_label_is_in_the_vocabulary_or_not_counted():
    check_labels(torch.tensor([[-100, 0, 9]]), IDS, 10)
    for wrong in (10, -1, -101):
        with pytest.raises(InputError, match=f"labels hold {wrong}; .* from 0 to 9, or -100"):
            check_labels(torch.tensor([[-100, 0, wrong]]), IDS, 10)

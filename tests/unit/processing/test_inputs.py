"""The named tensors that the processor returns."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch

from qwen3_vl.processing.inputs import ModelInputs, TokenCount


def _inputs() -> ModelInputs:
    return ModelInputs(input_ids=torch.tensor([[1]]), pixel_values=torch.ones(2), rows=[[1]])


def test_entries_are_attributes() -> None:
    inputs = _inputs()
    assert inputs.input_ids is inputs["input_ids"]
    assert dict(**inputs).keys() == {"input_ids", "pixel_values", "rows"}


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(AttributeError, match="input_ids, pixel_values, rows"):
        _ = _inputs().labels


def test_to_changes_the_dtype_of_floats_only_and_not_the_original() -> None:
    inputs = _inputs()
    moved = inputs.to("cpu", torch.bfloat16)
    assert isinstance(moved, ModelInputs)
    assert moved.pixel_values.dtype == torch.bfloat16
    assert moved.input_ids.dtype == torch.int64
    assert moved.rows == [[1]]
    assert inputs.pixel_values.dtype == torch.float32


def test_to_moves_every_tensor() -> None:
    moved = _inputs().to("meta")
    assert moved.input_ids.device.type == moved.pixel_values.device.type == "meta"


def test_copies_and_pickles() -> None:
    for other in (copy.deepcopy(_inputs()), pickle.loads(pickle.dumps(_inputs()))):
        assert isinstance(other, ModelInputs)
        assert torch.equal(other.input_ids, torch.tensor([[1]]))


def test_text_tokens_are_what_is_left() -> None:
    assert TokenCount(total=100, images=(10, 20), videos=(30,)).text == 40

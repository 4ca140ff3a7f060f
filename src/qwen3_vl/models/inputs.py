"""The door of the model: what is called with anything but tensors of the right kind stops here."""

from __future__ import annotations

import torch
from torch import Tensor

from qwen3_vl.errors import InputError
from qwen3_vl.models.cache import DenseCache
from qwen3_vl.models.positions import Grid

_WHOLE_NUMBERS = {"input_ids", "image_grid_thw", "video_grid_thw", "labels"}


def check_arguments(
    input_ids: Tensor, *, past_key_values: DenseCache | None = None, **tensors: Tensor | None
) -> None:
    """Check the types of a call's arguments; None stands for one that was not given."""
    check_tensor("input_ids", input_ids)
    if input_ids.shape[:1] == (0,):
        raise InputError("input_ids hold no sequence; give at least one row")
    for name, tensor in tensors.items():
        if tensor is not None:
            check_tensor(name, tensor)
    if not isinstance(past_key_values, DenseCache | None):
        raise InputError(
            f"past_key_values is a {type(past_key_values).__name__}; it must be a DenseCache: "
            "make one with DenseCache(model.config.text_config, sequences, model.seams)"
        )


def check_tensor(name: str, tensor: object) -> None:
    """Refuse what is no tensor, and fractions where only whole numbers have a meaning."""
    if not isinstance(tensor, Tensor):
        raise InputError(
            f"{name} is a {type(tensor).__name__}; it must be a tensor: use torch.tensor(…)"
        )
    if name in _WHOLE_NUMBERS and tensor.dtype not in (torch.int64, torch.int32):
        raise InputError(f"{name} is {tensor.dtype}; it must be torch.int64: use {name}.long()")


def checked_grids(name: str, grid_thw: Tensor | None, merge: int) -> list[Grid]:
    """The grids of some pictures, each of whole merge blocks."""
    if grid_thw is None:
        return []
    check_tensor(name, grid_thw)
    if grid_thw.ndim != 2 or grid_thw.shape[1] != 3:
        raise InputError(f"a grid tensor is [pictures, 3], not {list(grid_thw.shape)}")
    grids: list[Grid] = [(steps, rows, columns) for steps, rows, columns in grid_thw.tolist()]
    for grid in grids:
        if min(grid) < 1 or grid[1] % merge or grid[2] % merge:
            raise InputError(
                f"{name}: grid {list(grid)} is not whole blocks of {merge}×{merge}, "
                "one or more; take the grids as the processor makes them"
            )
    return grids


def check_labels(labels: Tensor, input_ids: Tensor, vocabulary: int) -> None:
    """Labels stand under the ids; each is -100 or in the vocabulary."""
    if labels.shape != input_ids.shape:
        raise InputError(
            f"labels {list(labels.shape)} do not fit input_ids {list(input_ids.shape)}"
        )
    wrong = labels[(labels != -100) & ((labels < 0) | (labels >= vocabulary))]
    if len(wrong):
        raise InputError(
            f"labels hold {int(wrong[0])}; each must be a token id from 0 to {vocabulary - 1}, "
            "or -100 where it is not counted"
        )

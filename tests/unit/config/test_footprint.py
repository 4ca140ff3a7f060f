"""The format of a model's files: what their headers say, or what config.json announces."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from qwen3_vl.config.footprint import stored_dtype


def write(folder: Path, config: dict[str, Any], *dtypes: torch.dtype) -> Path:
    """A folder with one file of weights for each of these formats."""
    (folder / "config.json").write_text(json.dumps(config))
    for number, dtype in enumerate(dtypes, 1):
        name = f"model-{number:05}-of-{len(dtypes):05}.safetensors"
        save_file({f"w{number}": torch.ones(2, dtype=dtype)}, folder / name)
    return folder


@pytest.mark.parametrize(
    ("dtypes", "stored"),
    [
        ([torch.float32], "float32"),
        ([torch.bfloat16, torch.bfloat16], "bfloat16"),
        ([torch.float16], "float16"),
        ([torch.bfloat16, torch.float32], "float32"),
        ([torch.bfloat16, torch.float16], "float32"),  # neither holds the other
    ],
)
def test_the_headers_are_the_truth(tmp_path: Path, dtypes: list[torch.dtype], stored: str) -> None:
    assert stored_dtype(write(tmp_path, {"dtype": "float64"}, *dtypes)) == stored


@pytest.mark.parametrize(
    ("config", "stored"),
    [
        ({"dtype": "float16"}, "float16"),
        ({"torch_dtype": "float32"}, "float32"),
        ({"text_config": {"dtype": "float32"}}, "float32"),
        ({"dtype": None, "text_config": {"torch_dtype": "float16"}}, "float16"),
        ({"dtype": "auto"}, "bfloat16"),
        ({}, "bfloat16"),
    ],
)
def test_without_weights_config_json_announces_it(
    tmp_path: Path, config: dict[str, Any], stored: str
) -> None:
    assert stored_dtype(write(tmp_path, config)) == stored


def test_a_broken_file_is_left_to_the_loader(tmp_path: Path) -> None:
    folder = write(tmp_path, {"dtype": "float16"})
    (folder / "model.safetensors").write_bytes(b"not what it seems")
    assert stored_dtype(folder) == "float16"

"""Our own worker, on the embedded model."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.comparison.contenders import FASTEST
from benchmarks.peers.qwen3_vl import Own
from benchmarks.peers.worker import answer, letters
from qwen3_vl.loading import embedded_folder
from qwen3_vl.ops import native
from qwen3_vl.processing.tokenizer import Tokenizer


def asked(recipe: str, folder: Path, *requests: dict[str, Any]) -> list[dict[str, Any]]:
    files = {"checkpoint": str(embedded_folder()), "folder": str(folder)}
    beginning = [{"do": "prepare", **files}, {"do": "load", **files, "threads": 2, "vision": True}]
    lines = "".join(json.dumps(one) + "\n" for one in (*beginning, *requests))
    replies = io.StringIO()
    answer(Own({"recipe": recipe}), io.StringIO(lines), replies)
    return [json.loads(line) for line in replies.getvalue().splitlines()]


@pytest.mark.parametrize("recipe", ["", FASTEST], ids=["plain", "fastest"])
def test_everything_that_can_be_asked_is_answered(recipe: str, tmp_path: Path) -> None:
    if recipe and native.variant() is None:
        pytest.skip("packed weights need compiled kernels")
    _, ready, *figures = asked(
        recipe,
        tmp_path,
        {"do": "prefill", "tokens": 40, "seed": 1},
        {"do": "decode", "context": 33, "steps": 3, "room": 60},
        {"do": "decode", "context": 33, "steps": 3, "room": 60},
        {"do": "verify", "context": 33, "count": 4, "steps": 2, "room": 60},
        {"do": "encode", "width": 64, "height": 96, "seed": 1},
        {"do": "first", "width": 64, "height": 96, "seed": 1},
    )
    assert ready["result"]["versions"].keys() == {"qwen3-vl", "torch"}
    assert all(one["result"]["seconds"] > 0 for one in figures)
    assert figures[-1]["result"]["tokens"] > 6


def test_packed_weights_are_fewer_bytes_to_read(tmp_path: Path) -> None:
    if native.variant() is None:
        pytest.skip("packed weights need compiled kernels")
    plain, packed = (
        asked(recipe, tmp_path)[1]["result"]["weight_bytes"] for recipe in ("", FASTEST)
    )
    assert 0.25 * plain < packed < 0.5 * plain


def test_packed_weights_without_kernels_take_no_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They would be unpacked for each token: minutes of nothing that says anything."""
    monkeypatch.setattr(native, "variant", lambda: None)
    prepared, loaded = asked("weight_int8", tmp_path)
    assert prepared["error"].startswith("packed weights need compiled kernels")
    assert loaded == prepared
    assert "result" in asked("", tmp_path)[1]


def test_an_engine_that_fails_says_so_and_goes_on(tmp_path: Path) -> None:
    *_, failed, next_one = asked(
        "",
        tmp_path,
        {"do": "prefill", "tokens": 0, "seed": 0},
        {"do": "prefill", "tokens": 3, "seed": 0},
    )
    assert failed["error"].startswith("InputError: ")
    assert next_one["result"]["seconds"] > 0


def test_letters_are_letters_with_a_token_each() -> None:
    text = Tokenizer.from_folder(embedded_folder()).decode(letters(30))
    assert text.isalpha()
    assert text.islower()
    assert len(text) == 30

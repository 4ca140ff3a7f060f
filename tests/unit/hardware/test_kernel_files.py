"""The small files of Linux."""

from __future__ import annotations

from pathlib import Path

import pytest

from qwen3_vl.hardware.kernel_files import parse_processors, read_number, read_processors, read_text


def test_text_comes_without_white_space_and_zero_bytes(tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(b"Radxa ROCK 5B\0")
    assert read_text(tmp_path / "model") == "Radxa ROCK 5B"


@pytest.mark.parametrize(
    ("text", "number"), [("12\n", 12), ("-1\n", -1), ("max\n", None), ("", None)]
)
def test_a_number_is_a_number_or_none(tmp_path: Path, text: str, number: int | None) -> None:
    (tmp_path / "value").write_text(text)
    assert read_number(tmp_path / "value") == number


def test_what_is_missing_is_none(tmp_path: Path) -> None:
    assert read_text(tmp_path / "no") is None
    assert read_text(tmp_path) is None  # a folder
    assert read_number(tmp_path / "no") is None
    assert read_processors(tmp_path / "no") is None


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("0", {0}), ("0-3", {0, 1, 2, 3}), ("0-1,8,10-11", {0, 1, 8, 10, 11})],
)
def test_lists_of_processors(text: str, numbers: set[int]) -> None:
    assert parse_processors(text) == numbers


@pytest.mark.parametrize("text", ["", "a", "1-", "0,,1", "0-3:1/2"])
def test_what_is_no_list_is_none(text: str) -> None:
    assert parse_processors(text) is None

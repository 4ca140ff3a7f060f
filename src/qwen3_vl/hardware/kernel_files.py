"""Reads the small files in which Linux tells about itself; what cannot be read is None."""

from __future__ import annotations

import re
from pathlib import Path


def read_text(path: Path) -> str | None:
    """What the file says, without white space and zero bytes around it."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip().strip("\0")
    except OSError:
        return None


def read_number(path: Path) -> int | None:
    """The whole number that the file holds."""
    text = read_text(path)
    return int(text) if text and re.fullmatch(r"-?[0-9]+", text) else None


def read_processors(path: Path) -> frozenset[int] | None:
    """The numbers in a list such as `0-3,8`."""
    text = read_text(path)
    return None if text is None else parse_processors(text)


def parse_processors(text: str) -> frozenset[int] | None:
    """The numbers in `0-3,8`; None for what is no such list."""
    if not re.fullmatch(r"[0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*", text):
        return None
    ranges = (part.partition("-") for part in text.split(","))
    return frozenset(
        number for first, _, last in ranges for number in range(int(first), int(last or first) + 1)
    )

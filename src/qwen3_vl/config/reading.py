"""From JSON files to frozen dataclasses: every unknown key and every wrong type is named."""

from __future__ import annotations

import difflib
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from qwen3_vl.errors import CheckpointError, ConfigError

T = TypeVar("T")


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from error
    except RecursionError:
        raise CheckpointError(f"{path} is nested too deeply to be read") from None
    except ValueError as error:
        raise CheckpointError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(data, dict):
        raise CheckpointError(f"{path} holds {type(data).__name__}, not a JSON object")
    return data


def refuse_unknown(data: Mapping[str, Any], known: Collection[str], where: str = "") -> None:
    """Name the keys that are not `known`, and for each the known one that looks like it."""
    unknown = [_unknown(key, known, where) for key in data if key not in known]
    if unknown:
        raise ConfigError("; ".join(unknown))


def checked(kind: type[T], data: Mapping[str, Any]) -> T:
    """Build a dataclass, and those in it, with the types of all fields checked."""
    try:
        # Strict, or true would be 1 and "5" would be 5.
        return TypeAdapter(kind).validate_json(json.dumps(data), strict=True)
    except ValidationError as error:
        raise ConfigError("; ".join(map(_explain, error.errors()))) from None


def _unknown(key: str, known: Collection[str], where: str) -> str:
    near = difflib.get_close_matches(str(key), known, n=1)
    return f"unknown key {where}{key}" + (f"; did you mean {near[0]}?" if near else "")


def _explain(problem: Any) -> str:
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "value_error":  # raised by a __post_init__, already in our words
        return f"{key}: {problem['ctx']['error']}" if key else str(problem["ctx"]["error"])
    if problem["type"] == "missing":
        return f"{key} must be given"
    return f"{key} is {problem['input']!r}: {problem['msg'].lower()}"

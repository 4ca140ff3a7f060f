"""`qwen3-vl harden` and `balance`: models that say the same with other weights."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qwen3_vl.cli.run import waiting
from qwen3_vl.errors import ConfigError, InputError

if TYPE_CHECKING:
    from qwen3_vl.models.qwen3_vl import Qwen3VLForConditionalGeneration
    from qwen3_vl.processing.processor import Qwen3VLProcessor

_Model = Annotated[str, typer.Argument(help="A folder, a hub id, or 'embedded'.")]
_Folder = Annotated[Path, typer.Option("--output", "-o", help="Where to write the result.")]
_ITEMS = 57
"""Three of each of the playground's tasks."""


def harden(
    model: _Model,
    folder: _Folder,
    strength: Annotated[
        float, typer.Option(help="How large outliers are: 1, 4, 16, 64 or another power of two.")
    ] = 16.0,
    seed: Annotated[int, typer.Option(help="Decides which channels become outliers.")] = 0,
) -> None:
    """Write a model that answers alike, but is as hard to round as a large one."""
    from qwen3_vl.validation.quality import hardening

    _rewrite(model, folder, lambda plain, _: hardening.harden(plain, strength, seed))


def balance(
    model: _Model,
    folder: _Folder,
    prompts: Annotated[
        Path | None,
        typer.Option(help="A conversation a line, as JSON; by default the playground's own."),
    ] = None,
    bits: Annotated[int, typer.Option(help="4 or 8: what weights are to be rounded to.")] = 4,
) -> None:
    """Write a model that answers alike, but loses less when its weights are rounded."""
    from qwen3_vl.training.balance import balance

    if bits not in (4, 8):
        raise ConfigError(f"--bits is {bits}; it can be 4 or 8")
    talks = _playground() if prompts is None else _read(prompts)

    def balanced(
        plain: Qwen3VLForConditionalGeneration, processor: Qwen3VLProcessor
    ) -> Qwen3VLForConditionalGeneration:
        given = [processor.prepare([talk]) for talk in talks]
        with waiting("balancing") as status:
            found = balance(plain, given, bits, lambda what: status.update(f"balancing: {what}"))
        for name, left in found.errors.items():
            typer.echo(f"{name}: {left:.0%} of the error is left")
        return found.model

    _rewrite(model, folder, balanced)


def _rewrite(
    model: str,
    folder: Path,
    change: Callable[
        [Qwen3VLForConditionalGeneration, Qwen3VLProcessor], Qwen3VLForConditionalGeneration
    ],
) -> None:
    from qwen3_vl.api import Qwen3VLInference
    from qwen3_vl.loading import find_model

    if Path(model).exists() and folder.exists() and folder.samefile(model):
        raise ConfigError(f"{folder} is the model's own folder; give --output another one")
    with waiting(f"loading {model}"):
        stored = find_model(model).stored
        dtype = "float32" if stored == "float16" else stored  # factors need the range
        vlm = Qwen3VLInference.from_pretrained(model, dtype=dtype, device_map="cpu")
    changed = change(vlm.engine.model, vlm.engine.processor)
    with waiting(f"writing {folder}"):
        changed.save_pretrained(folder)
        vlm.engine.processor.save_pretrained(folder)


def _playground() -> Sequence[Sequence[Mapping[str, Any]]]:
    from qwen3_vl.validation.quality.suite import TASKS, make_item

    names = list(TASKS)
    return [make_item(names[i % len(names)], i, split="train").prompt for i in range(_ITEMS)]


def _read(file: Path) -> Sequence[Sequence[Mapping[str, Any]]]:
    """Conversations as `chat` takes them: messages, or the words of a user."""
    talks: list[Sequence[Mapping[str, Any]]] = []
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{file} is no text in UTF-8: {error}") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            talk = json.loads(line)
        except ValueError as error:
            raise InputError(f"{file}, line {number} is no JSON: {error}") from error
        talks.append([{"role": "user", "content": talk}] if isinstance(talk, str) else talk)
    if not talks:
        raise InputError(f"{file} holds no conversation; give it one a line, as JSON")
    return talks

"""What a run tells of itself: a line of JSON now and then, a curve, and TensorBoard if wanted."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from qwen3_vl.errors import DependencyError
from qwen3_vl.training.trainer import Progress

_FILE = "log.jsonl"
_EVERY = 20
"""Steps that are told of together, by their mean loss."""


class TrainingLog:
    """The log of the run in a folder; when a run goes on, its log does too."""

    def __init__(self, folder: Path, start: Progress, *, tensorboard: bool = False) -> None:
        """What the file says of steps after `start` is of a run that was stopped: it is dropped.

        Raises:
            DependencyError: TensorBoard is wanted but not installed.
        """
        self._path = folder / _FILE
        folder.mkdir(parents=True, exist_ok=True)
        kept = [line for line in read_log(folder) if line["step"] <= start.step]
        self._path.write_text("".join(map(_line, kept)), encoding="utf-8")
        self._board = _board(folder) if tensorboard else None
        self._losses: list[float] = []

    def add(self, progress: Progress) -> None:
        """Take note of a step."""
        self._losses.append(progress.loss)
        if progress.step % _EVERY and progress.next_index < progress.of:
            return
        known = [loss for loss in self._losses if math.isfinite(loss)]
        self._losses.clear()
        told = {
            "step": progress.step,
            "examples": progress.next_index,
            "tokens": progress.tokens,
            "loss": sum(known) / len(known) if known else None,
            "learning_rate": progress.learning_rate,
            "gradient": progress.gradient if math.isfinite(progress.gradient) else None,
            "skipped": progress.skipped,
        }
        with self._path.open("a", encoding="utf-8") as file:
            file.write(_line(told))
        if self._board:
            for key in ("loss", "learning_rate", "gradient"):
                if told[key] is not None:
                    self._board.add_scalar(key, told[key], progress.step)


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The lines of the log in a folder; none if there is no log."""
    path = folder / _FILE
    return list(_lines(path.read_text(encoding="utf-8"))) if path.is_file() else []


def canvas() -> Any:
    """An empty figure; to ask for one before a run tells early what is missing at its end.

    Raises:
        DependencyError: matplotlib is not installed.
    """
    try:
        return import_module("matplotlib.figure").Figure(figsize=(8, 4.5))
    except ImportError as error:
        raise DependencyError(
            'the curve is drawn by matplotlib; run pip install "qwen3-vl[train]"'
        ) from error


def plot_log(folder: Path, picture: Path) -> None:
    """Draw the loss over the examples."""
    figure = canvas()
    told = [line for line in read_log(folder) if line["loss"]]
    axes = figure.subplots()
    axes.semilogy([line["examples"] for line in told], [line["loss"] for line in told])
    axes.set_xlabel("examples")
    axes.set_ylabel("loss")
    axes.grid(alpha=0.3)
    figure.savefig(picture, dpi=100, bbox_inches="tight")


def _board(folder: Path) -> Any:
    try:
        return import_module("torch.utils.tensorboard").SummaryWriter(str(folder / "tensorboard"))
    except ImportError as error:
        raise DependencyError(
            'TensorBoard is not installed; run pip install "qwen3-vl[train]"'
        ) from error


def _line(told: Mapping[str, Any]) -> str:
    return json.dumps(told) + "\n"


def _lines(text: str) -> Iterator[dict[str, Any]]:
    """A last line that was cut short, when the machine went down, is dropped."""
    for line in text.splitlines(keepends=True):
        if line.endswith("\n"):
            yield json.loads(line)

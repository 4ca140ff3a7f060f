"""The one trainer: a warm-up and a cosine, a moving average, and exact resumption.

A run is a folder. What it needs to go on lies there, and a run that was stopped and goes on ends
with the same weights as one that was not.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from qwen3_vl.config.reading import read_object
from qwen3_vl.errors import ConfigError, TrainingError
from qwen3_vl.models.checkpoint import replacing
from qwen3_vl.training.batches import Budget
from qwen3_vl.training.optimizers import Kind, optimizers

if TYPE_CHECKING:
    from typing_extensions import Self

_TENSORS, _STATE = "training.safetensors", "training.json"
_PATIENCE = 10
"""Steps without finite gradients that are passed over; and one more for each so many steps."""
_FREE = ("save_every", "workers")
"""Settings that may change when a run goes on, because the weights do not depend on them."""


@dataclass(frozen=True)
class TrainingSettings:
    """How a model is trained."""

    optimizer: Kind = "adamw"
    """Muon learns more from each example, and takes more time for a step."""
    learning_rate: float = 1e-3
    """At its highest."""
    final_share: float = 0.05
    """What is left of the learning rate at the end."""
    warmup: float = 0.02
    """The share of the run in which it rises."""
    weight_decay: float = 0.05
    """Of matrices; norms and biases are not pulled down."""
    momentum: float = 0.9
    spread: float = 0.98
    """How slowly the average of squared gradients forgets."""
    clip: float = 1.0
    """The largest norm that all gradients together may have."""
    average: float = 0.999
    """How slowly the moving average of the weights forgets."""
    tokens: int = 4096
    """The most tokens of a step."""
    patches: int = 8192
    """The most patches of pictures of a step."""
    save_every: float = 300.0
    """Seconds between two saved states."""
    workers: int = 0
    """Processes that make examples; 0: the one that trains."""

    def __post_init__(self) -> None:
        shares = (self.final_share, self.warmup, self.momentum, self.spread, self.average)
        if not all(0 <= share < 1 for share in shares):
            raise ConfigError(
                "final_share, warmup, momentum, spread and average must be from 0 to below 1"
            )
        if min(self.learning_rate, self.clip, self.save_every) <= 0 or self.weight_decay < 0:
            raise ConfigError(
                "learning_rate, clip and save_every must be above 0, weight_decay at least 0"
            )
        if min(self.tokens, self.patches) < 1 or self.workers < 0:
            raise ConfigError("tokens and patches must be at least 1, workers at least 0")


@dataclass(frozen=True)
class Progress:
    """How far a run has come."""

    step: int = 0
    next_index: int = 0
    """The first example that was not seen yet."""
    of: int = 0
    """How many examples there are."""
    loss: float = math.nan
    learning_rate: float = 0.0
    gradient: float = 0.0
    """The norm of all gradients together, before it was clipped."""
    tokens: int = 0
    """In all steps so far."""
    skipped: int = 0
    """Steps whose gradients were no numbers, and which changed nothing."""


class Batch(Protocol):
    """Some examples, learned from at once."""

    @property
    def tokens(self) -> int:
        """How many there are in all."""
        ...

    @property
    def next_index(self) -> int:
        """The first example that is in no batch yet."""
        ...

    def to(self, device: torch.device) -> Self:
        """The same on another device."""
        ...


B = TypeVar("B", bound=Batch)


class Course(Protocol[B]):
    """What a module learns: batches, and how far it is from knowing them."""

    @property
    def module(self) -> nn.Module:
        """What is trained."""
        ...

    def __len__(self) -> int:
        """How many examples there are."""
        ...

    def batches(self, budget: Budget, start: int, workers: int) -> Iterator[B]:
        """All from the example `start` on, always the same."""
        ...

    def loss(self, batch: B) -> Tensor:
        """What is to become small."""
        ...


class Trainer:
    """One run: a course, and the folder where its state lies."""

    def __init__(
        self, course: Course[Any], folder: Path, settings: TrainingSettings = TrainingSettings()
    ) -> None:
        """A folder with a saved state is gone on with; the module takes its weights from there.

        Parameters that need no gradient stay as they are.
        """
        self.progress = Progress(of=len(course))
        self.settings = settings
        self._course = course
        self.module = course.module.train()
        self._folder = folder
        named = self.module.named_parameters()
        self._trained = {name: one for name, one in named if one.requires_grad}
        self._average = {name: one.detach().clone() for name, one in self._trained.items()}
        self._optimizers = optimizers(
            settings.optimizer,
            self._trained,
            settings.weight_decay,
            settings.momentum,
            settings.spread,
        )
        if (folder / _STATE).is_file():
            self._restore()

    def run(
        self, show: Callable[[Progress], object] = lambda _: None, until: int | None = None
    ) -> None:
        """Train to the end or `until` so many examples were seen; `show` is told of each step."""
        saved = time.monotonic()
        device = next(self.module.parameters()).device
        for batch in self._batches():
            if until is not None and self.progress.next_index >= until:
                break
            self._step(batch.to(device))
            show(self.progress)
            if time.monotonic() - saved >= self.settings.save_every:
                self.save()
                saved = time.monotonic()
        self.save()

    def save(self) -> None:
        """Write all that is needed to go on; a failure leaves what was there."""
        tensors = {f"weight.{name}": one for name, one in self._trained.items()}
        tensors |= {f"average.{name}": one for name, one in self._average.items()}
        for name, one in self._trained.items():
            for optimizer in self._optimizers:
                moments = optimizer.state.get(one, {})
                tensors |= {f"moment.{key}.{name}": value for key, value in moments.items()}
        tensors = {name: one.detach().cpu().contiguous() for name, one in tensors.items()}
        state = {"progress": asdict(self.progress), "settings": asdict(self.settings)}
        with replacing(self._folder, stale=re.compile(_TENSORS)) as fresh:
            save_file(tensors, fresh / _TENSORS)
            (fresh / _STATE).write_text(json.dumps(state, indent=2) + "\n", encoding="utf-8")

    def settle(self) -> None:
        """Give the module the moving average of its weights: what a run is for."""
        with torch.no_grad():
            for name, one in self._trained.items():
                one.copy_(self._average[name])
        self.module.eval()

    def _batches(self) -> Iterator[Batch]:
        budget = Budget(self.settings.tokens, self.settings.patches)
        return self._course.batches(budget, self.progress.next_index, self.settings.workers)

    def _step(self, batch: Batch) -> None:
        before = self.progress
        rate = self._learning_rate(before.next_index / max(1, before.of))
        loss = self._course.loss(batch)
        self.module.zero_grad()
        loss.backward()
        gradient = torch.nn.utils.clip_grad_norm_(self._trained.values(), self.settings.clip)
        finite = bool(gradient.isfinite())
        if finite:
            for optimizer in self._optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = rate
                optimizer.step()
            self._follow()
        self.progress = Progress(
            before.step + 1,
            batch.next_index,
            before.of,
            float(loss.detach()),
            rate,
            float(gradient),
            before.tokens + batch.tokens,
            before.skipped + (not finite),
        )
        if self.progress.skipped > _PATIENCE + before.step // _PATIENCE:
            raise TrainingError(
                f"{self.progress.skipped} of {self.progress.step} steps gave no finite gradients; "
                "lower learning_rate, raise warmup, or look for broken examples"
            )

    def _follow(self) -> None:
        """Move the average; at first it follows closely, or it would remember the start."""
        keep = min(self.settings.average, (1 + self.progress.step) / (10 + self.progress.step))
        with torch.no_grad():
            for name, one in self._trained.items():
                self._average[name].lerp_(one, 1 - keep)

    def _learning_rate(self, share: float) -> float:
        """Up in a line, then down along a cosine."""
        settings = self.settings
        if share < settings.warmup:
            return settings.learning_rate * (share / settings.warmup * 0.99 + 0.01)
        angle = math.pi * (share - settings.warmup) / (1 - settings.warmup)
        height = (1 + math.cos(angle)) / 2
        return settings.learning_rate * (settings.final_share + (1 - settings.final_share) * height)

    def _restore(self) -> None:
        state = read_object(self._folder / _STATE)
        self._check_same(state)
        self.progress = Progress(**state["progress"])
        tensors = load_file(self._folder / _TENSORS)
        with torch.no_grad():
            for name, one in self._trained.items():
                one.copy_(tensors[f"weight.{name}"])
                self._average[name].copy_(tensors[f"average.{name}"])
        moved = {one: optimizer for optimizer in self._optimizers for one in _moved_by(optimizer)}
        for name, one in self._trained.items():
            # As they were saved: torch counts some steps on the CPU, wherever the weights are.
            moments = {
                key.removeprefix("moment.").removesuffix(f".{name}"): value
                for key, value in tensors.items()
                if key.startswith("moment.") and key.endswith(f".{name}")
            }
            if moments:
                moved[one].state[one] = {
                    key: value if value.ndim == 0 else value.to(one.device)
                    for key, value in moments.items()
                }

    def _check_same(self, state: dict[str, Any]) -> None:
        """A run that goes on with other settings would not be the run it seems to be."""
        old, new = state["settings"], asdict(self.settings)
        changed = [key for key in new if key not in _FREE and old.get(key) != new[key]]
        if state["progress"]["of"] != self.progress.of:
            changed.append("the number of examples")
        if changed:
            raise ConfigError(
                f"{self._folder} holds a run with other settings: {', '.join(changed)}; "
                "go on with the same, or begin in another folder"
            )


def _moved_by(optimizer: Optimizer) -> list[Tensor]:
    return [one for group in optimizer.param_groups for one in group["params"]]

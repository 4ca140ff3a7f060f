"""The trainer learns, goes on exactly where it was stopped, and is not thrown by bad numbers."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
import torch
from torch import nn

from qwen3_vl.errors import ConfigError, TrainingError
from qwen3_vl.training.answers import Answers
from qwen3_vl.training.examples import Example
from qwen3_vl.training.log import TrainingLog, plot_log, read_log
from qwen3_vl.training.trainer import Progress, Trainer, TrainingSettings
from tests.support.tiny_models import tiny_model

SETTINGS = TrainingSettings(learning_rate=1e-2, tokens=64, patches=64, warmup=0.1)


class Echo:
    """Text that says everything twice: the second time is learned."""

    def __init__(self, count: int = 120) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Example:
        generator = torch.Generator().manual_seed(index)
        said = torch.randint(0, 8, (4,), generator=generator)
        return Example(torch.cat((said, said)), torch.tensor([0.0] * 4 + [1.0] * 4))


class Stop(Exception):  # noqa: N818
    """The machine goes down."""


def weights(model: nn.Module) -> list[torch.Tensor]:
    return [one.detach().clone() for one in model.parameters()]


def trained(folder: Path, *stops: int, settings: TrainingSettings = SETTINGS) -> Trainer:
    """A run that was stopped after these steps, and went on each time from what was saved."""
    for stop in stops:
        trainer = Trainer(Answers(tiny_model("dense_tied"), Echo()), folder, settings)

        def show(progress: Progress, trainer: Trainer = trainer, stop: int = stop) -> None:
            if progress.step == stop:
                trainer.save()
            if progress.step == stop + 2:  # two steps that are lost
                raise Stop

        with pytest.raises(Stop):
            trainer.run(show)
    trainer = Trainer(Answers(tiny_model("dense_tied"), Echo()), folder, settings)
    trainer.run()
    return trainer


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_run_that_was_stopped_ends_as_one_that_was_not(
    tmp_path: Path, optimizer: Literal["adamw", "muon"]
) -> None:
    settings = replace(SETTINGS, optimizer=optimizer)
    whole = trained(tmp_path / "whole", settings=settings)
    stopped = trained(tmp_path / "stopped", 3, 8, settings=settings)
    assert stopped.progress == whole.progress
    for one, other in zip(weights(stopped.module), weights(whole.module), strict=True):
        assert torch.equal(one, other)
    stopped.settle()
    whole.settle()
    for one, other in zip(weights(stopped.module), weights(whole.module), strict=True):
        assert torch.equal(one, other)


def test_it_learns(tmp_path: Path) -> None:
    losses: list[float] = []
    trainer = Trainer(Answers(tiny_model("dense_tied"), Echo(1600)), tmp_path, SETTINGS)
    trainer.run(lambda progress: losses.append(progress.loss))
    assert losses[0] > 4
    assert sum(losses[-10:]) / 10 < 1.0
    assert trainer.progress.next_index == 1600
    assert trainer.progress.tokens == 1600 * 8


def test_the_rate_rises_and_falls(tmp_path: Path) -> None:
    trainer = Trainer(Answers(tiny_model("dense_tied"), Echo()), tmp_path, SETTINGS)
    rates: list[float] = []
    trainer.run(lambda progress: rates.append(progress.learning_rate))
    top = rates.index(max(rates))
    assert 0 < top <= 3
    assert rates[top] == pytest.approx(SETTINGS.learning_rate, rel=0.02)
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert rates[-1] < 0.2 * SETTINGS.learning_rate


def test_what_needs_no_gradient_stays_as_it_is(tmp_path: Path) -> None:
    model = tiny_model("dense_tied")
    still = model.model.language_model.layers[1].requires_grad_(False)
    moved = model.model.language_model.layers[2]
    before = [one.clone() for one in (*still.parameters(), *moved.parameters())]
    Trainer(Answers(model, Echo()), tmp_path, SETTINGS).run()
    same = [torch.equal(one, old) for one, old in zip(still.parameters(), before, strict=False)]
    assert all(same)
    for one, old in zip(moved.parameters(), before[len(same) :], strict=True):
        assert not torch.equal(one, old)


def test_a_step_without_finite_gradients_changes_nothing(tmp_path: Path) -> None:
    model = tiny_model("dense_tied")
    trainer = Trainer(Answers(model, Echo()), tmp_path, SETTINGS)
    seen: list[tuple[int, bool]] = []
    last = [weights(model)]
    hook = model.lm_head.register_forward_hook(
        lambda _, __, out: out * math.nan if trainer.progress.step in (2, 3) else out
    )

    def show(progress: Progress) -> None:
        now = weights(model)
        same = all(torch.equal(one, old) for one, old in zip(now, last[0], strict=True))
        seen.append((progress.skipped, same))
        last[0] = now

    trainer.run(show)
    hook.remove()
    assert seen[1:5] == [(0, False), (1, True), (2, True), (2, False)]
    trainer.settle()
    assert all(one.isfinite().all() for one in weights(model))


def test_when_no_step_has_finite_gradients_it_gives_up(tmp_path: Path) -> None:
    model = tiny_model("dense_tied")
    with torch.no_grad():
        model.model.language_model.norm.weight.fill_(math.nan)
    with pytest.raises(TrainingError, match="lower learning_rate"):
        Trainer(Answers(model, Echo()), tmp_path, SETTINGS).run()


def test_a_folder_of_another_run_is_refused(tmp_path: Path) -> None:
    trained(tmp_path)
    other = replace(SETTINGS, learning_rate=1.0, clip=2.0)
    with pytest.raises(ConfigError, match="other settings: learning_rate, clip; go on with the"):
        Trainer(Answers(tiny_model("dense_tied"), Echo()), tmp_path, other)
    with pytest.raises(ConfigError, match="the number of examples"):
        Trainer(Answers(tiny_model("dense_tied"), Echo(121)), tmp_path, SETTINGS)
    again = replace(SETTINGS, save_every=1.0, workers=1)
    assert (
        Trainer(Answers(tiny_model("dense_tied"), Echo()), tmp_path, again).progress.next_index
        == 120
    )


@pytest.mark.parametrize(
    "wrong",
    [{"learning_rate": 0.0}, {"warmup": 1.0}, {"tokens": 0}, {"workers": -1}, {"weight_decay": -1}],
    ids=str,
)
def test_settings_out_of_range_are_refused(wrong: dict) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        TrainingSettings(**wrong)


def test_the_log_goes_on_with_the_run(tmp_path: Path) -> None:
    log = TrainingLog(tmp_path, Progress(), tensorboard=True)
    for step in range(1, 61):
        log.add(Progress(step, step * 2, 120, loss=float(step), tokens=step))
    assert [line["step"] for line in read_log(tmp_path)] == [20, 40, 60]
    assert read_log(tmp_path)[0]["loss"] == 10.5
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 80, "lo')  # the machine went down
    log = TrainingLog(tmp_path, Progress(step=45))
    for step in range(46, 81):
        log.add(Progress(step, step, 80, loss=math.nan if step == 50 else 1.0))
    assert [line["step"] for line in read_log(tmp_path)] == [20, 40, 60, 80]
    assert read_log(tmp_path)[-1]["loss"] == 1.0
    assert any((tmp_path / "tensorboard").iterdir())
    plot_log(tmp_path, tmp_path / "loss.png")
    assert (tmp_path / "loss.png").read_bytes()[:4] == b"\x89PNG"


def test_what_is_saved_is_plain_tensors_and_json(tmp_path: Path) -> None:
    trained(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"training.json", "training.safetensors"}
    assert json.loads((tmp_path / "training.json").read_text())["progress"]["next_index"] == 120

"""`qwen3-vl train`: make a model of the playground, or go on where it was stopped."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

train = typer.Typer(help="Train a model.", no_args_is_help=True)


@train.callback()
def _group() -> None:
    """Train a model."""


@train.command()
def playground(
    out: Annotated[
        Path, typer.Option("--out", "-o", help="The folder of the model; its run lies in it too.")
    ],
    size: Annotated[str, typer.Option(help="nano, tiny or small.")] = "tiny",
    start: Annotated[
        Path | None, typer.Option(help="A model to begin from, which has had all lessons.")
    ] = None,
    examples: Annotated[
        int | None, typer.Option(min=1, help="How many it learns from; by default the size's own.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the first weights and of the examples.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, …")] = "auto",
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write logs for TensorBoard too.")
    ] = False,
) -> None:
    """Make a small model that sees. Stop it when you like, and run it again."""
    from qwen3_vl.training import trainer as training
    from qwen3_vl.training.log import TrainingLog, canvas, plot_log
    from qwen3_vl.training.playground import playground_trainer, save_playground_model

    canvas()
    run = playground_trainer(size, out, start=start, examples=examples, seed=seed, device=device)
    first = run.progress
    log = TrainingLog(out / "run", first, tensorboard=tensorboard)
    console = Console(stderr=True)
    if first.step:
        console.print(f"goes on after step {first.step}, {first.next_index:,} examples")
    bar = Progress(
        TextColumn("{task.completed:,.0f} of {task.total:,.0f} examples"),
        BarColumn(),
        TextColumn("loss {task.fields[loss]:.3f}  {task.fields[speed]:,.0f} tokens/s"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
    )
    with bar:
        shown = bar.add_task(
            "", total=first.of, completed=first.next_index, loss=first.loss, speed=0.0
        )
        began = time.perf_counter()

        def show(now: training.Progress) -> None:
            log.add(now)
            speed = (now.tokens - first.tokens) / (time.perf_counter() - began)
            bar.update(shown, completed=now.next_index, loss=now.loss, speed=speed)

        run.run(show)
    save_playground_model(run, out)
    plot_log(out / "run", out / "loss.png")
    console.print(f"{out} holds the model; loss.png in it is how it learned")

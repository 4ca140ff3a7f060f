"""`qwen3-vl train`: make a model of the playground, or go on where it was stopped."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from qwen3_vl.training.playground import Lesson
    from qwen3_vl.training.trainer import Progress as State

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
    views: Annotated[
        int | None,
        typer.Option(min=0, help="How many pictures it learns to see from; by default the size's."),
    ] = None,
    examples: Annotated[
        int | None, typer.Option(min=1, help="How many answers it learns; by default the size's.")
    ] = None,
    until: Annotated[
        int | None,
        typer.Option(min=1, help="Stop after so many answers, and write the model as it is then."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the first weights and of the examples.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, …")] = "auto",
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write logs for TensorBoard too.")
    ] = False,
) -> None:
    """Make a small model that sees. Stop it when you like, and run it again."""
    from qwen3_vl.training.log import canvas, plot_log
    from qwen3_vl.training.playground import Playground

    canvas()
    made = Playground(
        size,
        out,
        start=start,
        views=views,
        examples=examples,
        until=until,
        seed=seed,
        device=device,
    )
    console = Console(stderr=True)
    for lesson in made.lessons():
        _show(lesson, console, tensorboard=tensorboard)
        plot_log(lesson.folder, out / f"{lesson.folder.name}.png")
    made.save()
    console.print(f"{out} holds the model; run.png in it is how it learned")


def _show(lesson: Lesson, console: Console, *, tensorboard: bool) -> None:
    """Run a lesson behind a progress bar."""
    from qwen3_vl.training.log import TrainingLog

    first = lesson.trainer.progress
    log = TrainingLog(lesson.folder, first, tensorboard=tensorboard)
    if first.step:
        console.print(
            f"learns {lesson.name} on after step {first.step}, {first.next_index:,} examples"
        )
    bar = Progress(
        TextColumn("{task.description}: {task.completed:,.0f} of {task.total:,.0f} examples"),
        BarColumn(),
        TextColumn("loss {task.fields[loss]:.3f}  {task.fields[speed]:,.0f} tokens/s"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
    )
    with bar:
        shown = bar.add_task(
            f"learns {lesson.name}",
            total=first.of,
            completed=first.next_index,
            loss=first.loss,
            speed=0.0,
        )
        began = time.perf_counter()

        def show(now: State) -> None:
            log.add(now)
            speed = (now.tokens - first.tokens) / (time.perf_counter() - began)
            bar.update(shown, completed=now.next_index, loss=now.loss, speed=speed)

        lesson.trainer.run(show, lesson.until)

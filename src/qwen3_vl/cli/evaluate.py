"""`qwen3-vl eval`: measure on your own checkpoint what a recipe costs in answers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import track

from qwen3_vl.cli.run import waiting
from qwen3_vl.config.origins import build, settings_from
from qwen3_vl.config.sources import gather
from qwen3_vl.errors import ConfigError

if TYPE_CHECKING:
    from qwen3_vl.api import Qwen3VLInference
    from qwen3_vl.models.qwen3_vl import Qwen3VLForConditionalGeneration
    from qwen3_vl.validation.quality.report import Report

evaluation = typer.Typer(help="Measure what a recipe costs in answers.", no_args_is_help=True)


@evaluation.callback()
def _group() -> None:
    """Measure what a recipe costs in answers."""


@evaluation.command()
def quality(
    model: Annotated[str, typer.Option("--model", "-m", help="A folder, a hub id, or 'embedded'.")],
    recipe: Annotated[str, typer.Option(help="The techniques to be judged.")] = "",
    against: Annotated[
        str, typer.Option(help="Techniques of the model compared with; none: the plain one.")
    ] = "",
    tasks: Annotated[str, typer.Option(help="Names, joined with commas, or all.")] = "all",
    items: Annotated[int, typer.Option(min=1, help="Questions of each task.")] = 2000,
    level: Annotated[float, typer.Option(help="Difficulty; below 1 is easier.")] = 1.0,
    sabotage: Annotated[
        str, typer.Option(help="Break the model in this way too; the verdict must see it.")
    ] = "",
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write all that was found here.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw it into this PNG.")] = None,
    dtype: Annotated[str | None, typer.Option(help="auto, float32, bfloat16 or float16.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1, …")] = None,
) -> None:
    """Put the same questions of the playground to a model with a recipe and to one without."""
    from qwen3_vl.loading import find_config
    from qwen3_vl.recipes import compile_recipe
    from qwen3_vl.validation.quality import suite
    from qwen3_vl.validation.quality.about import About, Wanted
    from qwen3_vl.validation.quality.evaluate import evaluate
    from qwen3_vl.validation.quality.plot import plotter
    from qwen3_vl.validation.quality.report import Report
    from qwen3_vl.validation.quality.sabotage import SABOTAGES

    names = _chosen(tasks, list(suite.TASKS))
    # What is wrong is told before weights are read, and before hours have passed.
    config = find_config(model)
    for one in (recipe, against):
        compile_recipe(one, config)
    if sabotage and sabotage not in SABOTAGES:
        raise ConfigError(f"there is no sabotage {sabotage!r}; there are: {', '.join(SABOTAGES)}")
    draw = None if plot is None else plotter(plot)
    for file in (json_file, plot):
        _check_place(file)
    with waiting(f"loading {model}"):
        vlm = _load(model, dtype, device)
    plain, processor = vlm.engine.model, vlm.engine.processor
    ours, theirs = _with_recipe(plain, recipe), _with_recipe(plain, against)
    if sabotage:
        ours = SABOTAGES[sabotage](ours)
    # In turns, so that the time that is left can be told.
    questions = [(name, index) for index in range(items) for name in names]
    console = Console(stderr=True)
    shown = track(questions, "asking", console=console, disable=not console.is_terminal)
    asked = (suite.make_item(name, index, level=level) for name, index in shown)
    records = list(evaluate(ours, theirs, processor, asked))
    wanted = Wanted(
        model, recipe, against, suite.VERSION, tuple(names), items, level, sabotage=sabotage
    )
    report = Report.of(About.here(wanted, plain), records)
    _show(report)
    if json_file is not None:
        json_file.write_text(report.to_json(), encoding="utf-8")
    if draw is not None:
        draw(report)


def _show(report: Report) -> None:
    console = Console()
    for table in report.tables():
        console.print(table)
    console.print(f"weights: {report.weights:.2f} of the bytes of the other's")
    console.print(f"verdict: {report.verdict.value}", style="bold")


def _chosen(tasks: str, known: list[str]) -> list[str]:
    if tasks == "all":
        return known
    chosen = [name.strip() for name in tasks.split(",")]
    unknown = [name for name in chosen if name not in known]
    if unknown:
        raise ConfigError(f"there is no task {unknown[0]!r}; there are: {', '.join(known)}")
    if len(set(chosen)) < len(chosen):
        raise ConfigError(f"tasks names one twice: {tasks}; name each once")
    return chosen


def _check_place(file: Path | None) -> None:
    if file is None:
        return
    if file.is_dir():
        raise ConfigError(f"{file} is a folder; name a file in it")
    if not file.absolute().parent.is_dir():
        raise ConfigError(f"{file} cannot be written: there is no folder {file.parent}; make it")


def _load(model: str, dtype: str | None, device: str | None) -> Qwen3VLInference:
    """The plain model, placed as `run` would place it."""
    from qwen3_vl.api import Qwen3VLInference

    flags = {"optimization.dtype": dtype, "gpu.device": device, "optimization.recipe": ""}
    given = {path: value for path, value in flags.items() if value is not None}
    config = build(gather(environment=os.environ) | settings_from(given, "a flag"))
    return Qwen3VLInference.from_config(model, config)


def _with_recipe(
    plain: Qwen3VLForConditionalGeneration, recipe: str
) -> Qwen3VLForConditionalGeneration:
    """The same weights with a recipe: shared, where it does not rewrite them."""
    from qwen3_vl.recipes import compile_recipe

    return plain.with_seams(compile_recipe(recipe, plain.config, plain.device).seams)

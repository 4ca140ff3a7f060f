"""`qwen3-vl inspect`: what a model needs, without reading its weights; what this machine has."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from qwen3_vl.config.recipe import Step

inspect = typer.Typer(help="Look at a model, or at this machine.", no_args_is_help=True)


@inspect.callback()
def _group() -> None:
    """Look at a model, or at this machine."""


@inspect.command()
def model(
    name: Annotated[
        str, typer.Argument(help="A folder, a hub id, 'embedded', or a preset: 2b-instruct.")
    ],
) -> None:
    """Parts, parameters, and bytes of weights and of cache per token."""
    from qwen3_vl.loading import find_config
    from qwen3_vl.models.anatomy import Anatomy

    anatomy = Anatomy.of(find_config(name))
    parts = Table("part", "parameters", "share", title=escape(f"{name}: {anatomy.summary}"))
    for column in parts.columns[1:]:
        column.justify = "right"
    for part, count in anatomy.parts.items():
        parts.add_row(part, f"{count:,}", f"{count / anatomy.parameters:.1%}")
    parts.add_section()
    parts.add_row("all", f"{anatomy.parameters:,}", "100.0%")
    needs = Table("format", "weights", "cache per token", "cache of 4096 tokens")
    for column in needs.columns[1:]:
        column.justify = "right"
    for dtype, size in {"float32": 4, "bfloat16": 2}.items():
        cache = anatomy.cache_numbers_per_token * size
        needs.add_row(
            dtype,
            f"{anatomy.parameters * size / 1e9:.2f} GB",
            f"{cache / 1024:.0f} KiB",
            f"{4096 * cache / 2**20:.0f} MiB",
        )
    console = Console()
    console.print(parts)
    console.print(needs)


@inspect.command()
def hardware(
    model: Annotated[
        str, typer.Option("--model", "-m", help="The model to decide for, as in 'inspect model'.")
    ] = "2b-instruct",
    path: Annotated[
        Path, typer.Option(help="Where its files lie: look at the disk of this folder or file.")
    ] = Path(),
    measure: Annotated[
        bool, typer.Option("--measure", help="Measure memory and disk; takes some seconds.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """What this machine has, and how a model would best run on it."""
    from qwen3_vl.hardware.probe import probe
    from qwen3_vl.hardware.report import describe
    from qwen3_vl.hardware.routing import route
    from qwen3_vl.loading import find_model
    from qwen3_vl.models.anatomy import Anatomy
    from qwen3_vl.ops import native
    from qwen3_vl.recipes import compile_recipe

    files = find_model(model)
    machine = probe(path, measure)
    decision = route(machine, files.needs(compile_recipe("", files.config)))
    if as_json:
        records = {"machine": asdict(machine), "route": asdict(decision)}
        typer.echo(json.dumps(records | {"kernels": native.report()}, indent=2))
        return
    table = Table("what", "found", title="This machine")
    for what, found in describe(machine, measure).items():
        table.add_row(what, Text(found))
    table.add_section()
    kernels = native.report().partition(": ")
    table.add_row(kernels[0], kernels[2])
    table.add_section()
    parameters = Anatomy.of(files.config).parameters
    table.add_row(escape(f"for {model}"), f"{parameters:,} parameters, stored as {files.stored}")
    table.add_row("device", Text(str(decision.device)))
    table.add_row("dtype", Text(str(decision.dtype)))
    table.add_row("threads", Text(str(decision.threads)))
    Console().print(table)


@inspect.command()
def plan(
    name: Annotated[
        str, typer.Argument(help="A folder, a hub id, 'embedded', or a preset: 2b-instruct.")
    ],
    recipe: Annotated[str, typer.Option(help="Techniques, joined with |.")] = "",
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")] = "auto",
) -> None:
    """What a recipe does to a model, seam by seam, before a weight is read."""
    from qwen3_vl.config.footprint import BYTES
    from qwen3_vl.errors import ConfigError
    from qwen3_vl.loading import find_model
    from qwen3_vl.plan import name_of, questions, remarks
    from qwen3_vl.recipes import compile_recipe

    if dtype not in BYTES:
        raise ConfigError(f"dtype is {dtype!r}; it can be {', '.join(BYTES)}")
    files = find_model(name)
    planned, plain = compile_recipe(recipe, files.config), compile_recipe("", files.config)
    table = Table("seam", "question", "answered by", title=escape(f"{name}: {recipe or 'plain'}"))
    for seam, question in questions().items():
        by = [answer.by for answer in planned.answers if answer.seam == seam]
        table.add_row(seam, question, escape(", ".join(by)) or "[dim]nobody: plain")
    console = Console()
    console.print(table)
    for step in planned.steps:
        for remark in remarks(step, planned):
            console.print(escape(f"{name_of(step)}: {remark}"))
    form = files.stored if dtype == "auto" else dtype
    after, before = planned.footprint(form), plain.footprint(form)
    console.print(
        f"weights: {after.weights / 1e9:.2f} GB (plain: {before.weights / 1e9:.2f} GB); "
        f"cache: at most {after.cache_per_token / 1024:.0f} KiB a token"
    )


@inspect.command()
def recipe(
    text: Annotated[str, typer.Argument(metavar="RECIPE", help="Techniques, joined with |.")],
    model: Annotated[
        str, typer.Option("--model", "-m", help="The model to check it for, as in 'inspect model'.")
    ] = "2b-instruct",
) -> None:
    """What a recipe is, step by step: settings, seams, promises, and what the whole promises."""
    from qwen3_vl.config.recipe import parse
    from qwen3_vl.loading import find_config
    from qwen3_vl.plan import keeps_answers, questions
    from qwen3_vl.plugins import promise
    from qwen3_vl.recipes import build, compile_recipe, find

    plan = compile_recipe("", find_config(model))
    table = Table(show_header=False, title=escape(f"{model}: {text or 'plain'}"))
    changing: list[str] = []
    for step in parse(text):
        technique, built = find(step.name), build(step)
        after = plan.then(built)
        seams = [answer.seam for answer in after.answers[len(plan.answers) :]]
        table.add_section()
        table.add_row("technique", Text(step.name, style="bold"))
        table.add_row("settings", Text(_settings(step, built)))
        table.add_row("seam", Text("\n".join(f"{seam}: {questions()[seam]}" for seam in seams)))
        table.add_row("promise", Text(promise(technique)))
        table.add_row("gives", Text(technique.card["Gives"]))
        table.add_row("costs", Text(technique.card["Costs"]))
        if not keeps_answers(built):
            changing.append(step.name)
        plan = after
    console = Console()
    if plan.steps:
        console.print(table)
    names = ", ".join(dict.fromkeys(changing))
    whole = f"not exact: answers may be changed by {names}" if names else "exact: the same answers"
    console.print(Text(f"the whole: {whole}"), soft_wrap=True)


def _settings(step: Step, built: Any) -> str:
    """All settings of a step as a recipe writes them, those marked that it gives."""
    from qwen3_vl.config.recipe import written

    lines = (
        f"{one.name}={written(getattr(built, one.name))}"
        f"{' (given)' if one.name in step.settings else ''}"
        for one in fields(built)
    )
    return "\n".join(lines) or "there are none"

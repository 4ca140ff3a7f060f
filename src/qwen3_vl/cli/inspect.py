"""`qwen3-vl inspect`: what a model is made of and what it needs, without reading its weights."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

inspect = typer.Typer(help="Look at a model without running it.", no_args_is_help=True)


@inspect.callback()
def _group() -> None:
    """Look at a model without running it."""


@inspect.command()
def model(
    name: Annotated[
        str, typer.Argument(help="A folder, a hub id, 'embedded', or a preset: 2b-instruct.")
    ],
) -> None:
    """Parts, parameters, and bytes of weights and of cache per token."""
    from qwen3_vl.api import find_config
    from qwen3_vl.models.anatomy import Anatomy

    anatomy = Anatomy.of(find_config(name))
    parts = Table("part", "parameters", "share", title=f"{name}: {anatomy.summary}")
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

"""`qwen3-vl validate`: prove on your own checkpoint that the model computes what it should."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from qwen3_vl.cli.run import waiting

validate = typer.Typer(help="Prove that a model computes what it should.", no_args_is_help=True)


@validate.callback()
def _group() -> None:
    """Prove that a model computes what it should."""


@validate.command()
def parity(
    model: Annotated[str, typer.Option("--model", "-m", help="A folder or a hub id.")],
    everything: Annotated[
        bool, typer.Option("--all", help="Every case and layer, not only the worst of each kind.")
    ] = False,
) -> None:
    """Compare with transformers in float32, from the token ids to the greedy answer."""
    from qwen3_vl.hub import resolve
    from qwen3_vl.validation.parity import compare, summarise

    folder = resolve(model)
    with waiting("starting") as status:
        rows = compare(folder, tell=status.update)
    table = Table("what", "worst case" if not everything else "case", "difference", "allowed", "")
    for row in rows if everything else summarise(rows):
        mark = "[green]equal" if row.passed else "[red]differs"
        table.add_row(row.what, row.case, f"{row.error:.2g}", f"{row.limit:.2g}", mark)
    Console().print(table)
    failed = sum(not row.passed for row in rows)
    Console(stderr=True).print(f"{len(rows) - failed} of {len(rows)} comparisons passed")
    if failed:
        raise typer.Exit(1)

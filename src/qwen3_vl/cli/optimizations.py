"""`qwen3-vl optimizations`: all techniques, what each gives, costs and promises."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table


def optimizations() -> None:
    """List the techniques that recipes are made of."""
    from qwen3_vl.plugins import promise, techniques

    table = Table("name", "seam", "promise", "gives", "costs", show_lines=True)
    for technique in techniques().values():
        card = technique.card
        row = (technique.name, card["Seam"], promise(technique), card["Gives"], card["Costs"])
        table.add_row(*row)
    console = Console()
    console.print(table)
    console.print('A recipe joins them:  --recipe "weight_int8|sliding_window(window=2048)"')

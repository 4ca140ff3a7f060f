"""`qwen3-vl optimizations`: all techniques, what each gives, costs and promises."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table


def optimizations() -> None:
    """List the techniques that recipes are made of."""
    from qwen3_vl.plan import laws
    from qwen3_vl.plugins import promise, techniques

    table = Table(show_lines=True)
    table.add_column("name", overflow="fold")  # a name that is cut short is none
    for head in ("seam: two of them", "promise", "gives", "costs"):
        table.add_column(head)
    for technique in techniques().values():
        seam, card = technique.card["Seam"], technique.card
        where = f"{seam}: {laws()[seam]}"
        table.add_row(technique.name, where, promise(technique), card["Gives"], card["Costs"])
    console = Console()
    console.print(table)
    console.print('A recipe joins them:  --recipe "weight_int8|sliding_window(window=2048)"')

"""`qwen3-vl pack`: weights in the form that kernels read, made before they are needed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from qwen3_vl.errors import ConfigError


def pack(
    model: Annotated[str, typer.Argument(help="A folder, a hub id, or 'embedded'.")],
    recipe: Annotated[str, typer.Option(help="Techniques, such as 'weight_int4|head_int8'.")],
    file: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Where; by default where a first load puts it."),
    ] = None,
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")] = "auto",
) -> None:
    """Pack weights for a recipe into a file, or check the one that is there."""
    from qwen3_vl.config.origins import build, settings_from
    from qwen3_vl.hub import HubOptions
    from qwen3_vl.loading import place
    from qwen3_vl.models.prepared import check

    settings = settings_from({"gpu.device": "cpu", "optimization.dtype": dtype}, "a flag")
    placed = place(model, recipe, build(settings), HubOptions())
    target = file or placed.packed_file()
    if target is None:
        raise ConfigError(
            f"{recipe!r} has little or nothing to pack in {model}; name a file with --output to "
            "have one nevertheless, or a recipe such as 'weight_int4|head_int8'"
        )
    is_new = not target.exists()
    placed.read(target)
    if not target.exists():
        raise ConfigError(f"{recipe!r} packs no weights; try 'weight_int4|head_int8'")
    check(target)
    size = target.stat().st_size
    typer.echo(f"{'packed into' if is_new else 'intact:'} {target} ({size / 1e6:,.1f} MB)")

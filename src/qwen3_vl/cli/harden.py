"""`qwen3-vl harden`: the same function with the outliers of a large model, to test recipes on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from qwen3_vl.cli.run import waiting
from qwen3_vl.errors import ConfigError


def harden(
    model: Annotated[str, typer.Argument(help="A folder, a hub id, or 'embedded'.")],
    folder: Annotated[Path, typer.Option("--output", "-o", help="Where to write the result.")],
    strength: Annotated[
        float, typer.Option(help="How large outliers are: 1, 4, 16, 64 or another power of two.")
    ] = 16.0,
    seed: Annotated[int, typer.Option(help="Decides which channels become outliers.")] = 0,
) -> None:
    """Write a model that answers alike, but is as hard to round as a large one."""
    from qwen3_vl.api import Qwen3VLInference
    from qwen3_vl.loading import find_model
    from qwen3_vl.validation.quality import hardening

    if Path(model).exists() and folder.exists() and folder.samefile(model):
        raise ConfigError(f"{folder} is the model's own folder; give --output another one")
    with waiting(f"loading {model}"):
        stored = find_model(model).stored
        dtype = "float32" if stored == "float16" else stored  # outliers need the range
        vlm = Qwen3VLInference.from_pretrained(model, dtype=dtype, device_map="cpu")
    with waiting(f"writing {folder}"):
        hardening.harden(vlm.engine.model, strength, seed).save_pretrained(folder)
        vlm.engine.processor.save_pretrained(folder)

"""`qwen3-vl config`: what is set and who set it, whether a file is right, and what can be set."""

from __future__ import annotations

import json
import os
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from qwen3_vl.config.machine import MachineSpecs

config = typer.Typer(help="See and check the settings of a run.", no_args_is_help=True)


class Form(str, Enum):
    """How settings are written."""

    toml = "toml"
    json = "json"
    yaml = "yaml"


@config.command()
def show(
    preset: Annotated[
        str | None, typer.Option(help="Start from minimal, balanced, aggressive or auto.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="A .toml, .yaml or .json file.")
    ] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="section.field=value; repeat for more.")
    ] = None,
    form: Annotated[Form, typer.Option("--format", help="How to write it.")] = Form.toml,
) -> None:
    """Print each value and where it came from: preset, file, environment or --set."""
    from qwen3_vl.config.presets import AUTO, PRESETS
    from qwen3_vl.config.sources import gather
    from qwen3_vl.config.writing import write

    machine = this_machine() if preset == AUTO else None
    settings = gather(preset, file, os.environ, changes or (), machine)
    if preset is not None:
        typer.echo(f"preset {preset} gives up: {PRESETS[preset].cost}", err=True)
    typer.echo(write(settings, form.value), nl=False)


@config.command()
def validate(
    file: Annotated[Path, typer.Argument(help="A .toml, .yaml or .json file.")],
) -> None:
    """Check a file: its keys and values, the recipe's grammar, and contradictions."""
    from qwen3_vl.config.origins import build
    from qwen3_vl.config.sources import read_file
    from qwen3_vl.config.validation import check

    check(build(read_file(file)))
    typer.echo(f"{file} is right")


def this_machine() -> MachineSpecs:
    """The specs of the machine that this runs on."""
    from qwen3_vl.hardware.probe import probe
    from qwen3_vl.hardware.specs import machine_specs

    return machine_specs(probe())


@config.command()
def schema() -> None:
    """Print the JSON schema of a config file, for editors."""
    from qwen3_vl.config.runtime import UnifiedConfig

    typer.echo(json.dumps(UnifiedConfig.model_json_schema(), indent=2))

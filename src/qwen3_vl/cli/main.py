"""The `qwen3-vl` command: collects the commands, and tells errors in one line."""

from __future__ import annotations

import io
import os
import sys
from typing import Annotated

import typer

import qwen3_vl
from qwen3_vl.cli.config import config
from qwen3_vl.cli.demo import demo
from qwen3_vl.cli.evaluate import evaluation
from qwen3_vl.cli.inspect import inspect
from qwen3_vl.cli.optimizations import optimizations
from qwen3_vl.cli.pack import pack
from qwen3_vl.cli.rewrite import balance, harden
from qwen3_vl.cli.run import run
from qwen3_vl.cli.train import train
from qwen3_vl.cli.validate import validate
from qwen3_vl.errors import Qwen3VLError

app = typer.Typer(
    name="qwen3-vl",
    help="Run Qwen3-VL vision-language models on the hardware you own.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command()(run)
app.command()(demo)
app.command()(optimizations)
app.command()(balance)
app.command()(harden)
app.command()(pack)
app.add_typer(inspect, name="inspect")
app.add_typer(validate, name="validate")
app.add_typer(evaluation, name="eval")
app.add_typer(config, name="config")
app.add_typer(train, name="train")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"qwen3-vl {qwen3_vl.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True),
    ] = False,
) -> None:
    """Options that come before a command."""


def main() -> None:
    """Run the command line; an error that is no bug is one line on stderr and exit code 2."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # not so where a test or a program caught it
            stream.reconfigure(errors="replace")  # a pipe on Windows may not know all letters
    try:
        app()
    except Qwen3VLError as error:
        _tell(error)
        sys.exit(2)
    except OSError as error:  # such as a full disk behind stdout
        _tell(error)
        # Or Python would fail once more on what is left in stdout's buffer.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


def _tell(error: Exception) -> None:
    line = " ".join(str(error).splitlines())
    typer.secho(f"error: {line}", fg=typer.colors.RED, err=True)

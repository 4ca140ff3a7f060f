"""`qwen3-vl demo`: a question about a picture, answered offline by the embedded model."""

from __future__ import annotations

from importlib.resources import as_file, files

from rich.console import Console
from rich.markup import escape

from qwen3_vl.cli.run import answer
from qwen3_vl.config.generation import GenerationOptions

_QUESTION = "What do you see?"


def demo() -> None:
    """Answer a question about a picture with the model inside the package."""
    console = Console()
    console.print(
        "The embedded model is [bold]not trained yet[/bold]: its weights follow from a seed. "
        "It sees the picture and answers through the real code, but its words mean nothing.\n"
    )
    with as_file(files("qwen3_vl") / "assets" / "shapes.png") as picture:
        console.print(escape(f"picture:  {picture}\nquestion: {_QUESTION}\nanswer:"))
        options = GenerationOptions(max_new_tokens=48, seed=0)
        answer("embedded", _QUESTION, [str(picture)], [], options, stats=True)
    console.print(
        "\nWith real weights:  qwen3-vl run -m Qwen/Qwen3-VL-2B-Instruct "
        '-i photo.jpg "What is in this picture?"'
    )

"""`qwen3-vl demo`: questions about pictures, answered offline by the embedded model."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from qwen3_vl.cli.run import harmless, waiting

if TYPE_CHECKING:
    from qwen3_vl.validation.quality.item import Item, Part


def demo(
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Where to draw the box that it finds: a PNG.")
    ] = Path("demo_box.png"),
) -> None:
    """Ask the model inside the package about pictures: how many, what, where, which box."""
    from qwen3_vl.api import Qwen3VLInference

    console = Console()
    with waiting("loading the embedded model"):
        vlm = Qwen3VLInference("embedded")
    parameters = sum(one.numel() for one in vlm.engine.model.parameters())
    console.print(
        f"The embedded model has {parameters / 1e6:.1f} million parameters and has learned shapes, "
        "letters and short texts. It has not seen these pictures before; they are some that it "
        "gets right, and docs/playground.md tells how many it does.",
        highlight=False,
    )
    words, seconds = 0, 0.0
    with as_file(files("qwen3_vl") / "assets" / "samples") as folder:
        console.print(f"They are in {escape(str(folder))}\n", highlight=False, soft_wrap=True)
        for item in _samples(folder):
            started = time.perf_counter()
            pieces = list(vlm.chat(item.prompt))
            seconds += time.perf_counter() - started
            words += pieces[-1].answer_tokens
            said = "".join(piece.text for piece in pieces)
            *shown, question = item.turns[0].content
            names = ", ".join(path.name for path in _files(shown))
            console.print(f"{names}: {escape(question['text'])}", highlight=False)
            right = "[green]right" if item.score(said) else f"[red]wrong: {escape(item.answer)}"
            console.print(f"  [bold]{escape(harmless(said))}[/bold]  {right}", highlight=False)
            if item.kind == "box":
                _draw(_files(shown)[0], said, out)
                console.print(f"  drawn in {escape(str(out))}", highlight=False, soft_wrap=True)
    console.print(
        f"\n{words} answer tokens in {seconds:.2f} s, pictures and prompts included: "
        f"{words / seconds:.0f} tokens/s",
        highlight=False,
    )
    console.print(
        "\nWith real weights:  qwen3-vl run -m Qwen/Qwen3-VL-2B-Instruct "
        '-i photo.jpg "What is in this picture?"'
    )


def _samples(folder: Path) -> list[Item]:
    """What is asked about the pictures of the package."""
    from qwen3_vl.validation.quality.item import Item, Turn

    found: list[Item] = []
    for one in json.loads((folder / "questions.json").read_text(encoding="utf-8")):
        for part in one["content"]:
            if part["type"] == "image":
                part["image"] = str(folder / part["image"])
            elif part["type"] == "video":
                part["video"] = [str(folder / frame) for frame in part["video"]]
        found.append(Item("sample", (Turn(tuple(one["content"]), one["answer"]),), one["kind"]))
    return found


def _files(shown: Iterable[Part]) -> list[Path]:
    """The pictures of a question; those of a video are its frames."""
    return [Path(name) for part in shown for name in part.get("video") or [part["image"]]]


def _draw(picture: Path, said: str, out: Path) -> None:
    """The boxes of an answer on their picture, large enough to look at."""
    from PIL import Image

    from qwen3_vl.processing.boxes import draw_boxes, read_boxes

    with Image.open(picture) as opened:
        large = opened.resize((4 * opened.width, 4 * opened.height), Image.Resampling.NEAREST)
    draw_boxes(large, read_boxes(said)).save(out, format="PNG")

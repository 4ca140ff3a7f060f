"""`qwen3-vl run`: ask one question about pictures and videos, and see the answer as it comes."""

from __future__ import annotations

import os
import sys
import time
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.status import Status

from qwen3_vl.cli.config import this_machine
from qwen3_vl.config.generation import GenerationOptions
from qwen3_vl.config.origins import build, settings_from
from qwen3_vl.config.presets import AUTO
from qwen3_vl.config.runtime import UnifiedConfig
from qwen3_vl.config.sources import gather
from qwen3_vl.hub import expanded

if TYPE_CHECKING:
    from qwen3_vl.hardware.routing import Route

_ModelOption = typer.Option("--model", "-m", help="A folder, a hub id, or 'embedded'.")


def run(
    question: Annotated[str, typer.Argument(help="The question; '-' reads it from stdin.")],
    model: Annotated[str, _ModelOption] = "Qwen/Qwen3-VL-2B-Instruct",
    image: Annotated[
        list[str] | None, typer.Option("--image", "-i", help="A picture; repeat for more.")
    ] = None,
    video: Annotated[
        list[str] | None, typer.Option("--video", "-v", help="A video; repeat for more.")
    ] = None,
    system: Annotated[str | None, typer.Option(help="A system message.")] = None,
    max_new_tokens: Annotated[int | None, typer.Option(help="Length of the answer.")] = None,
    temperature: Annotated[
        float | None, typer.Option(help="Randomness; 0 always takes the likeliest token.")
    ] = None,
    top_k: Annotated[int | None, typer.Option(help="Sample from the k likeliest tokens.")] = None,
    top_p: Annotated[float | None, typer.Option(help="Sample from this much probability.")] = None,
    min_p: Annotated[
        float | None, typer.Option(help="Drop tokens below this share of the likeliest.")
    ] = None,
    repetition_penalty: Annotated[
        float | None, typer.Option(help="Above 1 weakens what was said before.")
    ] = None,
    presence_penalty: Annotated[
        float | None, typer.Option(help="Above 0 weakens what the answer has said.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Makes sampling repeatable.")] = None,
    stop: Annotated[
        list[str] | None, typer.Option(help="End before this text; repeat for more.")
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(help="Techniques, such as 'weight_int8|sliding_window(window=2048)'."),
    ] = None,
    dtype: Annotated[str | None, typer.Option(help="auto, float32, bfloat16 or float16.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1, …")] = None,
    preset: Annotated[
        str | None, typer.Option(help="Settings by name: minimal, balanced, aggressive or auto.")
    ] = None,
    file: Annotated[Path | None, typer.Option("--config", help="A file of settings.")] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="section.field=value; repeat for more.")
    ] = None,
    stats: Annotated[
        bool, typer.Option(help="Print token counts, speed, device, dtype and threads.")
    ] = False,
) -> None:
    """Ask a question about pictures and videos, or without any."""
    options = GenerationOptions(
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        repetition_penalty=repetition_penalty,
        presence_penalty=presence_penalty,
        seed=seed,
        stop=stop or None,
    )
    text = sys.stdin.read() if question == "-" else question
    flags = {
        "optimization.recipe": recipe,
        "optimization.dtype": dtype,
        "gpu.device": device,
    }
    config = _config(model, preset, file, changes or (), flags)
    answer(model, text, _media(image), _media(video), options, config, system, stats)


def answer(
    model: str,
    text: str,
    images: list[str],
    videos: list[str],
    options: GenerationOptions,
    config: UnifiedConfig | None = None,
    system: str | None = None,
    stats: bool = False,
) -> None:
    """Load, ask, print while the answer comes, and tell the speed if it is wanted."""
    # Imported here so that --help does not wait for torch.
    from qwen3_vl.api import Qwen3VLInference, user_message

    with waiting(f"loading {model}"):
        vlm = Qwen3VLInference.from_config(model, config or UnifiedConfig())
    if vlm.route is not None and vlm.route.device.passed_over:
        typer.echo(f"on {vlm.route.device}", err=True)
    messages = user_message(text, images, videos)
    if system is not None:
        messages.insert(0, {"role": "system", "content": system})
    started = time.perf_counter()
    pieces = vlm.chat(messages, **options)
    with waiting("reading the prompt" if not images else "looking"):
        first = next(pieces)
    first_at = time.perf_counter()
    typer.echo(harmless(first.text), nl=False)
    last = first
    for last in pieces:
        typer.echo(harmless(last.text), nl=False)
    typer.echo()
    if stats:
        wait, rest = first_at - started, time.perf_counter() - first_at
        timed = last.answer_tokens - 1  # the first came with the prompt
        speed = f"{timed / rest:.1f} tokens/s" if timed > 0 else "-"
        Console(stderr=True).print(
            f"{last.prompt_tokens} prompt tokens, first token after {wait:.2f} s, "
            f"{last.answer_tokens} answer tokens at {speed}, ended by {last.finish_reason}"
        )
        if vlm.route is not None:
            typer.echo(_ran(vlm.route), err=True)


def _ran(route: Route) -> str:
    """Where and how it ran, and why; what was passed over is told when the model is loaded."""
    device, dtype, threads = route.device, route.dtype, route.threads
    passed_over = "".join(f"; {reason}" for reason in dtype.passed_over)
    return (
        f"device {device.used} ({device.why}), dtype {dtype.used} ({dtype.why}{passed_over}), "
        f"threads {threads.count} ({threads.why})"
    )


def _config(
    model: str,
    preset: str | None,
    file: Path | None,
    changes: Iterable[str],
    flags: Mapping[str, str | None],
) -> UnifiedConfig:
    """All that was set, the flags over everything else."""
    machine, shape = None, None
    if preset == AUTO:
        from qwen3_vl.loading import find_config

        machine, shape = this_machine(), find_config(model)
    settings = gather(preset, file, os.environ, changes, machine, shape)
    given = {path: value for path, value in flags.items() if value is not None}
    return build(settings | settings_from(given, "a flag"))


def waiting(what: str) -> Status:
    """Tells on a terminal what takes so long; elsewhere it would leave an empty line."""
    console = Console(stderr=True)
    console.quiet = not console.is_terminal
    return console.status(escape(what))


def harmless(text: str) -> str:
    """The text without control characters, with which a model could steer the terminal."""
    return "".join(
        "\ufffd" if unicodedata.category(c) == "Cc" and c not in "\n\t" else c for c in text
    )


def _media(sources: Iterable[str] | None) -> list[str]:
    """Paths with ~ expanded; URLs as they are."""
    return [s if "://" in s or s.startswith("data:") else str(expanded(s)) for s in sources or ()]

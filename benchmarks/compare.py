"""Qwen3-VL-2B on this machine's CPU: this package beside other engines, in turns, in one run.

    python -m benchmarks.compare                     # everything: hours, and some 30 GB of disk
    python -m benchmarks.compare --short             # only transformers, a few minutes (make bench)
    python -m benchmarks.compare --engines qwen3_vl llama.cpp-q4_0 --measures prefill decode-128
    python -m benchmarks.compare --isa avx2 --json avx2.json --png avx2.png
    python -m benchmarks.compare --page full.json avx2.json > docs/performance.md

Weights are random. They are made once in the cache folder (QWEN3_VL_CACHE), where the peers get
Python environments of their own too. What cannot be installed or measured is told with the reason.
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from benchmarks.comparison.checkpoint import random_checkpoint
from benchmarks.comparison.contenders import FASTEST, HOLDS, OURS, Contender, contenders
from benchmarks.comparison.measures import MEASURES, chosen
from benchmarks.comparison.page import page, read
from benchmarks.comparison.report import chart, show, write
from benchmarks.comparison.rounds import Found, Setting, compare
from benchmarks.machine import READ_BYTES, rate, reading_seconds
from qwen3_vl import _native
from qwen3_vl.hardware.probe import probe
from qwen3_vl.loading import cache_folder
from qwen3_vl.ops import native

SHORT = ("prefill-128", "decode-128", "first-640x480")
SHORT_ENGINES = (OURS, "transformers-bf16")
SHORT_ROUNDS, SHORT_SECONDS = 3, 60.0  # of each measure
ROUNDS = 5
MARGIN = 2.0
"""Gigabytes that are left to the system and to this process."""


def main(words: Sequence[str] | None = None) -> None:
    """Measure, print, and write what is asked for."""
    given = arguments(words)
    if given.page:
        print(page(read(given.page)), end="")
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))  # and the workers with it
    if given.isa:
        native.force(given.isa)  # so that the limits are those of this variant too
    console = Console(stderr=True)
    draw = chart(given.png) if given.png else None
    setting = Setting(
        checkpoint=random_checkpoint(given.checkpoint),
        cache=cache_folder(),
        threads=given.threads,
        rounds=given.rounds,
        limits=limits(given.threads),
        tell=partial(console.print, highlight=False),
        keep=lambda found: write(described(given, found), given.json) if given.json else None,
        seconds=SHORT_SECONDS if given.short else math.inf,
    )
    found = compare(given.engines, given.measures, given.memory or free_gigabytes(), setting)
    told = described(given, found)
    show(told, Console())
    if draw:
        draw(told)


def arguments(words: Sequence[str] | None) -> argparse.Namespace:
    """What the command is told, checked."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--engines", nargs="+", metavar="NAME", help=", ".join(contenders()))
    options.add_argument("--measures", nargs="+", metavar="NAME", help=", ".join(MEASURES))
    options.add_argument("--rounds", type=int, help=f"by default {ROUNDS}")
    options.add_argument("--threads", type=int, default=cores(), help="by default all cores")
    options.add_argument("--recipe", default=FASTEST, help=f"of {OURS}; by default {FASTEST}")
    options.add_argument("--isa", choices=HOLDS, help="hold all engines to it")
    options.add_argument("--checkpoint", type=Path, help="a folder in bfloat16; else it is made")
    options.add_argument("--memory", type=float, help="gigabytes for all engines at a time")
    options.add_argument("--short", action="store_true", help="a few minutes, installs nothing")
    options.add_argument(
        "--json", type=Path, metavar="FILE", help="write what is measured, as it comes"
    )
    options.add_argument("--png", type=Path, metavar="FILE", help="draw it")
    options.add_argument(
        "--page", type=Path, nargs="+", metavar="JSON", help="print the page of the docs, and end"
    )
    given = options.parse_args(words)
    if given.short:
        given.engines = given.engines or SHORT_ENGINES
        given.measures = given.measures or SHORT
    given.rounds = given.rounds or (SHORT_ROUNDS if given.short else ROUNDS)
    if given.rounds < 1 or given.threads < 1:
        options.error("--rounds and --threads must be at least 1")
    if given.png and given.png.suffix.lower() != ".png":
        options.error(f"--png {given.png} must end in .png")
    every = contenders(given.recipe, given.isa or "")
    try:
        given.measures = chosen(given.measures or ())
        given.engines = picked(every, given.engines)
    except ValueError as error:
        options.error(str(error))
    return given


def picked(every: dict[str, Contender], names: Sequence[str] | None) -> list[Contender]:
    """Engines by name, our own first: it is what the others are compared with."""
    for name in names or ():
        if name not in every:
            raise ValueError(f"no engine {name}; there are {', '.join(every)}")
    wanted = names or [name for name, one in every.items() if not one.asked_for]
    return [one for name, one in every.items() if name in wanted or name == OURS]


def cores() -> int:
    """Those that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def limits(threads: int) -> Callable[[], dict[str, float]]:
    """Asks the machine how fast it reads and multiplies right now."""
    variant = native.variant()
    if variant is None:
        raise SystemExit(f"{native.report()}; install the package again where a compiler is")
    pool, memory = _native.Pool(threads), torch.zeros(READ_BYTES // 4)

    def ask() -> dict[str, float]:
        return {
            "read": READ_BYTES / reading_seconds(variant, pool, memory),
            "int8": rate(partial(variant.product_rounds, pool), 0.1),
            "float": rate(partial(variant.float_rounds, pool), 0.1),
        }

    return ask


def free_gigabytes() -> float:
    """What engines may take together."""
    usable = probe(gpus=False).memory.available
    return float("inf") if usable is None else usable / 1e9 - MARGIN


def described(given: argparse.Namespace, found: Found) -> dict[str, Any]:
    """All that was measured and how, as JSON."""
    machine, variant = probe(gpus=False), native.variant()
    return {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
        "machine": {
            "cpu": machine.cpu.model,
            "cores": machine.cpu.physical,
            "memory": machine.memory.total,
            "system": machine.system,
            "python": platform.python_version(),
            "variant": variant.name if variant else None,
        },
        "settings": {
            "threads": given.threads,
            "rounds": given.rounds,
            "recipe": given.recipe,
            "isa": given.isa,
        },
        "asked": [one.name for one in given.measures],
        "engines": found.engines,
        "limits": found.limits,
        "figures": [asdict(one) for one in found.figures],
    }


if __name__ == "__main__":
    main()

"""What this machine can do at most: reads, products, and how fast its threads meet.

    python benchmarks/machine.py [--threads 1 2 4] [--seconds 0.3]

Kernels are judged by their share of these figures, taken in the same minute: a machine that is
shared with others swings by a factor of two.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from statistics import median

import torch
from rich.console import Console
from rich.table import Table

from qwen3_vl import _native
from qwen3_vl.ops import native

RUNS = 5
READ_BYTES = 512 * 2**20
"""More than any cache holds."""


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--threads", type=int, nargs="+", default=[1, torch.get_num_threads()])
    options.add_argument("--seconds", type=float, default=0.3, help="for one run of a loop")
    given = options.parse_args()
    memory = torch.zeros(READ_BYTES // 4)
    table = Table("threads", "variant", "read GB/s", "int8 GMAC/s", "float32 GMAC/s", "meeting ns")
    for column in table.columns[2:]:
        column.justify = "right"
    for threads in sorted(set(given.threads)):
        pool = _native.Pool(threads)
        meeting = 1e9 * meeting_seconds(pool)
        for variant in native.available_variants():
            read = READ_BYTES / reading_seconds(variant, pool, memory)
            small = rate(partial(variant.product_rounds, pool), given.seconds)
            large = rate(partial(variant.float_rounds, pool), given.seconds)
            figures = (read / 1e9, small / 1e9, large / 1e9, meeting)
            table.add_row(str(threads), variant.name, *(f"{one:,.0f}" for one in figures))
    Console().print(table)


def rate(loop: Callable[[int], int], seconds: float) -> float:
    """Products a second, the median of some runs that each take about so long."""
    rounds = 1000
    while (took := timed(partial(loop, rounds))) < seconds / 4:
        rounds *= 2
    run = partial(loop, max(1, round(rounds * seconds / took)))
    products = run()
    return median(products / timed(run) for _ in range(RUNS))


def reading_seconds(variant: _native.Variant, pool: _native.Pool, memory: torch.Tensor) -> float:
    """Once through the memory."""
    read = partial(variant.read, pool, memory.data_ptr(), memory.numel())
    read()
    return median(timed(read) for _ in range(RUNS))


def meeting_seconds(pool: _native.Pool, times: int = 10_000) -> float:
    """For all threads to be called and to have ended."""
    meet = partial(pool.meet, times)
    meet()
    return median(timed(meet) / times for _ in range(RUNS))


def timed(work: Callable[[], object]) -> float:
    """How long it takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()

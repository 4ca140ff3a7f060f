"""The page of the docs that tells how fast the package is: made of the JSON of comparisons."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.comparison.contenders import AVX2, BF16, OURS
from benchmarks.comparison.measures import MEASURES
from benchmarks.comparison.report import COLUMNS, EXPLAINED, refusals, tables
from benchmarks.comparison.results import Results, middle

LLAMA = "llama.cpp-q4_0"
LLAMA_K = "llama.cpp-q4_k_m"
OPENVINO = "openvino-int4"
TRANSFORMERS = "transformers-bf16"
WIDE = ("avx512", "amx")
"""Kernels for AVX-512 and what goes beyond it, by what their names begin with."""
NARROW = (AVX2,)
LAYER_PRODUCTS = 28 * (2 * 2048 * (2048 + 1024) + 3 * 2048 * 6144)
"""For each token of a prompt, in the matrices of the 2B model's decoder."""
COMMAND = "python -m benchmarks.compare --page benchmarks/performance/*.json > docs/performance.md"


@dataclass(frozen=True)
class Target:
    """What is aimed at, with one family of our kernels."""

    text: str
    against: str
    kernels: tuple[str, ...]
    """How the name of the variant in use may begin."""
    bound: float
    value: Callable[[Results], float | None]
    needs: Sequence[tuple[str, str]]
    """Measures and engines."""
    most: bool = False
    """The bound is an upper one."""
    share: bool = False

    def told(self, value: float) -> str:
        """A figure of this kind."""
        return f"{100 * value:.0f} %" if self.share else f"{value:.2f} ×"

    @property
    def wanted(self) -> str:
        """The bound in words."""
        return f"{'at most' if self.most else 'at least'} {self.told(self.bound)}"

    def rows(self, comparisons: Iterable[Results]) -> list[tuple[str, ...]]:
        """A row of the table for each variant, from its first comparison that has the figures."""
        reached: dict[str, float] = {}
        reasons = []
        for results in comparisons:
            if results.variant.startswith(self.kernels):
                value = self.value(results)
                if value is not None:
                    reached.setdefault(results.variant, value)
                reasons += [
                    f"{engine}: {results.reason(measure, engine)}"
                    for measure, engine in self.needs
                    if not results.figures(measure, engine)
                ]
        begin = self.text, self.against, self.wanted
        if reached:
            return [
                (*begin, self.told(value), name, self.won(value)) for name, value in reached.items()
            ]
        why = "; ".join(dict.fromkeys(reasons)) or f"no comparison with {self.kernels[0]} kernels"
        return [(*begin, "", "", f"not measured ({why})")]

    def won(self, value: float) -> str:
        """Or lost."""
        reached = value <= self.bound if self.most else value >= self.bound
        return "**won**" if reached else "lost"


def faster(
    text: str,
    measure: str,
    bound: float,
    *against: str,
    kernels: tuple[str, ...] = WIDE,
    own: str = OURS,
) -> Target:
    """How many times our time the best of these engines takes."""

    def value(results: Results) -> float | None:
        ratios = [results.ratio(measure, own, one) for one in against]
        return None if None in ratios else min(one for one in ratios if one is not None)

    needs = [(measure, one) for one in (own, *against)]
    return Target(text, " or ".join(against), kernels, bound, value, needs)


def smaller(text: str, measure: str, bound: float, against: str) -> Target:
    """Our peak memory as a part of that of another engine."""

    def value(results: Results) -> float | None:
        return results.ratio(measure, against, OURS, "peak")

    needs = [(measure, OURS), (measure, against)]
    return Target(text, against, WIDE, bound, value, needs, most=True)


def of_reading(text: str, measure: str, bound: float) -> Target:
    """Our part of the stream read."""

    def value(results: Results) -> float | None:
        return results.reading_share(measure)

    needs = [(measure, OURS)]
    return Target(text, "the stream read", WIDE, bound, value, needs, share=True)


def of_peak(text: str, measure: str, bound: float) -> Target:
    """Our part of the peak loop."""

    def value(results: Results) -> float | None:
        return results.product_share(measure, MEASURES[measure].tokens * LAYER_PRODUCTS)

    return Target(text, "the peak loop", WIDE, bound, value, [(measure, OURS)], share=True)


def in_steps(text: str, drafts: str, step: str, bound: float, kernels: tuple[str, ...]) -> Target:
    """The time of drafts in steps."""

    def value(results: Results) -> float | None:
        pairs = zip(results.figures(drafts, OURS), results.figures(step, OURS), strict=False)
        return next((middle(many) / middle(one) for many, one in pairs), None)

    needs = [(drafts, OURS), (step, OURS)]
    return Target(text, "our decode of 1", kernels, bound, value, needs, most=True)


SEEN = "first token, 1024×768"
TARGETS = (
    faster("decode, int4, context 128", "decode-128", 1.3, LLAMA),
    of_reading("decode, int4, context 128", "decode-128", 0.92),
    faster("decode, int4 and int8 KV, context 8k", "decode-8192", 1.8, LLAMA),
    faster("decode, AVX2, context 128", "decode-128", 1.25, LLAMA, kernels=NARROW),
    in_steps("verify of 4 draft tokens", "verify-128", "decode-128", 1.15, WIDE),
    in_steps("verify of 4 draft tokens, AVX2", "verify-128", "decode-128", 1.5, NARROW),
    faster("prefill 512", "prefill-512", 1.9, OPENVINO),
    of_peak("prefill 512", "prefill-512", 0.8),
    faster("prefill 512, AVX2", "prefill-512", 2.9, LLAMA, LLAMA_K, kernels=NARROW),
    faster("image encode, 1024×768", "encode-1024x768", 3.8, TRANSFORMERS),
    faster(f"{SEEN}, warm", "first-1024x768", 1.25, OPENVINO),
    faster(f"{SEEN}, warm", "first-1024x768", 3.8, LLAMA),
    faster(f"{SEEN}, warm", "first-1024x768", 3.2, TRANSFORMERS),
    faster("first token, 640×480, warm", "first-640x480", 1.15, OPENVINO),
    faster(f"{SEEN}, AVX2", "first-1024x768", 2.8, LLAMA, kernels=NARROW),
    faster(f"{SEEN}, from process start", "start-1024x768", 1.6, OPENVINO),
    smaller("peak memory up to that prompt", "first-1024x768", 0.6, LLAMA),
    faster("decode, bf16 weights", "decode-128", 2.2, TRANSFORMERS, own=BF16),
)


def read(files: Sequence[Path]) -> list[Results]:
    """Comparisons, the one that counts first."""
    return [Results(json.loads(path.read_text(encoding="utf-8"))) for path in files]


def page(comparisons: Sequence[Results]) -> str:
    """All of it, in Markdown."""
    targets = table(
        ("", "against", "target", "reached", "kernels", ""),
        (row for one in TARGETS for row in one.rows(comparisons)),
    )
    parts = "\n".join(part(alike) for alike in together(comparisons))
    return f"""# Performance

How fast Qwen3-VL-2B runs on a CPU with this package, beside other engines on the same machine in
the same run. Weights are random, which changes no engine's work. Engines take turns: each round
asks all of them once, and in between the machine is asked how fast it reads memory and multiplies,
because one that is shared with others swings by a factor of two. Prompts, token counts, threads
and the room for the context are the same for all; no round repeats a prompt or a picture. Keys and
values are in the format that each engine has by default, ours in that of the recipe. The vision
tower is timed alone, but OpenVINO's with its pixels made ready, because it tells only both. The
first step after a pause is not counted: it can take several times as long as the next, where the
host of a virtual machine has laid memory aside.

```console
python -m benchmarks.compare --json FILE                # everything: hours, and 30 GB of disk
python -m benchmarks.compare --isa avx2 --json FILE     # all held to AVX2, as laptops have it
python -m benchmarks.compare --isa avx512bf16 --json FILE           # to AVX-512, without tiles
make bench                                              # minutes, against transformers alone
```

This page is made of such files (`{COMMAND}`).

## Targets

A ratio is the peer's time divided by ours, of medians; above 1 we are faster.

{targets}

## Figures

{EXPLAINED}

{parts}"""


def together(comparisons: Iterable[Results]) -> list[list[Results]]:
    """Those with the same heading, in the order of their first."""
    found: dict[str, list[Results]] = {}
    for one in comparisons:
        found.setdefault(heading(one), []).append(one)
    return list(found.values())


def heading(results: Results) -> str:
    """With which kernels, when, where and how."""
    told = results.told
    machine, settings = told["machine"], told["settings"]
    return f"""### With {results.variant} kernels, {told["date"]}

{machine["cpu"]}, {machine["cores"]} cores, {machine["memory"] / 1e9:.0f} GB, {machine["system"]},
Python {machine["python"]}; {settings["threads"]} threads. Our recipe:
`{settings["recipe"]}`."""


def part(alike: Sequence[Results]) -> str:
    """Comparisons with the same heading: the versions, and all figures."""
    versions = dict.fromkeys(row for one in alike for row in version_rows(one))
    return "\n\n".join(
        (heading(alike[0]), table(("engine", "versions"), versions), *map(figures, alike), "")
    )


def version_rows(results: Results) -> Iterator[tuple[str, str]]:
    """Of each engine."""
    for name, about in results.told["engines"].items():
        if "versions" in about:
            yield name, ", ".join(f"{one} {number}" for one, number in about["versions"].items())


def figures(results: Results) -> str:
    """The table of one comparison, and what it lacks."""
    rounds = f"Medians of {results.told['settings']['rounds']} rounds:"
    told = f"{rounds}\n\n{table(COLUMNS, lines(results))}"
    refused = "\n".join(
        f"- {engine}: {measures}: {reason}" for engine, measures, reason in refusals(results)
    )
    return f"{told}\n\nNot measured:\n\n{refused}" if refused else told


def lines(results: Results) -> Iterator[tuple[str, ...]]:
    """The figures, measure by measure."""
    for title, found in tables(results):
        yield (f"**{title}**",)
        yield from found


def table(columns: Sequence[str], cells: Iterable[Sequence[str]]) -> str:
    """A table of Markdown; short rows are filled up."""
    made = [columns, ["---"] * len(columns)]
    made += [[*row, *[""] * (len(columns) - len(row))] for row in cells]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|").strip() for cell in row) + " |" for row in made
    )

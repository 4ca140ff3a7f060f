"""A hook of mkdocs: a page for each technique and a table of all, made while the docs are built.

They are made of what the code says and of what `benchmarks/quality.py` measured, and never written
to disk, so they cannot be out of date.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, Field, fields
from inspect import cleandoc, formatannotation, getsource
from itertools import pairwise
from pathlib import Path
from textwrap import dedent
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel

from qwen3_vl.config.recipe import written
from qwen3_vl.plugins import Technique, promise, techniques
from qwen3_vl.seams import Seams

FOLDER = "techniques"
MEASURED = Path(__file__).parents[1] / "benchmarks" / "quality"
COLUMNS = (
    "recipe",
    "right",
    "difference",
    "nats",
    "KL",
    "KL 99 %",
    "top-1",
    "weights",
    "cache: most",
    "at the end",
    "worst task",
    "verdict",
)
EXPLAINED = """Each recipe and the plain model get the same items, equally many of every task;
`python benchmarks/quality.py "RECIPE"` does it again. *Right* is the share of right answers of all
tasks with the recipe; *difference* is that less the plain model's, with its 95 % interval; *nats*
is how much more surprising the texts of `grammar` are; *KL* and *top-1* compare the distributions
of the next token; *weights* and *cache* are bytes as a share of the plain model's; the worst task
is the one that lost most. The [verdict](../quality.md#what-the-verdict-says) is that of all
answers. *Outliers × 16* is the [hardened](../quality.md#harder-to-round-harden) model, on which
what rounds must be judged too. *FRESH* is an adapter of rank 8 that adds nothing yet."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages; that of a technique is reached from the table, which stands in the nav."""
    found = techniques()
    files.append(File.generated(config, f"{FOLDER}/index.md", content=index(found)))
    for name, technique in found.items():
        made = {"content": page(technique), "inclusion": InclusionLevel.NOT_IN_NAV}
        files.append(File.generated(config, f"{FOLDER}/{name}.md", **made))
    return files


def index(found: Mapping[str, Technique]) -> str:
    """The page with all techniques, and the seams that they answer."""
    rows = (
        (link(one), one.title, f"`{one.card['Seam']}`", promise(one), one.card["Gives"])
        for one in found.values()
    )
    seams = (
        (
            f"`{one.name}`",
            one.metadata["question"],
            one.metadata["law"].value,
            ", ".join(link(by) for by in found.values() if by.card["Seam"] == one.name),
        )
        for one in fields(Seams)
    )
    return f"""# Techniques

What [recipes](../recipes.md) are made of. Each promises to be *exact* (the same answers), *neutral*
at some settings (the same answers there), or *bounded* (at its defaults the logits change by at
most so much).

{table(("technique", "title", "seam", "promise", "gives"), rows)}

## What they cost in answers

Measured on the embedded model with the tasks of the [playground](../playground.md); what each
column says stands [below a technique's own table](#how-it-was-measured). Losses of so small a model
tell the mechanism and the order of settings, not what the 2B model loses.

{costs(found)}

### How it was measured

{EXPLAINED}

## Seams

A technique answers a seam differently; where none does, the model is plain. The law of a seam says
whether two techniques go together.

{table(("seam", "question", "two techniques", "techniques"), seams)}
"""


def page(technique: Technique) -> str:
    """The page of a technique: what its docstring, its promise and its fields say."""
    card = technique.card
    (seam,) = (one for one in fields(Seams) if one.name == card["Seam"])
    rows = [
        ("Promise", promise(technique)),
        ("Gives", card["Gives"]),
        ("Costs", card["Costs"]),
        ("Avoid", card["Avoid"]),
        ("Seam", f"[`{seam.name}`](index.md#seams): {seam.metadata['question']}"),
        ("Two of them", seam.metadata["law"].value),
        ("Paper", card["Paper"]),
    ]
    explained = explanations(technique.kind)
    settings = [
        (f"`{one.name}`", f"`{type_of(one)}`", f"`{default(one)}`", explained.get(one.name, ""))
        for one in settings_of(technique)
    ]
    return f"""# {technique.title}

{table((f"`{technique.name}`", ""), rows)}

## Settings

{table(("setting", "type", "default", ""), settings) if settings else "There are none."}

In a recipe, with all defaults written out:

```text
{example(technique)}
```

## What it costs in answers

{cost(technique.name)}

[How it was measured](index.md#how-it-was-measured)
"""


def costs(found: Iterable[str]) -> str:
    """One table with the rows of all techniques."""
    return table(COLUMNS, (cells(row) for name in found for row in measured(name)))


def cost(name: str) -> str:
    """The rows of one technique."""
    rows = measured(name)
    if not rows:
        return f"Not measured yet: `python benchmarks/quality.py {name}`."
    return table(COLUMNS, map(cells, rows))


def measured(name: str) -> list[dict[str, Any]]:
    """What was found for a technique; nothing for one of another package."""
    path = MEASURED / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8"))["rows"] if path.is_file() else []


def cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    """A row as the table has it."""
    recipe = f"`{row['recipe']}`"
    if row["strength"] > 1:
        recipe += f", outliers × {row['strength']}"
    if "refused" in row:
        return (recipe, *["–"] * (len(COLUMNS) - 2), f"not measured: {row['refused']}")
    low, high = (100 * end for end in row["gain_interval"])
    task, loss = row["worst"]
    return (
        recipe,
        f"{row['right']:.1%}",
        f"{100 * row['gain']:+.1f} pp ({low:+.1f} … {high:+.1f})",
        f"{row['nats']:+.3f}",
        f"{row['kl']:.2g}",
        f"{row['kl_99']:.2g}",
        f"{row['agreement']:.2%}",
        f"{row['weights']:.2f}",
        f"{row['peak_cache']:.2f}",
        f"{row['final_cache']:.2f}",
        f"{task} {100 * loss:+.0f} pp" if loss < 0 else "none",
        row["verdict"],
    )


def example(technique: Technique) -> str:
    """The step of a recipe that gives each setting its default."""
    given = ", ".join(f"{one.name}={default(one)}" for one in settings_of(technique))
    return f"{technique.name}({given})" if given else technique.name


def settings_of(technique: Technique) -> list[Field[Any]]:
    """The fields that a recipe can set."""
    kind: Any = technique.kind
    return [one for one in fields(kind) if one.init]


def type_of(setting: Field[Any]) -> str:
    """A setting's type as its class writes it."""
    return setting.type if isinstance(setting.type, str) else formatannotation(setting.type)


def default(setting: Field[Any]) -> str:
    """A setting's default as a recipe can write it, or … if it has none and must be given."""
    if setting.default is MISSING and setting.default_factory is MISSING:
        return "…"
    made = setting.default if setting.default_factory is MISSING else setting.default_factory()
    return written(made)


def explanations(kind: type) -> dict[str, str]:
    """What the strings below the fields of a class say."""
    (tree,) = ast.parse(dedent(getsource(kind))).body
    body = tree.body if isinstance(tree, ast.ClassDef) else []
    return {
        name.id: " ".join(cleandoc(text).split())
        for field, below in pairwise(body)
        if isinstance(field, ast.AnnAssign) and isinstance(name := field.target, ast.Name)
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
        if isinstance(text := below.value.value, str)
    }


def link(technique: Technique) -> str:
    """The name of a technique, as a link to its page."""
    return f"[`{technique.name}`]({technique.name}.md)"


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table in Markdown."""
    head = list(head)
    lines = (head, ["---"] * len(head), *rows)
    return "\n".join("| " + " | ".join(map(cell, line)) + " |" for line in lines)


def cell(text: str) -> str:
    """A text that a table takes as one cell; within code the parser knows that | ends none."""
    return re.sub(r"(`[^`]*`)|\|", lambda found: found[1] or r"\|", " ".join(text.split()))

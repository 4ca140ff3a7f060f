"""A hook of mkdocs: a page for each technique and a table of all, made while the docs are built.

They are made of what the code says, and never written to disk, so they cannot be out of date.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, Field, fields
from inspect import cleandoc, formatannotation, getsource
from itertools import pairwise
from textwrap import dedent
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel

from qwen3_vl.config.recipe import written
from qwen3_vl.plugins import Technique, promise, techniques
from qwen3_vl.seams import Seams

FOLDER = "techniques"


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
"""


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

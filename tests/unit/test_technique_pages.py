"""The pages of techniques, which the docs make of the code, hold what the code says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, fields
from pathlib import Path

import pytest
from markdown import markdown

from benchmarks.quality import fingerprint
from qwen3_vl.config.recipe import Step, parse
from qwen3_vl.loading import embedded_folder
from qwen3_vl.models.qwen3_vl import Qwen3VLForConditionalGeneration
from qwen3_vl.optimization.kv_cache.quantized_kv import QuantizedKV
from qwen3_vl.plan import Exact
from qwen3_vl.plugins import Technique, promise, techniques
from qwen3_vl.recipes import build
from qwen3_vl.seams import Seams
from qwen3_vl.validation.quality.suite import VERSION
from scripts.technique_pages import (
    COLUMNS,
    MEASURED,
    cell,
    cells,
    cost,
    default,
    example,
    explanations,
    index,
    page,
    table,
    type_of,
)

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("technique", techniques().values(), ids=lambda one: one.name)
def test_a_page_holds_card_promise_and_settings(technique: Technique) -> None:
    made = page(technique)
    assert made.startswith(f"# {technique.title}\n")
    assert all(cell(text) in made for text in (*technique.card.values(), promise(technique)))
    for setting in fields(technique.kind):
        assert f"| `{setting.name}` | `{type_of(setting)}` | `{default(setting)}` |" in made
    assert all(cell(text) in made for text in explanations(technique.kind).values())


@pytest.mark.parametrize("technique", techniques().values(), ids=lambda one: one.name)
def test_the_example_is_a_recipe_with_the_defaults(technique: Technique) -> None:
    assert example(technique) in page(technique)
    if "…" in example(technique):
        pytest.skip(f"{technique.name} has a setting that must be given")
    (step,) = parse(example(technique))
    assert build(step) == build(Step(technique.name))


def test_the_index_links_every_technique_and_tells_every_seam() -> None:
    made = index(techniques())
    assert all(f"[`{name}`]({name}.md)" in made for name in techniques())
    for seam in fields(Seams):
        assert f"| `{seam.name}` | {seam.metadata['question']} | " in made


def test_what_it_costs_is_told_row_by_row() -> None:
    row = {
        "recipe": "some(bits=4)",
        "strength": 1,
        "right": 0.912,
        "gain": -0.031,
        "gain_interval": [-0.042, -0.019],
        "nats": 0.0042,
        "kl": 0.00123,
        "kl_99": 0.0456,
        "agreement": 0.9876,
        "weights": 0.5,
        "peak_cache": 0.25,
        "final_cache": 0.2,
        "worst": ["ocr", -0.12],
        "verdict": "inferior",
    }
    told = dict(zip(COLUMNS, cells(row), strict=True))
    assert told["recipe"] == "`some(bits=4)`"
    assert told["right"] == "91.2%"
    assert told["difference"] == "-3.1 pp (-4.2 … -1.9)"
    assert told["KL"] == "0.0012"
    assert told["worst task"] == "ocr -12 pp"
    assert cells(row | {"worst": ["ocr", 0.0]})[-2] == "none"


def test_what_was_not_measured_says_how_to() -> None:
    assert "python benchmarks/quality.py key_norm" in cost("key_norm")
    refused = {"recipe": "some", "strength": 16, "refused": "needs more"}
    told = cells(refused)
    assert (told[0], told[-1]) == ("`some`, outliers × 16", "not measured: needs more")
    assert len(told) == len(COLUMNS)


OWN = [one for one in techniques().values() if one.kind.__module__.startswith("qwen3_vl.")]


@pytest.mark.parametrize("technique", OWN, ids=lambda one: one.name)
def test_what_it_costs_was_measured_on_the_model_that_ships(technique: Technique) -> None:
    """`python benchmarks/quality.py "RECIPE"` measures and writes it; `--again` all of it."""
    written = json.loads((MEASURED / f"{technique.name}.json").read_text())
    shipped = Qwen3VLForConditionalGeneration.from_pretrained(embedded_folder())
    assert (written["suite"], written["model"]) == (VERSION, fingerprint(shipped))
    assert written["rows"]
    for row in written["rows"]:
        (step,) = parse(row["recipe"])
        assert step.name == technique.name
        assert all(text in page(technique) for text in map(cell, cells(row)))
        assert all(text in index(techniques()) for text in map(cell, cells(row)))
        if isinstance(technique.guarantee, Exact) and "refused" not in row:
            assert row["kl"] < 1e-6
            assert row["right"] == row["against"]


def test_a_string_below_a_field_explains_it() -> None:
    told = explanations(QuantizedKV)
    assert told["residual"] == "How many of the latest tokens are kept as they are."
    assert "bits" not in told


def test_a_setting_without_a_default_must_be_given() -> None:
    @dataclass
    class Some:
        file: str
        ranks: tuple[int, ...] = (4, 8)

    file, ranks = fields(Some)
    assert default(file) == "…"
    assert default(ranks) == "[4, 8]"


@pytest.mark.parametrize("text", ["a | b", "`a|b`", "see `a|b` | c", "on two\nlines"])
def test_no_text_breaks_a_table(text: str) -> None:
    made = markdown(table(("one", "two"), [(text, "end")]), extensions=["tables"])
    assert made.count("<td>") == 2
    plain = made.replace("<code>", "`").replace("</code>", "`")
    assert f"<td>{' '.join(text.split())}</td>\n<td>end</td>" in plain


def test_the_docs_are_built_with_the_pages(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict"]
    done = subprocess.run(
        [*command, "--site-dir", str(tmp_path)],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    for name, technique in techniques().items():
        built = (tmp_path / "techniques" / name / "index.html").read_text(encoding="utf-8")
        assert f"<code>{name}</code>" in built
        assert all(f"<code>{one.name}</code>" in built for one in fields(technique.kind))
    assert 'id="seams"' in (tmp_path / "techniques" / "index.html").read_text(encoding="utf-8")

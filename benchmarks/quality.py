"""What techniques cost in answers, on the embedded model: the docs show what is written here.

Each technique has a file in `benchmarks/quality`; a recipe that was measured before is measured
anew in its place. All recipes are asked together, so that the plain model answers once. A technique
that this machine cannot run is written down with the reason.

    python benchmarks/quality.py "sliding_window(window=64)" "quantized_kv(bits=4)"
    python benchmarks/quality.py --strength 16 "quantized_kv(bits=4)"    # with outliers to round
    python benchmarks/quality.py --again                                 # all that is written
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from rich.progress import track

from qwen3_vl import Qwen3VLInference
from qwen3_vl.config.recipe import parse
from qwen3_vl.errors import DeviceError, Incompatible
from qwen3_vl.models.linears import linears
from qwen3_vl.models.lora_files import fresh_factors, write_lora
from qwen3_vl.models.qwen3_vl import Qwen3VLForConditionalGeneration
from qwen3_vl.recipes import compile_recipe
from qwen3_vl.validation.quality.evaluate import Record, evaluate_all
from qwen3_vl.validation.quality.hardening import harden
from qwen3_vl.validation.quality.item import Item
from qwen3_vl.validation.quality.report import as_json
from qwen3_vl.validation.quality.suite import TASKS, VERSION, make_item
from qwen3_vl.validation.quality.summary import ALL_ANSWERS, ALL_LIKELIHOODS, summarise

Model = Qwen3VLForConditionalGeneration
Row = dict[str, Any]
FOLDER = Path(__file__).parent / "quality"
FRESH = "FRESH"
"""In a recipe: the folder of an adapter of rank 8 that adds nothing yet."""


def main() -> None:
    """Measure, and write the rows."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("recipes", nargs="*", help="each of one technique")
    options.add_argument("--items", type=int, default=50, help="of each task")
    options.add_argument("--strength", type=int, default=1, help="of outliers put in; 1: none")
    options.add_argument("--again", action="store_true", help="measure all that is written")
    given = options.parse_args()
    wanted = [(recipe, given.strength) for recipe in given.recipes]
    wanted += list(written()) if given.again else []
    vlm = Qwen3VLInference.from_pretrained("embedded", dtype="float32", device_map="cpu")
    for strength in sorted({strength for _, strength in wanted}):
        recipes = [recipe for recipe, of in wanted if of == strength]
        for row in measure(vlm, recipes, strength, given.items):
            keep(row, fingerprint(vlm.engine.model))
            print(json.dumps(row))


def measure(
    vlm: Qwen3VLInference, recipes: Sequence[str], strength: int, items: int
) -> Iterator[Row]:
    """A row for each recipe against the plain model, all with outliers of this strength."""
    plain, processor = vlm.engine.model, vlm.engine.processor
    against = harden(plain, strength)
    with TemporaryDirectory() as folder:
        write_fresh(plain, Path(folder))
        made = {recipe: built(recipe.replace(FRESH, folder), against) for recipe in recipes}
    for recipe, refused in made.items():
        if isinstance(refused, str):
            yield {"recipe": recipe, "strength": strength, "refused": refused}
    models = {recipe: model for recipe, model in made.items() if not isinstance(model, str)}
    asked = track(questions(items), "asks", total=items * len(TASKS))
    records = list(evaluate_all(list(models.values()), against, processor, asked))
    for recipe, of_one in zip(models, zip(*records, strict=True), strict=True):
        yield {"recipe": recipe, "strength": strength, **numbers(of_one)}


def built(recipe: str, against: Model) -> Model | str:
    """A model with this recipe, or why there can be none here."""
    try:
        return against.with_seams(compile_recipe(recipe, against.config, against.device).seams)
    except (DeviceError, Incompatible) as error:
        return str(error)


def numbers(records: Sequence[Record]) -> Row:
    """What a row tells."""
    summaries = {one.name: one for one in summarise(records)}
    answers, texts = summaries.pop(ALL_ANSWERS), summaries.pop(ALL_LIKELIHOODS)
    worst = min((one for one in summaries.values() if not one.likelihood), key=lambda one: one.gain)
    row = {
        "items": answers.items,
        "right": answers.model.mean,
        "against": answers.against.mean,
        "gain": answers.gain,
        "gain_interval": [answers.gain_interval.low, answers.gain_interval.high],
        "verdict": answers.verdict.value,
        "worst": [worst.name, worst.gain],
        "nats": -texts.gain,
        "kl": answers.mean_kl,
        "kl_99": answers.kl_99,
        "agreement": answers.agreement,
        "weights": records[0].model.weights / records[0].against.weights,
        "peak_cache": answers.peak_cache,
        "final_cache": answers.final_cache,
    }
    return as_json(row)


def questions(items: int) -> Iterator[Item]:
    """Those of the test, in turns."""
    return (make_item(task, index) for index in range(items) for task in TASKS)


def write_fresh(model: Model, folder: Path) -> None:
    """An adapter as training begins with it."""
    generator = torch.Generator().manual_seed(0)
    attended = {path: one for path, one in linears(model).items() if "self_attn" in path}
    write_lora(
        folder,
        {
            path: fresh_factors(8, one.in_features, one.out_features, generator)
            for path, one in attended.items()
        },
    )


def keep(row: Row, model: str) -> None:
    """Write a row to the file of its technique, in the place of the same recipe's."""
    (step,) = parse(row["recipe"])
    path = FOLDER / f"{step.name}.json"
    about = {"suite": VERSION, "model": model}
    old = json.loads(path.read_text()) if path.is_file() else {}
    same = about == {name: old.get(name) for name in about}
    rows = [one for one in old["rows"] if key(one) != key(row)] if same else []
    FOLDER.mkdir(exist_ok=True)
    path.write_text(json.dumps(about | {"rows": sorted([*rows, row], key=key)}, indent=2) + "\n")


def written() -> Iterator[tuple[str, int]]:
    """All recipes that were measured."""
    for path in sorted(FOLDER.glob("*.json")):
        for row in json.loads(path.read_text())["rows"]:
            yield key(row)


def key(row: Row) -> tuple[str, int]:
    """What tells one row from the others."""
    return row["recipe"], row["strength"]


def fingerprint(model: Model) -> str:
    """Of the weights: numbers that two models gave are never compared."""
    digest = sha256()
    for one in model.parameters():
        digest.update(one.detach().float().numpy().tobytes())
    return digest.hexdigest()[:16]


if __name__ == "__main__":
    main()

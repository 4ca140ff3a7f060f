"""What packed weights change in a model: how much their format, and how much the kernels add to it.

    python -m benchmarks.formats "weight_int4|kernel_fusion"              # the embedded model
    python -m benchmarks.formats "weight_int4|kernel_fusion" --strength 16    # with outliers
    python -m benchmarks.formats "weight_int4|kernel_fusion" --random-2b --items 1 --tokens 4

Three models are led along the right answers of the same questions: that of the checkpoint, one with
the weights that the format leaves of it, both in float64, and the recipe as it runs. The random
model in the 2B shape, which the comparison of speed makes too, takes 20 GB and 15 minutes.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor, nn

from benchmarks.comparison.checkpoint import random_checkpoint
from qwen3_vl.errors import ConfigError, Incompatible
from qwen3_vl.loading import embedded_folder
from qwen3_vl.models.packed import PackedLinear
from qwen3_vl.models.qwen3_vl import Qwen3VLForConditionalGeneration
from qwen3_vl.ops.products import Packed
from qwen3_vl.processing.processor import Qwen3VLProcessor
from qwen3_vl.recipes import compile_recipe
from qwen3_vl.validation.quality.decode import follow
from qwen3_vl.validation.quality.evaluate import divergences
from qwen3_vl.validation.quality.hardening import harden
from qwen3_vl.validation.quality.suite import TASKS, make_item

Model = Qwen3VLForConditionalGeneration
Question = tuple[Mapping[str, Any], list[int]]
"""A prompt as the model takes it, and the tokens of the right answer."""
PAIRS = (
    ("the format", "checkpoint", "format"),
    ("the kernels", "format", "recipe"),
    ("both", "checkpoint", "recipe"),
)


def main(words: Sequence[str] | None = None) -> None:
    """Measure, and print a table."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("recipe", help="one that packs weights")
    options.add_argument("--items", type=int, default=20, help="of each task; by default 20")
    options.add_argument("--tokens", type=int, help="of an answer at most")
    options.add_argument("--strength", type=int, default=1, help="of outliers put in; 1: none")
    options.add_argument("--random-2b", action="store_true", help="instead of the embedded model")
    given = options.parse_args(words)
    if given.items < 1 or (given.tokens is not None and given.tokens < 1):
        options.error("--items and --tokens must be at least 1")
    folder = random_checkpoint() if given.random_2b else embedded_folder()
    processor = Qwen3VLProcessor.from_pretrained(folder)
    items = (make_item(task, index) for index in range(given.items) for task in TASKS)
    questions = [
        (
            processor.prepare([item.prompt]),
            processor.tokenizer.encode(item.answer)[: given.tokens],
        )
        for item in items
    ]
    model = Model.from_pretrained(folder, dtype="float32")
    try:
        if given.strength != 1:
            model = harden(model, given.strength)
        heard = ways(model, given.recipe, questions)
    except (ConfigError, Incompatible) as error:
        options.error(str(error))
    table = Table("changed by", "tokens", "mean KL", "99 % below", "same likeliest token")
    for name, against, changed in PAIRS:
        table.add_row(name, *compared(heard[against], heard[changed]))
    Console().print(table)


def ways(plain: Model, recipe: str, questions: Sequence[Question]) -> dict[str, Tensor]:
    """The logits of the three models along all answers; `plain` is changed on the way."""
    model = plain.with_seams(compile_recipe(recipe, plain.config, plain.device).seams)
    matrices = packed_matrices(model)
    if not matrices:
        raise Incompatible(f"{recipe!r} packs no weights; ask for one such as weight_int4")
    heard = {"recipe": led(model, questions, "recipe")}
    del model  # what it holds in float32 must not stay beside all in float64
    heard["checkpoint"] = led(plain.double(), questions, "checkpoint")
    restore(plain, matrices)
    heard["format"] = led(plain, questions, "format")
    return heard


def led(model: Model, questions: Sequence[Question], name: str) -> Tensor:
    """The logits from which each token of the answers would be chosen."""
    return torch.cat([follow(model, *one).logits for one in track(questions, name)])


def packed_matrices(model: Model) -> dict[str, Packed]:
    """Those of its linear modules, by name."""
    return {
        path: module.matrix
        for path, module in model.named_modules()
        if isinstance(module, PackedLinear)
    }


@torch.no_grad()
def restore(plain: Model, matrices: Mapping[str, Packed]) -> None:
    """Put linear modules with the weights that packed ones stand for where these were."""
    for path, matrix in matrices.items():
        with torch.device("meta"):
            restored = nn.Linear(matrix.inputs, matrix.outputs, bias=False)
        restored.weight = nn.Parameter(matrix.weight.to(plain.dtype))
        restored.register_parameter("bias", getattr(plain.get_submodule(path), "bias", None))
        parent, _, name = path.rpartition(".")
        plain.get_submodule(parent).register_module(name, restored)


def compared(against: Tensor, model: Tensor) -> tuple[str, ...]:
    """A row of the table."""
    kl = torch.tensor(divergences(against, model))
    same = (against.argmax(dim=-1) == model.argmax(dim=-1)).double().mean()
    return (
        f"{len(kl)}",
        f"{kl.mean():.2g}",
        f"{kl.quantile(0.99):.2g}",
        f"{100 * same:.1f} %",
    )


if __name__ == "__main__":
    main()

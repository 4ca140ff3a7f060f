"""What techniques give in time and bytes, at the width of the 2B model and a part of its depth.

Random weights: how much a technique finds to leave out depends on the data, so where it does, the
setting that decides it is swept. Variants of a workload run in turn, five times after a warm-up.
A ratio is that of the medians, plain to technique: above 1 is a gain.

    python benchmarks/techniques.py [--layers 4] [--tokens 8192]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

import torch

from qwen3_vl.config.model import Qwen3VLConfig
from qwen3_vl.models.cache import DenseCache, NoCache
from qwen3_vl.models.fusion import Fused
from qwen3_vl.models.generation import Walk
from qwen3_vl.models.packing import Packing
from qwen3_vl.models.qwen3_vl import Qwen3VLForConditionalGeneration
from qwen3_vl.models.reduction import reduce
from qwen3_vl.models.vision import Pictures
from qwen3_vl.recipes import compile_recipe

Model = Qwen3VLForConditionalGeneration
ROUNDS = 5


def main() -> None:
    """Run all workloads and print a line of JSON for each."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--layers", type=int, default=4)
    options.add_argument("--tokens", type=int, default=8192)
    given = options.parse_args()
    config = shape(given.layers)
    model = Model.random(config, dtype=torch.bfloat16)
    sparse = [f"block_sparse_attention(mass={mass}, shortest=0)" for mass in (0.9, 0.5, 0.1)]
    compare(f"prefill of {given.tokens} tokens", model, ["", *sparse], prefill(given.tokens))
    merged = [f"cross_modal_token_merging(keep={keep})" for keep in (0.75, 0.5, 0.25)]
    compare("decoder over a picture of 1024 tokens", model, ["", *merged], look(1024))
    depth = ["adaptive_depth(threshold=1.0)", "adaptive_depth(threshold=0.0)"]
    compare("32 steps after 128 tokens", model, ["", *depth, "weight_int8"], steps(128, 32))
    for recipe in (
        "",
        "quantized_kv(bits=8)",
        "quantized_kv(bits=4)",
        "sliding_window(window=512)",
    ):
        print(json.dumps({"cache of 2048 tokens": recipe or "plain", "bytes": held(model, recipe)}))


def shape(layers: int) -> Qwen3VLConfig:
    """The 2B model's decoder with fewer layers, and hardly any vision tower."""
    full = Qwen3VLConfig.preset("2b-instruct")
    text = replace(full.text_config, num_hidden_layers=layers)
    vision = replace(full.vision_config, depth=3, deepstack_visual_indexes=(0, 1, 2))
    return full.replace(text_config=text, vision_config=vision)


def compare(workload: str, model: Model, recipes: list[str], run: Callable[[Model], None]) -> None:
    """Time a workload with each recipe, in turn."""
    models = {
        recipe: model.with_seams(compile_recipe(recipe, model.config).seams) for recipe in recipes
    }
    times: Mapping[str, list[float]] = {recipe: [] for recipe in recipes}
    with torch.inference_mode():
        for turn in range(ROUNDS + 1):
            for recipe, one in models.items():
                started = time.perf_counter()
                run(one)
                if turn:
                    times[recipe].append(time.perf_counter() - started)
    plain = statistics.median(times[""])
    for recipe, seconds in times.items():
        told = {
            "workload": workload,
            "recipe": recipe or "plain",
            "ratio": round(plain / statistics.median(seconds), 2),
            "seconds": [round(one, 3) for one in sorted(seconds)],
        }
        print(json.dumps(told), flush=True)


def prefill(tokens: int) -> Callable[[Model], None]:
    ids = torch.randint(0, 1000, (1, tokens), generator=torch.Generator().manual_seed(0))

    def run(model: Model) -> None:
        model.model.run(ids, Packing.of(ids, None), Pictures())

    return run


def look(visual: int) -> Callable[[Model], None]:
    """The decoder alone, over 40 words and a picture whose features are there already."""

    def run(model: Model) -> None:
        hidden = model.config.text_config.hidden_size
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(visual + 40, hidden, generator=generator).bfloat16()
        places = torch.arange(20, 20 + visual)
        fused = Fused(x, places, tuple(x[places] for _ in range(3)))
        positions = torch.arange(len(x)).expand(3, -1)
        tokens = reduce(fused, positions, [len(x)], model.seams.reduce)
        view = NoCache(tokens.lengths, model.seams)
        model.model.language_model(tokens.fused, tokens.positions, view)

    return run


def steps(prompt: int, count: int) -> Callable[[Model], None]:
    def run(model: Model) -> None:
        ids = torch.arange(prompt).unsqueeze(0)
        walk = Walk(model, ids, Packing.of(ids, None), Pictures())
        for _ in range(count + 1):
            walk.take(walk.score().argmax(dim=-1).tolist())

    return run


@torch.inference_mode()
def held(model: Model, recipe: str) -> int:
    """What the cache takes after a prompt and an eviction."""
    seams = compile_recipe(recipe, model.config).seams
    cache = DenseCache(model.config.text_config, 1, seams)
    ids = torch.randint(0, 1000, (1, 2048), generator=torch.Generator().manual_seed(0))
    model.with_seams(seams)(ids, past_key_values=cache, logits_to_keep=1)
    cache.evict()
    return cache.nbytes


if __name__ == "__main__":
    main()

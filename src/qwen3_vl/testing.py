"""What tests of ops and techniques need; public, so that plug-ins are tested as this package is.

For an op: a derived tolerance, a comparison that explains itself, guarded memory. For a technique:
small models and prompts, and `check_optimization`, which holds it to what it promises.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from qwen3_vl.config.model import Qwen3VLConfig, TextConfig, VisionConfig
from qwen3_vl.config.recipe import Step
from qwen3_vl.models.cache import DenseCache
from qwen3_vl.models.qwen3_vl import Qwen3VLForConditionalGeneration
from qwen3_vl.plan import Bounded, Neutral, Optimization, Plan
from qwen3_vl.recipes import build, compile_recipe, find


def tolerance(magnitude: Tensor, terms: int, dtype: torch.dtype, *, roundings: int = 1) -> Tensor:
    """How far each element of an honest result may lie from the exact one.

    A float32 sum of `terms` products drifts like a random walk, by `eps · sqrt(terms) · |a|·|b|`;
    each time the value is then written in `dtype`, that format's own `eps` is added. `eps` is
    twice the largest rounding error, which is all the slack there is. Below the smallest normal
    number a format may flush to zero.

    Args:
        magnitude: `|a|·|b|`, the sum of the absolute products, for each element of the result.
        terms: How many products were added for one element.
        dtype: The format of the result.
        roundings: How many times on its way the value is rounded to that format.
    """
    summed = torch.finfo(torch.float32).eps * terms**0.5
    written = torch.finfo(dtype).eps * roundings
    return magnitude.double().abs() * (summed + written) + torch.finfo(dtype).smallest_normal


def check_op(actual: Tensor, exact: Tensor, allowed: Tensor) -> None:
    """Check `|actual - exact| <= allowed` everywhere; the error names the worst element."""
    assert actual.shape == exact.shape, f"shape {tuple(actual.shape)}, not {tuple(exact.shape)}"
    share = (actual.double() - exact.double()).abs() / allowed
    share = share.nan_to_num(nan=torch.inf)  # a NaN is as wrong as can be
    worst = int(share.argmax())
    assert share.flatten()[worst] <= 1, (
        f"element {worst} is {actual.flatten()[worst].item()!r}, "
        f"not {exact.flatten()[worst].item()!r}: {share.flatten()[worst].item():.3g} times the "
        f"allowed error; {int((share > 1).sum())} of {share.numel()} elements are wrong"
    )


@contextmanager
def guarded(shape: tuple[int, ...], dtype: torch.dtype, *, shift: int = 0) -> Iterator[Tensor]:
    """Give memory for a result, with bytes around it that nobody may touch.

    `shift` moves it by that many elements away from a multiple of 64 bytes, so that a kernel that
    counts on alignment fails.
    """
    guard = 256
    size = torch.Size(shape).numel() * dtype.itemsize
    memory = torch.full((guard + 64 + size + guard,), 0xA5, dtype=torch.uint8)
    start = guard + -(memory.data_ptr() + guard) % 64 + shift * dtype.itemsize
    yield memory[start : start + size].view(dtype).view(shape)
    assert (memory[:start] == 0xA5).all(), "bytes before the result were written"
    assert (memory[start + size :] == 0xA5).all(), "bytes behind the result were written"


def tiny_config() -> Qwen3VLConfig:
    """A shape with every part that the large ones have, which runs in milliseconds."""
    return Qwen3VLConfig(
        text_config=TextConfig(
            vocab_size=320,
            hidden_size=64,
            intermediate_size=96,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=32,
            mrope_section=(6, 5, 5),
            rope_theta=10000.0,
            initializer_range=0.15,
            max_position_embeddings=2048,
        ),
        vision_config=VisionConfig(
            depth=4,
            hidden_size=64,
            intermediate_size=48,
            num_heads=2,
            patch_size=4,
            out_hidden_size=64,
            num_position_embeddings=36,
            deepstack_visual_indexes=(0, 1, 2),
        ),
        vision_start_token_id=310,
        vision_end_token_id=311,
        image_token_id=312,
        video_token_id=313,
        tie_word_embeddings=True,
    )


@dataclass(frozen=True)
class Prompt:
    """The arguments of a forward pass."""

    input_ids: Tensor
    pixel_values: Tensor | None = None
    image_grid_thw: Tensor | None = None


def tiny_prompts(config: Qwen3VLConfig, count: int = 6) -> list[Prompt]:
    """Prompts of random text, every other one with one or two pictures in it."""
    generator = torch.Generator().manual_seed(0)

    def text(length: int) -> Tensor:
        return torch.randint(0, 300, (length,), generator=generator)

    prompts: list[Prompt] = []
    for number in range(count):
        grids = torch.tensor([(1, 4, 4 + 2 * number)] * (number // 2 % 2 + 1 if number % 2 else 0))
        parts = [text(12 + 7 * number)]
        for grid in grids.tolist():
            tokens = grid[1] * grid[2] // config.vision_config.merge_area
            parts += [torch.full((tokens,), config.image_token_id), text(5)]
        ids = torch.cat(parts).unsqueeze(0)
        if not len(grids):
            prompts.append(Prompt(ids))
            continue
        patches = int(grids.prod(dim=1).sum())
        pixels = torch.randn(patches, config.vision_config.patch_dim, generator=generator)
        prompts.append(Prompt(ids, pixels, grids))
    return prompts


class Bench:
    """A tiny model on disk, to load with and without techniques."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = tiny_config()
        self.prompts = tiny_prompts(self.config)
        Qwen3VLForConditionalGeneration.random(self.config, seed=3).save_pretrained(folder)

    def load(self, *steps: Optimization) -> Qwen3VLForConditionalGeneration:
        """The model with these techniques."""
        seams = compile_recipe(steps, self.config).seams
        return Qwen3VLForConditionalGeneration.from_pretrained(self.folder, seams=seams)

    def tokens(self, model: Qwen3VLForConditionalGeneration, count: int = 36) -> list[list[int]]:
        """The greedy answers to all prompts."""
        return [
            model.generate(**vars(prompt), max_new_tokens=count, do_sample=False)[0].tolist()
            for prompt in self.prompts
        ]

    @torch.inference_mode()
    def logits(self, model: Qwen3VLForConditionalGeneration) -> Tensor:
        """The logits of all tokens of all prompts, each with a cache of its own."""
        text = model.config.text_config
        return torch.cat(
            [
                model(**vars(prompt), past_key_values=DenseCache(text, 1, model.seams)).logits[0]
                for prompt in self.prompts
            ]
        )


def check_optimization(name: str, **settings: Any) -> None:
    """Hold a technique to its contract; the error says what it broke.

    Its docstring is complete and its settings go through a recipe and back; `apply` answers its
    seam and leaves the plan that it was given as it was; and what it guarantees is true. `settings`
    are for those that have no default; a file that they name must suit `tiny_config`.
    """
    technique = find(name)
    step = build(Step(name, settings))
    assert build(Step(name, settings)) == step, f"{name}: two with the same settings are not equal"
    plan = Plan(tiny_config())
    before = repr(plan)
    answered = {answer.seam for answer in plan.then(step).answers}
    assert repr(plan) == before, f"{name}: apply changed the plan it was given"
    assert technique.card["Seam"] in answered, f"{name} does not answer the seam it names"
    with TemporaryDirectory() as folder:
        _check_guarantee(name, settings, Bench(Path(folder)))


def _check_guarantee(name: str, settings: dict[str, Any], bench: Bench) -> None:
    plain = bench.load()
    guarantee = find(name).guarantee
    if isinstance(guarantee, Bounded):
        changed = bench.load(build(Step(name, settings)))
        expected, actual = bench.logits(plain), bench.logits(changed)
        error = float((actual - expected).square().mean().sqrt() / expected.square().mean().sqrt())
        assert 0 < error <= guarantee.error, f"{name}: logits change by {error:.3g} of their size"
        return
    neutral = guarantee.settings if isinstance(guarantee, Neutral) else {}
    changed = bench.load(build(Step(name, {**settings, **neutral})))
    assert bench.tokens(changed) == bench.tokens(plain), f"{name} changes greedy answers"

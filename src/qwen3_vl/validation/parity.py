"""Does this package compute what `transformers` computes? Step by step, in float32.

Both sides get the same inputs; what is compared runs from token ids and pixels over the positions,
the vision tower and every decoder layer to the logits and the greedy answer.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from qwen3_vl.config.model import Qwen3VLConfig
from qwen3_vl.models.qwen3_vl import Qwen3VLForConditionalGeneration
from qwen3_vl.processing.processor import Qwen3VLProcessor
from qwen3_vl.validation.cases import Case, cases
from qwen3_vl.validation.reference import import_transformers

LIMIT = 1e-4
"""The largest difference that is allowed, as a share of the largest number (if that is over 1).

Ids and pixels have to be equal.
"""

NEW_TOKENS = 8
_PIXELS = ("pixel_values", "pixel_values_videos")

Trace = dict[str, Tensor]
"""What a model computed on the way, by name; padding is left out."""


@dataclass(frozen=True)
class Row:
    """One comparison."""

    case: str
    what: str
    error: float
    """The largest difference; of ids and positions, how many differ."""
    limit: float

    @property
    def passed(self) -> bool:
        """Whether the difference is allowed; one that is not a number never is."""
        return self.error <= self.limit


def compare(
    folder: Path,
    todo: Sequence[Case] | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> list[Row]:
    """Run these cases, or all, through both; one model is in memory at a time."""
    transformers = import_transformers()
    todo = cases() if todo is None else todo
    tell("preparing inputs")
    processor = Qwen3VLProcessor.from_pretrained(folder)
    inputs = {case.name: _prepare(processor, case) for case in todo}
    rows = _compare_inputs(transformers.AutoProcessor.from_pretrained(folder), inputs, todo)
    tell("running transformers")
    reference = _theirs(transformers, folder)
    theirs = {case.name: _trace(reference, case, inputs[case.name]) for case in todo}
    del reference
    gc.collect()
    tell("running qwen3_vl")
    model = Qwen3VLForConditionalGeneration.from_pretrained(folder, dtype="float32")
    for case in todo:
        ours = _trace(model, case, inputs[case.name])
        rows += _differences(case.name, ours, theirs[case.name])
    return rows


def summarise(rows: list[Row]) -> list[Row]:
    """One row for each kind of number: the case that came closest to its limit or broke it."""
    kinds: dict[str, list[Row]] = {}
    for row in rows:
        kinds.setdefault(row.what.rstrip("0123456789 "), []).append(row)
    return [max(group, key=_closeness) for group in kinds.values()]


def _closeness(row: Row) -> float:
    if not row.error < float("inf"):
        return float("inf")
    return row.error / row.limit if row.limit else row.error


def _prepare(processor: Qwen3VLProcessor, case: Case) -> Mapping[str, Any]:
    return processor.prepare(case.conversations, padding_side=case.padding_side)


def _compare_inputs(
    theirs: Any, inputs: Mapping[str, Mapping[str, Any]], todo: Sequence[Case]
) -> list[Row]:
    rows: list[Row] = []
    for case in todo:
        theirs.tokenizer.padding_side = case.padding_side
        expected = theirs.apply_chat_template(
            [list(conversation) for conversation in case.conversations],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            padding=True,
        )
        rows += _differences(case.name, inputs[case.name], dict(expected))
    return rows


def _theirs(transformers: Any, folder: Path) -> Any:
    name = "Qwen3VL{}ForConditionalGeneration"
    config = Qwen3VLConfig.from_pretrained(folder)
    kind = name.format("" if config.text_config.experts is None else "Moe")
    return getattr(transformers, kind).from_pretrained(folder, dtype=torch.float32).eval()


def _trace(model: Any, case: Case, inputs: Mapping[str, Any]) -> Trace:
    """Run either model; both have the same module names, so one set of hooks serves."""
    mask = inputs["attention_mask"].bool()

    def flat(x: Tensor) -> Tensor:
        return x[mask] if x.ndim == 3 else x

    with torch.inference_mode():
        with _watched(model, flat) as trace:
            trace["logits"] = flat(model(**inputs).logits)
        trace["positions"] = _positions(model, inputs)[:, mask]
        if case.padding_side == "left":  # transformers cannot continue a prompt padded right
            trace["greedy tokens"] = model.generate(
                **inputs, max_new_tokens=NEW_TOKENS, do_sample=False, pad_token_id=0
            )
    return trace


@contextmanager
def _watched(model: Any, flat: Callable[[Tensor], Tensor]) -> Iterator[Trace]:
    """Keep what the vision tower and each decoder layer give."""
    trace: Trace = {}

    def see_vision(_module: Any, _inputs: Any, out: Any) -> None:
        ours = isinstance(model, Qwen3VLForConditionalGeneration)
        trace["vision features"] = out.tokens if ours else out.pooler_output
        for tap, features in enumerate(out.deepstack if ours else out.deepstack_features):
            trace[f"DeepStack {tap}"] = features

    def see(name: str) -> Callable[[Any, Any, Tensor], None]:
        return lambda _module, _inputs, out: trace.__setitem__(name, flat(out))

    decoder = model.model.language_model
    with ExitStack() as hooks:
        hooks.enter_context(model.model.visual.register_forward_hook(see_vision))
        for number, layer in enumerate(decoder.layers):
            hooks.enter_context(layer.register_forward_hook(see(f"layer {number}")))
        hooks.enter_context(decoder.norm.register_forward_hook(see("final norm")))
        yield trace


def _positions(model: Any, inputs: Mapping[str, Any]) -> Tensor:
    wanted = ("input_ids", "image_grid_thw", "video_grid_thw", "attention_mask")
    arguments = {name: inputs[name] for name in wanted if name in inputs}
    if not isinstance(model, Qwen3VLForConditionalGeneration):
        arguments["mm_token_type_ids"] = inputs["mm_token_type_ids"]
    return model.model.get_rope_index(**arguments)[0]


def _differences(case: str, ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Iterator[Row]:
    for what in sorted(ours.keys() | theirs.keys()):
        mine, other = ours.get(what), theirs.get(what)
        name = what.replace("_", " ")
        if mine is None or other is None or mine.shape != other.shape:
            yield Row(case, name, float("inf"), 0.0)
        elif other.is_floating_point():
            scale = 0.0 if what in _PIXELS else max(1.0, float(other.abs().max()))
            yield Row(case, name, float((mine - other).abs().max()), LIMIT * scale)
        else:
            yield Row(case, name, float((mine != other).sum()), 0.0)

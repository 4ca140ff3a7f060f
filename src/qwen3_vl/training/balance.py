"""Activation-aware scaling: the same function, with weights whose rounding hurts less.

What a rounded weight gets wrong counts as much as the channel that it is multiplied with is large.
So channels that are large on prompts like those to come are made smaller, and their weights larger:
among others of their group these are then rounded finely, as in AWQ (arXiv:2306.00978). Factors are
powers of two, with which the model in full precision answers as before to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn

from qwen3_vl.errors import InputError
from qwen3_vl.models.joints import Joint, Side, joints, scalable
from qwen3_vl.models.qwen3_vl import Qwen3VLForConditionalGeneration
from qwen3_vl.models.text import DecoderLayer
from qwen3_vl.ops.packed import Bits, pack, unpack

_STRENGTHS = torch.linspace(0, 1, 11).tolist()
"""How far a channel's size is evened out: 0 is not at all, 1 makes all alike."""
_TOKENS = 256
"""So many of all prompts' tokens are kept to judge strengths by."""
_ROWS = 256
"""And so many of a matrix' outputs are rounded for it."""


@dataclass(frozen=True)
class Balanced:
    """A model, and what it was worth."""

    model: Qwen3VLForConditionalGeneration
    errors: Mapping[str, float]
    """What is left of the squared error of products, by joint: the mean over all layers."""


@dataclass
class _Heard:
    """What came into a module."""

    sizes: Tensor | float = 0.0
    """Sums of what each channel was without its sign."""
    tokens: int = 0
    sample: list[Tensor] = field(default_factory=list)

    def hear(self, x: Tensor, keep: int) -> None:
        flat = x.detach().reshape(-1, x.shape[-1]).float()
        self.sizes = self.sizes + flat.abs().sum(0)
        self.tokens += len(flat)
        kept = torch.linspace(0, len(flat) - 1, min(keep, len(flat))).long()
        self.sample.append(flat[kept])


def balance(
    model: Qwen3VLForConditionalGeneration,
    prompts: Sequence[Mapping[str, Any]],
    bits: Bits = 4,
    tell: Callable[[str], None] = lambda _: None,
) -> Balanced:
    """A model that answers as `model` does, and rounds better; prompts are inputs of its forward.

    Factors follow from prompts and weights alone. Experts stay as they are.
    """
    if not prompts:
        raise InputError("there is no prompt to balance with; give at least one")
    result = scalable(model)
    layers = [cast(DecoderLayer, one) for one in result.model.language_model.layers]
    found = [_linear(joints(layer)) for layer in layers]
    heard = _listen(result, [one for each in found for one in each.values()], prompts, tell)
    left: dict[str, list[float]] = {}
    for number, each in enumerate(found):
        tell(f"layer {number + 1} of {len(found)}")
        for name, joint in each.items():
            factors, error = _best(joint, heard[joint.readers[0].module], bits)
            joint.scale(factors)
            left.setdefault(name, []).append(error)
    return Balanced(result, {name: sum(some) / len(some) for name, some in left.items()})


def _linear(every: Mapping[str, Joint]) -> Mapping[str, Joint]:
    """Those that only matrices read, which is what is rounded."""
    return {
        name: joint
        for name, joint in every.items()
        if all(isinstance(side.module, nn.Linear) for side in joint.readers)
    }


@torch.inference_mode()
def _listen(
    model: Qwen3VLForConditionalGeneration,
    every: Iterable[Joint],
    prompts: Sequence[Mapping[str, Any]],
    tell: Callable[[str], None],
) -> Mapping[nn.Module, _Heard]:
    """What the readers of each joint are told while the model reads all prompts."""
    heard = {joint.readers[0].module: _Heard() for joint in every}
    keep = max(1, _TOKENS // len(prompts))
    hooks = [
        module.register_forward_pre_hook(lambda module, given: heard[module].hear(given[0], keep))
        for module in heard
    ]
    try:
        for number, prompt in enumerate(prompts):
            tell(f"prompt {number + 1} of {len(prompts)}")
            model(**prompt)
    finally:
        for hook in hooks:
            hook.remove()
    return heard


@torch.inference_mode()
def _best(joint: Joint, heard: _Heard, bits: Bits) -> tuple[Tensor, float]:
    """The factors with the smallest error, and how much of the error they leave."""
    sample = torch.cat(heard.sample)
    sizes = _by_channel(joint, torch.as_tensor(heard.sizes) / heard.tokens)
    parts = [_part(side) for side in joint.readers]
    rights = [sample @ part.T for part in parts]
    best, first, least = torch.ones(joint.count), 0.0, float("inf")
    for strength in _STRENGTHS:
        factors = _factors(sizes, strength)
        error = 0.0
        for side, part, right in zip(joint.readers, parts, rights, strict=True):
            spread, (outputs, inputs) = side.spread(factors), part.shape
            rounded = unpack(pack(part / spread, bits), outputs, inputs, bits)
            error += float(((sample * spread) @ rounded.T - right).square().sum())
        first = first or error
        if error < least:
            best, least = factors, error
    return best, least / first if first else 1.0


def _part(reader: Side) -> Tensor:
    """Some rows of a matrix, evenly from the first to the last."""
    weight = cast(nn.Linear, reader.module).weight.detach()
    return weight[torch.linspace(0, len(weight) - 1, min(_ROWS, len(weight))).long()].float()


def _by_channel(joint: Joint, sizes: Tensor) -> Tensor:
    """The mean size over all slices of a channel."""
    channels = joint.readers[0].channels
    if channels is None:
        return sizes
    counts = torch.bincount(channels, minlength=joint.count)
    return torch.zeros(joint.count).index_add_(0, channels, sizes) / counts


def _factors(sizes: Tensor, strength: float) -> Tensor:
    """The nearest powers of two that even sizes out; what is never heard counts as the faintest."""
    known = sizes[sizes > 0]
    if not len(known):
        return torch.ones_like(sizes)
    logs = sizes.clamp(min=float(known.min())).log2()
    return (strength * (logs.mean() - logs)).round().exp2()

"""Low-rank adapters on disk, in the two files that PEFT reads and writes."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from qwen3_vl.config.reading import read_object
from qwen3_vl.errors import CheckpointError
from qwen3_vl.models.checkpoint import replacing

_CONFIG, _WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_FILES = re.compile(f"{re.escape(_CONFIG)}|{re.escape(_WEIGHTS)}")
_PREFIX = "base_model.model."
_KEY = re.compile(rf"{re.escape(_PREFIX)}(?P<path>.+)\.lora_(?P<factor>[AB])\.weight")

# What changes nothing when the adapter is used; anything else that is switched on is refused.
_HARMLESS = {
    "alpha_pattern",
    "auto_mapping",
    "base_model_name_or_path",
    "ensure_weight_tying",
    "eva_config",
    "exclude_modules",
    "inference_mode",
    "layers_pattern",
    "layers_to_transform",
    "lora_alpha",
    "lora_dropout",
    "loftq_config",
    "megatron_config",
    "megatron_core",
    "peft_type",
    "peft_version",
    "qalora_group_size",
    "r",
    "rank_pattern",
    "revision",
    "runtime_config",
    "target_modules",
    "task_type",
    "use_rslora",
}
_OFF = (None, False, "none", [], {})
_PLAIN_STARTS = (True, False, "gaussian", "eva", "orthogonal")
"""Ways to begin training that leave the weights of the model as they are."""


_FLOATS = ("F32", "BF16", "F16", "F64")
"""The formats of factors, as safetensors calls them."""


@dataclass(frozen=True)
class Factors:
    """What is added to one product: `scale · b·a·x`."""

    a: Tensor
    """[rank, inputs]"""
    b: Tensor
    """[outputs, rank]"""
    scale: float


@dataclass(frozen=True)
class LoraFiles:
    """An adapter whose sizes are known; its numbers are read when they are taken."""

    folder: Path
    shapes: Mapping[str, tuple[int, int, int]]
    """By module: rank, inputs and outputs."""
    scales: Mapping[str, float]
    """By module: what the product is multiplied with."""

    @classmethod
    def open(cls, folder: Path) -> LoraFiles:
        """Read the config and the sizes.

        Raises:
            CheckpointError: it is no adapter, or one of a kind that this package does not compute.
        """
        if not (folder / _CONFIG).is_file():
            raise CheckpointError(
                f"{folder} has no {_CONFIG}; name the folder of an adapter as PEFT saves it"
            )
        config = read_object(folder / _CONFIG)
        _refuse_other_kinds(config, folder)
        shapes = _shapes(folder)
        ranks = {path: rank for path, (rank, _, _) in shapes.items()}
        scales = {path: _scale(config, path, rank, folder) for path, rank in ranks.items()}
        return cls(folder, shapes, scales)

    def factors(self, path: str) -> tuple[Tensor, Tensor]:
        """Both matrices of a module."""
        with _opened(self.folder / _WEIGHTS) as file:
            a, b = (file.get_tensor(f"{_PREFIX}{path}.lora_{factor}.weight") for factor in "AB")
        return a, b


def write_lora(folder: Path, adapter: Mapping[str, Factors]) -> None:
    """Write an adapter, by the names of its modules; a failure leaves no trace."""
    ranks = {path: len(factors.a) for path, factors in adapter.items()}
    config = {
        "peft_type": "LORA",
        "r": max(ranks.values()),
        "lora_alpha": max(ranks.values()),
        "target_modules": sorted(adapter),
        "rank_pattern": ranks,
        "alpha_pattern": {path: one.scale * ranks[path] for path, one in adapter.items()},
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
    }
    tensors = {
        f"{_PREFIX}{path}.lora_{name}.weight": matrix.detach().cpu().contiguous()
        for path, one in adapter.items()
        for name, matrix in (("A", one.a), ("B", one.b))
    }
    with replacing(folder, stale=_FILES) as fresh:
        (fresh / _CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        save_file(tensors, fresh / _WEIGHTS, metadata={"format": "pt"})


def fresh_factors(rank: int, inputs: int, outputs: int, generator: torch.Generator) -> Factors:
    """Where training begins: random inwards, zero outwards, so that nothing is added yet."""
    bound = 1 / math.sqrt(inputs)
    a = torch.empty(rank, inputs).uniform_(-bound, bound, generator=generator)
    return Factors(a, torch.zeros(outputs, rank), 1.0)


def _refuse_other_kinds(config: Mapping[str, Any], folder: Path) -> None:
    if config.get("peft_type") != "LORA":
        raise CheckpointError(f"{folder} is an adapter of kind {config.get('peft_type')}, not LORA")
    odd = [key for key in config.keys() - _HARMLESS if config[key] not in _OFF]
    if config.get("init_lora_weights", True) in _PLAIN_STARTS:
        odd = [key for key in odd if key != "init_lora_weights"]
    if odd:
        settings = ", ".join(f"{key}={config[key]!r}" for key in sorted(odd))
        raise CheckpointError(
            f"{folder}: {_CONFIG} says {settings}, which is more than plain LoRA; "
            "merge the adapter into its model with PEFT, or train it without"
        )


def _shapes(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Rank, inputs and outputs of each module of the adapter."""
    found: dict[str, dict[str, list[int]]] = {}
    forms: dict[str, set[str]] = {}
    with _opened(folder / _WEIGHTS) as file:
        for name in file.keys():  # noqa: SIM118 (it is no mapping)
            match = _KEY.fullmatch(name)
            if match is None:
                raise CheckpointError(
                    f"{folder / _WEIGHTS} holds {name}, which is no factor of a linear module; "
                    "train the adapter on linear modules only"
                )
            factor = file.get_slice(name)
            form, shape = factor.get_dtype(), factor.get_shape()
            if form not in _FLOATS or len(shape) != 2 or not all(shape):
                raise CheckpointError(
                    f"{folder / _WEIGHTS}: {name} is {form} of shape {shape}; a factor is a matrix "
                    f"in one of {', '.join(_FLOATS)}"
                )
            found.setdefault(match["path"], {})[match["factor"]] = shape
            forms.setdefault(match["path"], set()).add(form)
    for path, pair in found.items():
        fits = pair.keys() == {"A", "B"} and pair["A"][0] == pair["B"][1]
        if not fits or len(forms[path]) > 1:
            raise CheckpointError(f"{folder / _WEIGHTS}: the factors of {path} do not fit together")
    if not found:
        raise CheckpointError(f"{folder / _WEIGHTS} holds nothing")
    return {
        path: (pair["A"][0], pair["A"][1], pair["B"][0]) for path, pair in sorted(found.items())
    }


def _scale(config: Mapping[str, Any], path: str, rank: int, folder: Path) -> float:
    """Alpha over the rank, or over its root for rank-stabilised adapters."""
    alpha, patterns = config.get("lora_alpha", 8), config.get("alpha_pattern") or {}
    if not isinstance(patterns, dict):
        raise CheckpointError(f"{folder}: alpha_pattern is {patterns!r}; it must be a table")
    for pattern, value in patterns.items():
        if _names(pattern, path, folder):
            alpha = value
            break
    is_number = isinstance(alpha, (int, float)) and not isinstance(alpha, bool)
    if not is_number or not abs(alpha) <= sys.float_info.max:
        raise CheckpointError(f"{folder}: the alpha of {path} is {alpha!r}; it must be a number")
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _names(pattern: str, path: str, folder: Path) -> bool:
    """Whether a pattern of PEFT means this module: the whole name, or its last parts."""
    try:
        return re.fullmatch(rf"(.*\.)?({pattern})", path) is not None
    except re.error as error:
        raise CheckpointError(
            f"{folder}: {pattern!r} in alpha_pattern is not a regular expression: {error}"
        ) from None


def _opened(path: Path) -> Any:
    try:
        return safe_open(path, framework="pt")
    except FileNotFoundError:
        raise CheckpointError(
            f"{path} is missing; save the adapter with safe_serialization=True"
        ) from None
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is cut short or broken: {error}; copy it again") from error

"""Adds to matrix products what adapters say: a low-rank product beside the weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qwen3_vl.errors import InputError
from qwen3_vl.hub import expanded
from qwen3_vl.models.lora_files import Factors, LoraFiles
from qwen3_vl.models.stored import StoredModule, TensorReader
from qwen3_vl.seams import Adapter

_NAME = "adapters"


class LowRank(StoredModule):
    """`scale · B·A·x`, whose two factors lie in an adapter's own files."""

    def __init__(self, files: LoraFiles, path: str, scale: float) -> None:
        super().__init__()
        rank, inputs, outputs = files.shapes[path]
        self.files = files
        self.path = path
        self.scale = scale * files.scales[path]
        self.lora_A = nn.Parameter(torch.empty(rank, inputs))
        self.lora_B = nn.Parameter(torch.empty(outputs, rank))

    def forward(self, x: Tensor) -> Tensor:
        """What is added, in the adapter's own dtype."""
        return self.scale * F.linear(F.linear(x.to(self.lora_A.dtype), self.lora_A), self.lora_B)

    def read(self, tensors: TensorReader) -> None:
        """Take both factors from the adapter's files; the checkpoint has nothing of them."""
        a, b = self.files.factors(self.path)
        self.lora_A, self.lora_B = (nn.Parameter(tensors.place(one)) for one in (a, b))

    def stored(self) -> Mapping[str, Tensor]:
        """Nothing: the checkpoint stays that of the model without the adapter."""
        return {}


def add_adapters(model: nn.Module, adapters: Sequence[Adapter], prefix: str) -> None:
    """Put additions beside the modules they belong to, on the skeleton.

    The modules keep their names; `prefix` is where this model lies in the one the names are of.
    """
    found: dict[str, list[nn.Module]] = {}
    for adapter in adapters:
        for path, addition in adapter.additions().items():
            if path.startswith(prefix):  # the rest, such as the head, this model does not have
                found.setdefault(path[len(prefix) :], []).append(addition)
    for path, additions in found.items():
        module = model.get_submodule(path)
        module.register_module(_NAME, nn.ModuleList(additions))
        module.register_forward_hook(_add)


def factors_of(model: nn.Module, folder: str | Path) -> dict[str, Factors]:
    """The factors of the adapter that was loaded from `folder`, as they are now.

    Raises:
        InputError: the model has no adapter from there.
    """
    wanted = expanded(folder).resolve()
    products = [module for module in model.modules() if isinstance(module, LowRank)]
    found = {
        one.path: Factors(one.lora_A, one.lora_B, one.scale)
        for one in products
        if one.files.folder.resolve() == wanted
    }
    if not found:
        known = ", ".join(sorted({str(one.files.folder) for one in products})) or "nowhere"
        raise InputError(f"the model has no adapter from {folder}; it has adapters from: {known}")
    return found


def _add(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
    for addition in module.get_submodule(_NAME).children():
        output = (output + addition(*inputs)).to(output.dtype)
    return output

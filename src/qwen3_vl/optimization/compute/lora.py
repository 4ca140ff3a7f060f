"""A fine-tuned model: the plain one, and a small adapter beside its weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from qwen3_vl.errors import ConfigError, Incompatible
from qwen3_vl.hub import expanded
from qwen3_vl.models.adapters import LowRank
from qwen3_vl.models.linears import linears
from qwen3_vl.models.lora_files import LoraFiles
from qwen3_vl.models.qwen3_vl import Qwen3VLForConditionalGeneration
from qwen3_vl.plan import Guarantee, Neutral, Plan


@dataclass(frozen=True)
class Lora:
    """A low-rank adapter.

    Paper: LoRA, arXiv:2106.09685
    Seam: adapter
    Gives: what a fine-tuning has taught, from files of a few megabytes, as PEFT writes them
    Costs: two narrow products more for each module that it adds to
    Avoid: for many requests with always the same adapter: merge it into the weights with PEFT
    """

    guarantee: ClassVar[Guarantee] = Neutral({"scale": 0.0})

    folder: str
    """Where adapter_config.json and adapter_model.safetensors are."""
    scale: float = 1.0
    """How much of the adapter is added."""

    def __post_init__(self) -> None:
        if not math.isfinite(self.scale):
            raise ConfigError("scale must be a finite number")

    def apply(self, plan: Plan) -> Plan:
        """Add the adapter to the modules that it was trained for."""
        model = Qwen3VLForConditionalGeneration.skeleton(plan.config)
        sizes = {path: (one.in_features, one.out_features) for path, one in linears(model).items()}
        for path, (_, *wanted) in self._files().shapes.items():
            if path not in sizes:
                raise Incompatible(
                    f"lora: {self.folder} adds to {path}, which is no linear module of this model; "
                    "was the adapter trained for another one?"
                )
            if sizes[path] != tuple(wanted):
                raise Incompatible(
                    f"lora: {self.folder} was trained for a {path} of {wanted} inputs and outputs; "
                    f"this model's has {list(sizes[path])}"
                )
        return plan.answer(self, adapter=self)

    def additions(self) -> Mapping[str, LowRank]:
        """A low-rank product for each module of the adapter."""
        files = self._files()
        return {path: LowRank(files, path, self.scale) for path in files.shapes}

    def _files(self) -> LoraFiles:
        return LoraFiles.open(expanded(self.folder))

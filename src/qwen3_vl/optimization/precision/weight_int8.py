"""Weights as 8-bit integers with a scale for each output."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qwen3_vl.errors import ConfigError
from qwen3_vl.models.stored import StoredModule, TensorReader
from qwen3_vl.ops.rounding import quantise, restore
from qwen3_vl.plan import Bounded, Guarantee, Plan
from qwen3_vl.seams import LinearRule


@dataclass(frozen=True)
class WeightInt8:
    """Weights in 8 bits.

    Paper: LLM.int8(), arXiv:2208.07339, of which the rounding of weights by row is taken
    Seam: linear
    Gives: half the bytes of bfloat16 weights, a quarter of float32
    Costs: rounding errors; until a fused kernel serves it, each product restores its weights
    Avoid: where memory is not short, until that kernel is there
    """

    guarantee: ClassVar[Guarantee] = Bounded(0.05)

    modules: str = r"\.(self_attn|attn|mlp)\."
    """A regular expression: which linear modules, by name. Embeddings and head are not among
    them, nor are experts."""

    def __post_init__(self) -> None:
        try:
            re.compile(self.modules)
        except re.error as error:
            raise ConfigError(
                f"modules {self.modules!r} is not a regular expression: {error}"
            ) from (None)

    def apply(self, plan: Plan) -> Plan:
        """Store the weights of these modules so."""
        return plan.answer(self, linear=LinearRule(self.modules, self))

    def linear(self, inputs: int, outputs: int, *, bias: bool) -> Int8Linear:
        """The module that holds codes and scales."""
        return Int8Linear(inputs, outputs, bias=bias)


class Int8Linear(StoredModule):
    """A matrix product whose weights are restored for each use."""

    def __init__(self, inputs: int, outputs: int, *, bias: bool) -> None:
        super().__init__()
        self.register_buffer("codes", torch.empty(outputs, inputs, dtype=torch.int8))
        self.register_buffer("scale", torch.empty(outputs, 1, dtype=torch.float32))
        # Without elements: it keeps the model's dtype, in which weights are written, through casts.
        self.register_buffer("written", torch.empty(0), persistent=False)
        self.bias = nn.Parameter(torch.empty(outputs)) if bias else None
        self.codes: Tensor
        self.scale: Tensor
        self.written: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """`x` times the restored weights."""
        return F.linear(x, restore(self.codes, self.scale, x.dtype), self.bias)

    def read(self, tensors: TensorReader) -> None:
        """Round the weights as they come from the file."""
        weight = tensors.take("weight", tuple(self.codes.shape))
        self.codes, self.scale = quantise(weight, bits=8)
        self.written = weight.new_empty(0)
        if self.bias is not None:
            self.bias = nn.Parameter(tensors.take("bias", tuple(self.bias.shape)))

    def stored(self) -> Mapping[str, Tensor]:
        """The restored weights, so that what is saved is an ordinary checkpoint."""
        stored = {"weight": restore(self.codes, self.scale, self.written.dtype)}
        return stored if self.bias is None else stored | {"bias": self.bias}

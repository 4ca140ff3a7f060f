"""The vision tower in 8 bits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from qwen3_vl.errors import Incompatible
from qwen3_vl.models.frames import attends_in_frames, paged_frames
from qwen3_vl.models.linears import check_pattern
from qwen3_vl.models.packed import PackedLinear
from qwen3_vl.ops.pages import PagedPass
from qwen3_vl.plan import Bounded, Guarantee, Plan
from qwen3_vl.seams import LinearRule


@dataclass(frozen=True)
class VisionInt8:
    """Weights and attention of the vision tower in 8 bits.

    Paper: SageAttention, arXiv:2410.02367, for attention with rounded queries and keys; weights by
        row as in LLM.int8(), arXiv:2208.07339
    Seam: frames
    Gives: half the bytes of bfloat16 weights; and with kernel_fusion much of the time that a
        picture takes before the first word
    Costs: rounding errors of weights, and of what they and attention multiply
    Avoid: for training the tower. Beside weight_int8, which stores the tower too, say
        weight_int8(modules="language_model")
    """

    guarantee: ClassVar[Guarantee] = Bounded(0.05)

    modules: str = r"\.visual\."
    """A regular expression: which linear modules, by name."""

    def __post_init__(self) -> None:
        check_pattern(self.modules)

    def apply(self, plan: Plan) -> Plan:
        """Store weights so, and attend so."""
        if plan.device.type != "cpu":
            raise Incompatible(
                f"vision_int8: its attention is for the CPU, not for {plan.device}; there use "
                f'weight_int8(modules="{self.modules}")'
            )
        return plan.answer(self, linear=LinearRule(self.modules, self), frames=self)

    def linear(self, inputs: int, outputs: int, *, bias: bool) -> PackedLinear:
        """The module that holds the packed weights."""
        return PackedLinear(inputs, outputs, bias=bias, bits=8)

    def begin(self, lengths: Sequence[int], heads: int, dim: int) -> PagedPass:
        """A way through pages in 8 bits."""
        return paged_frames(lengths, heads, dim, 8)

    def remarks(self, plan: Plan) -> Sequence[str]:
        """Why the tower attends as without it, if it does."""
        vision = plan.config.vision_config
        dim = vision.hidden_size // vision.num_heads
        if attends_in_frames(plan.seams, dim):
            return ()
        why = f"another technique computes it, or heads of {dim} are no multiple of 32"
        return (f"attention of the vision tower is not in 8 bits: {why}",)

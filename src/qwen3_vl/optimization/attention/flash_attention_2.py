"""The fused attention kernel of torch, or an error; never silently the slow way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from qwen3_vl.errors import DeviceError, Incompatible
from qwen3_vl.ops.attention import attention
from qwen3_vl.plan import Exact, Guarantee, Plan


@dataclass(frozen=True)
class FlashAttention2:
    """The fused attention kernel, held to.

    Paper: FlashAttention-2, arXiv:2307.08691
    Seam: mixer
    Gives: the certainty that no attention falls back to the kernel that stores all scores
    Costs: nothing where the kernel serves; an error where it does not
    Avoid: on GPUs older than Ampere, which have no such kernel
    """

    guarantee: ClassVar[Guarantee] = Exact()

    def apply(self, plan: Plan) -> Plan:
        """Compute all attention, of text and pictures, with the fused kernel."""
        if plan.device.type == "cuda" and torch.cuda.get_device_capability(plan.device) < (8, 0):
            raise Incompatible(
                "flash_attention_2 needs a GPU of compute capability 8.0 or later; "
                "use memory_efficient_attention"
            )
        if plan.device.type == "cuda" and plan.dtype not in (None, torch.bfloat16, torch.float16):
            raise Incompatible(
                f"flash_attention_2 computes on GPUs in 16 bits alone, not in {plan.dtype}; set "
                "dtype to bfloat16 or float16, or use memory_efficient_attention"
            )
        return plan.answer(self, mixer=self)

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, *, causal: bool) -> Tensor:
        """Attend within one sequence."""
        try:
            with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
                return attention(q, k, v, causal=causal)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise DeviceError(
                f"torch's fused attention cannot serve {q.dtype} on {q.device}: {error}; "
                "leave flash_attention_2 out of the recipe"
            ) from error

"""The mixture of experts: a router picks a few small MLPs per token and mixes their answers."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qwen3_vl.config.model import ExpertsConfig, TextConfig
from qwen3_vl.models.stored import StoredModule, TensorReader


class Experts(StoredModule):
    """The weights of all experts of a layer, laid out as in the official checkpoints.

    Those that transformers 5 writes have the last two dimensions swapped; both are read.
    """

    def __init__(self, hidden: int, config: ExpertsConfig) -> None:
        super().__init__()
        count, inner = config.num_experts, config.moe_intermediate_size
        self.gate_up_proj = nn.Parameter(torch.empty(count, hidden, 2 * inner))
        self.down_proj = nn.Parameter(torch.empty(count, inner, hidden))

    def forward(self, x: Tensor, chosen: Tensor, shares: Tensor) -> Tensor:
        """Mix for `x` [tokens, hidden] the experts `chosen` by their `shares` [tokens, k]."""
        out = torch.zeros_like(x)
        for expert in chosen.unique().tolist():
            token, rank = (chosen == expert).nonzero(as_tuple=True)
            gate, up = (x[token] @ self.gate_up_proj[expert]).chunk(2, dim=-1)
            answer = (F.silu(gate) * up) @ self.down_proj[expert]
            out.index_add_(0, token, answer * shares[token, rank].unsqueeze(-1))
        return out

    def read(self, tensors: TensorReader) -> None:
        """Take both tensors; at most one of them is square and looks the same either way."""
        own = dict(self.named_parameters(recurse=False))
        found = {
            name: tensors.take(name, tuple(empty.shape), tuple(empty.mT.shape))
            for name, empty in own.items()
        }
        swapped = any(found[name].shape != own[name].shape for name in own)
        for name, tensor in found.items():
            weight = tensor.mT.contiguous() if swapped else tensor
            self.register_parameter(name, nn.Parameter(weight))

    def stored(self) -> Mapping[str, Tensor]:
        """Both tensors as they are."""
        return dict(self.named_parameters(recurse=False))


class Router(nn.Module):
    """Scores every expert for every token and keeps the best few."""

    def __init__(self, hidden: int, config: ExpertsConfig) -> None:
        super().__init__()
        self.top_k = config.num_experts_per_tok
        self.weight = nn.Parameter(torch.empty(config.num_experts, hidden))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The chosen experts and their shares, which add up to one."""
        scores = F.linear(x, self.weight).softmax(dim=-1, dtype=torch.float32)
        best, chosen = scores.topk(self.top_k, dim=-1)
        return chosen, (best / best.sum(dim=-1, keepdim=True)).to(x.dtype)


class MoeLayer(nn.Module):
    """Stands where a dense MLP would."""

    def __init__(self, config: TextConfig, experts: ExpertsConfig) -> None:
        super().__init__()
        self.gate = Router(config.hidden_size, experts)
        self.experts = Experts(config.hidden_size, experts)

    def forward(self, x: Tensor) -> Tensor:
        """Transform each token [tokens, hidden] by its experts."""
        return self.experts(x, *self.gate(x))

"""How far honest results may lie from exact ones, derived for attention and for whole models."""

from __future__ import annotations

import torch
from torch import Tensor

from qwen3_vl.config.model import Qwen3VLConfig
from qwen3_vl.ops.attention import meaning
from qwen3_vl.testing import check_op, tolerance


def check_attention(actual: Tensor, q: Tensor, k: Tensor, v: Tensor, *, causal: bool) -> None:
    """Compare with the full softmax in float64."""
    q, k, v = (x.double() for x in (q, k, v))
    weighted = meaning(q, k, v.abs(), causal=causal)
    check_weighted(actual, meaning(q, k, v, causal=causal), weighted, q, k)


def check_weighted(actual: Tensor, exact: Tensor, weighted: Tensor, q: Tensor, k: Tensor) -> None:
    """Compare with an exact result over these queries and keys; `weighted` is that of |v|.

    A score is a sum in float32, whose error moves the weight of a value by as much; the weights and
    the result are then written in the dtype.
    """
    largest_score = q.norm(dim=-1, keepdim=True) * k.norm(dim=-1).max() * q.shape[-1] ** -0.5
    terms = len(k) + q.shape[-1]
    allowed = tolerance(weighted * (1 + 2 * largest_score), terms, torch.float32)
    check_op(actual, exact, allowed + tolerance(weighted, terms, actual.dtype, roundings=2))


def check_logits(actual: Tensor, expected: Tensor, config: Qwen3VLConfig) -> None:
    """The same but for the order of sums: two of them are added in each layer of text and vision.

    The scale is that of all logits: what is added in a layer may cancel in one of them.
    """
    text, layers = config.text_config, config.vision_config.depth
    layers += text.num_hidden_layers
    magnitude = expected.abs().max() * 2 * layers
    check_op(actual, expected, tolerance(magnitude, text.intermediate_size, torch.float32))

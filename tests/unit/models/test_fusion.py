"""Features land on their placeholders, in order, and DeepStack adds to these places alone."""

from __future__ import annotations

import pytest
import torch

from qwen3_vl.errors import InputError
from qwen3_vl.models.fusion import fuse
from qwen3_vl.models.vision import VisualFeatures

IMAGE, VIDEO = 7, 8
IDS = torch.tensor([1, IMAGE, IMAGE, 2, VIDEO, IMAGE])


def features(*values: float, taps: int = 2) -> VisualFeatures:
    """Tokens [value, value]; tap number t adds ten times t more."""
    tokens = torch.tensor(values).unsqueeze(1).expand(-1, 2)
    return VisualFeatures(tokens, tuple(tokens + 10 * (tap + 1) for tap in range(taps)))


def test_features_replace_placeholders_in_order():
    embeddings = torch.zeros(6, 2)
    fused = fuse(IDS, embeddings, {IMAGE: features(1, 2, 3), VIDEO: features(5)})
    assert fused.embeddings[:, 0].tolist() == [0, 1, 2, 0, 5, 3]
    assert (embeddings == 0).all()


def test_deepstack_adds_at_visual_places_to_the_first_layers_alone():
    fused = fuse(IDS, torch.zeros(6, 2), {IMAGE: features(1, 2, 3), VIDEO: features(5)})
    x = torch.ones(6, 2)
    assert fused.add_deepstack(0, x)[:, 1].tolist() == [1, 12, 13, 1, 16, 14]
    assert fused.add_deepstack(1, x)[:, 1].tolist() == [1, 22, 23, 1, 26, 24]
    assert torch.equal(fused.add_deepstack(2, x), x)
    assert (x == 1).all()


def test_text_alone_passes_through():
    embeddings = torch.ones(3, 2)
    fused = fuse(torch.tensor([1, 2, 3]), embeddings, {})
    assert torch.equal(fused.embeddings, embeddings)
    assert torch.equal(fused.add_deepstack(0, embeddings), embeddings)


def test_features_take_the_dtype_of_the_decoder():
    fused = fuse(IDS, torch.zeros(6, 2).bfloat16(), {IMAGE: features(1, 2, 3), VIDEO: features(5)})
    assert fused.embeddings.dtype == torch.bfloat16
    assert fused.add_deepstack(0, fused.embeddings).dtype == torch.bfloat16


@pytest.mark.parametrize("values", [(1, 2), (1, 2, 3, 4)])
def test_as_many_features_as_placeholders(values):
    with pytest.raises(InputError, match=f"3 placeholders of id 7 but .* give {len(values)}"):
        fuse(IDS, torch.zeros(6, 2), {IMAGE: features(*values)})

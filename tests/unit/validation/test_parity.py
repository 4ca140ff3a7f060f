"""What counts as equal."""

from __future__ import annotations

import pytest
import torch

from qwen3_vl.validation.parity import _differences


@pytest.mark.parametrize(
    ("what", "error", "passed"),
    [
        ("logits", 3e-4, True),
        ("logits", 5e-4, False),
        ("pixel_values", 0.0, True),
        ("pixel_values", 1e-7, False),
        ("pixel_values_videos", 1e-7, False),
    ],
)
def test_numbers_may_differ_by_a_share_of_the_largest_and_pixels_not_at_all(
    what: str, error: float, passed: bool
) -> None:
    theirs = torch.tensor([4.0, 0.0])
    (row,) = _differences("case", {what: theirs + torch.tensor([0.0, error])}, {what: theirs})
    assert row.passed == passed

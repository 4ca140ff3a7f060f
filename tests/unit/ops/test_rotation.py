"""The angles as kernels make them are those of torch."""

from __future__ import annotations

import pytest
import torch

from qwen3_vl.ops import native
from qwen3_vl.ops.rotation import Angles, Rotation

PAIRS = 24
ROTATION = Rotation(torch.arange(PAIRS) % 3, 5e6 ** (-torch.arange(PAIRS) / PAIRS))
POSITIONS = torch.tensor([[0, 7, 123, 262143], [0, 7, 99, 262143], [0, 7, 140, 1]])


@pytest.mark.skipif(native.variant() is None, reason="there are no kernels")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_turns_are_the_halves_of_cosines_and_sines(dtype: torch.dtype) -> None:
    """Both round a cosine to float32 within a unit of the last place, then to `dtype`."""
    angles = Angles(ROTATION, POSITIONS, dtype)
    wanted = torch.cat([one[:, :PAIRS] for one in angles.pair], dim=1).float()
    assert all(torch.equal(one[:, :PAIRS], one[:, PAIRS:]) for one in angles.pair)
    step = torch.finfo(dtype).eps  # of numbers just below 1
    assert (angles.turns - wanted).abs().max() <= step
    assert torch.equal(angles.turns, angles.turns.to(dtype).float())
    assert (angles.turns != wanted).float().mean() < (0.1 if dtype == torch.float32 else 1e-3)


def test_each_pair_turns_with_its_own_position() -> None:
    turned = Angles(ROTATION, torch.tensor([[0], [5], [0]]), torch.float32).turns[0]
    assert (turned[:PAIRS] != 1).nonzero().flatten().tolist()[:5] == [1, 4, 7, 10, 13]
    assert (turned[PAIRS:] != 0).nonzero().flatten().tolist() == list(range(1, PAIRS, 3))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_positions_between_two_numbers_are_torch_s(dtype: torch.dtype) -> None:
    """Where tokens became one, theirs is the mean."""
    angles = Angles(ROTATION, POSITIONS + 0.5, dtype)
    wanted = torch.cat([one[:, :PAIRS] for one in angles.pair], dim=1).float()
    assert torch.equal(angles.turns, wanted)

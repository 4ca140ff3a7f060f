"""Our Muon is torch's, for matrices of several shapes at once, and does what it is for."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from qwen3_vl.training.muon import Muon

SHAPES = [(24, 40), (40, 24), (24, 40), (16, 16), (40, 24), (24, 40)]


def _matrices() -> list[Tensor]:
    torch.manual_seed(0)
    return [torch.randn(shape, requires_grad=True) for shape in SHAPES]


def _give_gradients(matrices: list[Tensor], seed: int) -> None:
    torch.manual_seed(seed)
    for one in matrices:
        one.grad = torch.randn(one.shape) @ torch.diag(torch.linspace(0.05, 1, one.shape[1]))


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch has one since 2.9")
def test_its_steps_are_those_of_torch() -> None:
    ours, theirs, start = _matrices(), _matrices(), _matrices()
    settings = {"lr": 0.02, "weight_decay": 0.3, "momentum": 0.9}
    mine = Muon(ours, **settings)
    other = torch.optim.Muon(theirs, **settings, adjust_lr_fn="match_rms_adamw")
    for seed in range(3):
        for matrices, optimizer in ((ours, mine), (theirs, other)):
            _give_gradients(matrices, seed)
            optimizer.step()
    for one, reference, before in zip(ours, theirs, start, strict=True):
        # Both round to bfloat16 at each of five rounds, in sums of different order.
        assert (one - reference).norm() <= 0.02 * (reference - before).norm()


def test_bfloat16_is_fine_enough() -> None:
    fine, coarse, start = _matrices(), _matrices(), _matrices()
    for matrices, inner in ((fine, torch.float32), (coarse, torch.bfloat16)):
        _give_gradients(matrices, seed=1)
        Muon(matrices, lr=0.02, inner=inner).step()
    for one, reference, before in zip(coarse, fine, start, strict=True):
        difference = (one - reference).norm() / (reference - before).norm()
        assert 0 < difference < 0.02


def test_a_step_is_as_strong_in_every_direction() -> None:
    matrices = _matrices()
    before = [one.detach().clone() for one in matrices]
    _give_gradients(matrices, seed=1)
    weak = torch.linalg.svdvals(matrices[0].grad)  # type: ignore[arg-type]
    assert weak.min() < 0.2 * weak.max()
    Muon(matrices, lr=1.0, weight_decay=0.0).step()
    for one, old in zip(matrices, before, strict=True):
        strengths = torch.linalg.svdvals(one.detach() - old) / (0.2 * max(one.shape) ** 0.5)
        assert strengths.min() > 0.5
        assert strengths.max() < 1.5


def test_what_has_no_gradient_stays() -> None:
    matrices = _matrices()
    _give_gradients(matrices, seed=1)
    matrices[1].grad = None
    before = [one.detach().clone() for one in matrices]
    Muon(matrices, lr=0.1).step()
    same = [torch.equal(one, old) for one, old in zip(matrices, before, strict=True)]
    assert same == [False, True, False, False, False, False]


def test_a_closure_is_called_with_gradients_on() -> None:
    matrix = torch.eye(4, requires_grad=True)
    optimizer = Muon([matrix], lr=0.1)

    def again() -> float:
        optimizer.zero_grad()
        loss = matrix.square().sum()
        loss.backward()
        return float(loss.detach())

    assert optimizer.step(again) == 4.0
    assert optimizer.step(again) < 4.0


def test_vectors_are_turned_away() -> None:
    with pytest.raises(ValueError, match="give other weights to AdamW"):
        Muon([torch.ones(3, requires_grad=True)])

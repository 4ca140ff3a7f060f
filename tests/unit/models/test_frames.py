"""Patches attend to those of their frame, as the mixer says or in pages of 8 bits."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from qwen3_vl.models.frames import Frames
from qwen3_vl.optimization.attention.memory_efficient_attention import MemoryEfficientAttention
from qwen3_vl.optimization.vision.vision_int8 import VisionInt8
from qwen3_vl.seams import PLAIN, Seams

LENGTHS = [40, 6, 200]
HEADS = 3
ROUNDED = Seams(frames=VisionInt8())


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def frames(seams: Seams, dim: int = 64) -> Frames:
    angles = numbers(sum(LENGTHS), dim // 2).repeat(1, 2)
    return Frames(LENGTHS, (angles.cos(), angles.sin()), HEADS, seams)


def projected(dim: int = 64) -> Tensor:
    return numbers(sum(LENGTHS), 3 * HEADS * dim, seed=1)


@pytest.mark.usefixtures("variant")
@pytest.mark.parametrize("dim", [32, 64])
def test_rounded_attention_is_near_the_plain_one(dim: int) -> None:
    """Keys, values and queries lose at most half a code of 127, on AVX2 queries of 63."""
    plain = frames(PLAIN, dim).attend(projected(dim), torch.float32)
    rounded = frames(ROUNDED, dim).attend(projected(dim), torch.float32)
    error = (rounded - plain).norm() / plain.norm()
    assert 1e-4 < error < 0.03


@pytest.mark.parametrize("seams", [PLAIN, ROUNDED], ids=["plain", "rounded"])
def test_no_patch_sees_another_frame(seams: Seams) -> None:
    before = frames(seams).attend(projected(), torch.float32)
    changed = projected()
    changed[40:46] += 1
    after = frames(seams).attend(changed, torch.float32)
    alike = (before == after).all(dim=1)
    assert alike[:40].all()
    assert alike[46:].all()
    assert not alike[40:46].any()


def test_blocks_can_go_through_the_same_pages_one_after_the_other() -> None:
    shared = frames(ROUNDED)
    first = shared.attend(projected(), torch.float32)
    shared.attend(5 * projected().flip(0), torch.float32)
    assert torch.equal(shared.attend(projected(), torch.float32), first)


@pytest.mark.parametrize(
    ("seams", "dim"),
    [(ROUNDED, 48), (Seams(frames=VisionInt8(), mixer=MemoryEfficientAttention()), 64)],
    ids=["heads that fit no page", "another technique attends"],
)
def test_what_cannot_be_rounded_is_attended_to_as_it_is(seams: Seams, dim: int) -> None:
    plain = frames(PLAIN, dim).attend(projected(dim), torch.float32)
    got = frames(seams, dim).attend(projected(dim), torch.float32)
    torch.testing.assert_close(got, plain, rtol=1e-5, atol=1e-6)


def test_gradients_are_those_of_plain_attention() -> None:
    grads = []
    for seams in (PLAIN, ROUNDED):
        qkv = projected().requires_grad_()
        frames(seams).attend(qkv, torch.float32).square().sum().backward()
        grads.append(qkv.grad)
    assert torch.equal(*grads)


def test_the_dtype_of_the_projections_comes_back() -> None:
    half = projected().bfloat16()
    for seams in (PLAIN, ROUNDED):
        assert frames(seams).attend(half, torch.bfloat16).dtype == torch.bfloat16

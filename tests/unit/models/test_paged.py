"""The store in pages: what comes in is there again, rounded once, whatever is kept."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import Tensor

from qwen3_vl.models.paged import PagedStore
from qwen3_vl.ops.pages import TOKENS, PageBits


def numbers(tokens: int, dim: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    k, v = (torch.randn(tokens, 2, dim, generator=generator) for _ in range(2))
    return k, v


def half_a_step(x: Tensor, bits: PageBits) -> Tensor:
    if bits == 16:
        return x.abs() * 2.0**-8
    return x.abs().amax(dim=-1, keepdim=True) / 127 / 2 * 1.0001


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("dim", [24, 32, 64])
def test_what_is_appended_is_held(bits: PageBits, dim: int) -> None:
    store, wanted = PagedStore(bits), numbers(75, dim)
    for start, end in ((0, 1), (1, 40), (40, 75)):
        held = store.append(wanted[0][start:end], wanted[1][start:end])
        assert len(store) == end
        for got, exact in zip(held, wanted, strict=True):
            assert got.shape == (end, 2, dim)
            assert ((got - exact[:end]).abs() <= half_a_step(exact[:end], bits)).all()
    assert all(torch.equal(*pair) for pair in zip(held, store.read(), strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_held_comes_in_the_dtype_it_came_in(dtype: torch.dtype) -> None:
    store = PagedStore(8)
    assert {x.dtype for x in store.append(*(x.to(dtype) for x in numbers(3, 32)))} == {dtype}


@pytest.mark.parametrize("bits", [8, 16])
def test_what_is_kept_is_not_rounded_again(bits: PageBits) -> None:
    store = PagedStore(bits)
    k, v = store.append(*numbers(70, 32))
    index = torch.stack((torch.arange(0, 70, 2), torch.arange(1, 70, 2)), dim=1)
    store.keep(index)
    assert len(store) == 35
    for got, before in zip(store.read(), (k, v), strict=True):
        chosen = torch.stack((before[::2, 0], before[1::2, 1]), dim=1)
        torch.testing.assert_close(got, chosen, rtol=1e-6, atol=0)
    store.append(*numbers(5, 32, seed=1))
    assert len(store) == 40


@pytest.mark.parametrize(("bits", "share"), [(8, 0.25), (16, 0.5)])
def test_it_takes_what_it_promises(bits: PageBits, share: float) -> None:
    store = PagedStore(bits)
    k, v = numbers(4 * TOKENS, 128)
    store.append(k, v)
    scales = 4 / 128 if bits == 8 else 0
    table = 4 * 4
    assert store.nbytes == pytest.approx((k.nbytes + v.nbytes) * (share + scales / 4) + table)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("begun", [TOKENS, TOKENS + 5], ids=["full page", "part of a page"])
def test_a_copy_shares_pages_and_goes_its_own_way(bits: PageBits, begun: int) -> None:
    store, alone = PagedStore(bits), PagedStore(bits)
    for one in (store, alone):
        one.append(*numbers(begun, 32))
    before = store.nbytes
    twin = deepcopy(store)
    assert store.nbytes + twin.nbytes <= before + 8  # the second table
    pieces = {store: numbers(40, 32, seed=1), twin: numbers(40, 32, seed=2)}
    for one, piece in pieces.items():
        for part in zip(*(x.split([3, 37]) for x in piece), strict=True):
            one.append(*part)
    assert all(torch.equal(a[:begun], b) for a, b in zip(store.read(), alone.read(), strict=True))
    for one, piece in pieces.items():
        expected = deepcopy(alone)
        expected.append(*piece)
        assert all(map(torch.equal, one.read(), expected.read()))


def test_the_pages_of_a_copy_that_is_gone_are_used_again() -> None:
    store = PagedStore(8)
    store.append(*numbers(TOKENS, 32))
    for seed in range(5):
        twin = deepcopy(store)
        twin.append(*numbers(TOKENS, 32, seed=seed))
    assert store.nbytes + twin.nbytes <= 4 * store.layout.nbytes + 12
    del twin
    store.append(*numbers(TOKENS, 32, seed=9))
    assert len(store.latest(1).pages) <= 4


def test_what_a_copy_keeps_is_its_own() -> None:
    store = PagedStore(8)
    before = store.append(*numbers(40, 32))
    twin = deepcopy(store)
    twin.keep(torch.arange(0, 40, 2).unsqueeze(1).expand(-1, 2))
    assert all(map(torch.equal, store.read(), before))
    assert all(torch.equal(got, whole[::2]) for got, whole in zip(twin.read(), before, strict=True))


def test_an_empty_store_has_nothing_to_read() -> None:
    with pytest.raises(IndexError, match="no token was appended yet"):
        PagedStore(8).read()

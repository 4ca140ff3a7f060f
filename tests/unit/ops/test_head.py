"""A head scores its words as its product does, but for the likeliest, which the table scores."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from qwen3_vl.ops import native
from qwen3_vl.ops.head import Head
from qwen3_vl.ops.largest import largest
from qwen3_vl.ops.packed import Bits, in_halves, pack
from qwen3_vl.ops.products import Packed, Product

HIDDEN = 192


def made(words: int, bits: Bits, promising: int, dtype: torch.dtype) -> tuple[Packed, Tensor]:
    """A table, and packed from it what a head multiplies first."""
    generator = torch.Generator().manual_seed(words)
    table = torch.randn(words, HIDDEN, generator=generator).to(dtype)
    data = pack(table.float(), bits)
    return Packed(in_halves(data) if promising else data, words, HIDDEN, bits, promising), table


def randoms(tokens: int) -> Tensor:
    return torch.randn(tokens, HIDDEN, generator=torch.Generator().manual_seed(tokens))


@pytest.mark.usefixtures("variant")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("tokens", [1, 5, 8, 9, 21])
@pytest.mark.parametrize(("bits", "promising"), [(4, 0), (4, 11), (8, 0), (16, 0)])
@pytest.mark.parametrize(("words", "refined"), [(7, 7), (1003, 1), (1003, 20), (1003, 200)])
def test_the_likeliest_are_scored_by_the_table_and_the_others_as_they_were(
    words: int, refined: int, bits: Bits, promising: int, tokens: int, dtype: torch.dtype
) -> None:
    """A sum of n products in any order is off by n · 2⁻²⁴ of what they are without signs."""
    matrix, table = made(words, bits, promising, dtype)
    x = randoms(tokens)
    rough, got = Product(matrix)(x), Head(matrix, table, refined)(x)
    likeliest = largest(rough, refined)
    left = torch.ones_like(rough).scatter(1, likeliest, 0).bool()
    assert torch.equal(got[left], rough[left])
    wide, rows = x.double().unsqueeze(-1), table.double()[likeliest]
    exact, slack = (rows @ wide).squeeze(-1), (rows.abs() @ wide.abs()).squeeze(-1)
    error = (got.gather(1, likeliest) - exact).abs()
    assert (error <= HIDDEN * 2**-24 * slack).all()


@pytest.mark.usefixtures("variant")
def test_rows_that_fill_the_last_panel_up_are_no_words() -> None:
    """Their results are zero, more than any word's here."""
    table = -torch.rand(1001, HIDDEN, generator=torch.Generator().manual_seed(1))
    matrix = Packed(pack(table, 8), 1001, HIDDEN, 8)
    x = torch.rand(2, HIDDEN, generator=torch.Generator().manual_seed(2))
    rough, got = Product(matrix)(x), Head(matrix, table, 3)(x)
    assert rough.max() < 0
    assert (got != rough).sum(dim=1).tolist() == [3, 3]
    assert torch.equal((got != rough).nonzero()[:, 1].view(2, 3), largest(rough, 3).sort().values)


@pytest.mark.usefixtures("variant")
@pytest.mark.parametrize("odd", [float("nan"), float("inf")])
def test_what_is_no_finite_number_shows(odd: float) -> None:
    """In all that is not rounded on the way: to 8 bits NaN is a number as any other."""
    matrix, table = made(500, 4, 0, torch.float32)
    x = randoms(3)
    x[1, 5] = odd
    got = Head(matrix, table, 4)(x)
    assert got[[0, 2]].isfinite().all()
    assert (~got[1].isfinite()).sum() >= 4


def test_what_kernels_cannot_take_is_computed_with_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix, table = made(300, 4, 0, torch.float32)
    x = randoms(20)
    expected = Head(matrix, table, 5)(x)
    with monkeypatch.context() as without:
        without.setattr(native, "kernels_for", lambda *_: None)
        plain = Head(matrix, table, 5)(x)
    apart = Head(matrix, table.t().contiguous().t(), 5)(x)
    wide = Head(matrix, table, 5)(x.double())
    torch.testing.assert_close(apart, expected, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(wide.float(), plain, rtol=1e-5, atol=1e-4)
    assert wide.dtype == torch.float64

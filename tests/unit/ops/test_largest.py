"""The largest numbers of rows are those that sorting finds."""

from __future__ import annotations

import pytest
import torch

from qwen3_vl.ops.largest import largest


@pytest.mark.usefixtures("variant")
@pytest.mark.parametrize("width", [1, 63, 64, 100, 4096, 5000, 151_936])
@pytest.mark.parametrize("count", [1, 7, 64])
def test_they_are_what_sorting_finds(width: int, count: int) -> None:
    """Of equal numbers the first comes first; torch tells of these only where it sorts."""
    count = min(count, width)
    x = torch.randn(5, width, generator=torch.Generator().manual_seed(width))
    x[1] = x[1].sort().values
    x[2] = -x[2].abs() * 1e30
    x[3, width // 2 :: 7] = float("-inf")
    x[4, width // 3] = float("inf")
    got = largest(x, count)
    assert torch.equal(x.gather(1, got), x.sort(dim=1, descending=True).values[:, :count])


@pytest.mark.usefixtures("variant")
@pytest.mark.parametrize("place", [0, 17, 640, 4999])
def test_a_number_that_is_none_is_larger_than_any(place: int) -> None:
    x = torch.randn(2, 5000, generator=torch.Generator().manual_seed(1))
    x[0, 100], x[0, place], x[1, place] = float("inf"), float("nan"), float("nan")
    assert largest(x, 1).tolist() == [[place], [place]]
    assert largest(x, 2)[0].tolist() == [place, 100]


@pytest.mark.usefixtures("variant")
def test_of_equal_numbers_the_first_comes_first() -> None:
    x = torch.zeros(1, 5000)
    x[0, [4990, 70, 3, 2000]] = 1
    assert largest(x, 6)[0].tolist() == [3, 70, 2000, 4990, 0, 1]
    assert largest(torch.full((1, 5000), float("-inf")), 3)[0].tolist() == [0, 1, 2]


def test_neighbours_may_all_be_among_them() -> None:
    x = torch.zeros(1, 6400)
    x[0, 640:704] = 1 + torch.arange(64)
    assert set(largest(x, 64)[0].tolist()) == set(range(640, 704))
    assert set(largest(x, 10)[0].tolist()) == set(range(694, 704))


def test_places_are_all_different_where_numbers_are_equal() -> None:
    assert len(set(largest(torch.ones(1, 1000), 12)[0].tolist())) == 12

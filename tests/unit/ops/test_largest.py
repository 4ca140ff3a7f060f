"""The largest numbers of rows are those that sorting finds."""

from __future__ import annotations

import pytest
import torch

from qwen3_vl.ops.largest import largest


@pytest.mark.parametrize("width", [1, 63, 64, 100, 4096, 5000])
@pytest.mark.parametrize("count", [1, 7, 64])
def test_they_are_what_sorting_finds(width: int, count: int) -> None:
    count = min(count, width)
    x = torch.randn(3, width, generator=torch.Generator().manual_seed(width))
    x[1] = x[1].sort().values
    x[2] = -x[2].abs() * 1e30
    got = x.gather(1, largest(x, count)).sort(dim=1, descending=True).values
    assert torch.equal(got, x.topk(count, dim=1).values)


def test_neighbours_may_all_be_among_them() -> None:
    x = torch.zeros(1, 6400)
    x[0, 640:704] = 1 + torch.arange(64)
    assert set(largest(x, 64)[0].tolist()) == set(range(640, 704))
    assert set(largest(x, 10)[0].tolist()) == set(range(694, 704))


def test_places_are_all_different_where_numbers_are_equal() -> None:
    assert len(set(largest(torch.ones(1, 1000), 12)[0].tolist())) == 12

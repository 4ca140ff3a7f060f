"""Pages are had by those that hold them, and by nobody else once they are written to."""

from __future__ import annotations

import torch

from qwen3_vl.models.page_pool import PagePool
from qwen3_vl.ops.pages import PageFormat

LAYOUT = PageFormat(heads=2, dim=32, bits=8)


def test_pages_come_in_order_and_all_are_used() -> None:
    pool = PagePool(LAYOUT)
    assert pool.take(1) == [0]
    assert pool.take(3) == [1, 2, 3]
    assert pool.take(1) == [4]
    assert pool.pages.shape == (8, LAYOUT.nbytes)  # as many again: few copies of what is there
    assert pool.take(3) == [5, 6, 7]


def test_what_is_released_is_taken_before_there_are_more() -> None:
    pool = PagePool(LAYOUT)
    first, second = pool.take(2), pool.take(2)
    pool.release(first)
    assert pool.take(2) == first
    assert len(pool.pages) == 4
    pool.release(second)
    assert pool.take(1) == second[:1]


def test_growing_moves_no_page() -> None:
    pool = PagePool(LAYOUT)
    (number,) = pool.take(1)
    pool.pages[number] = 7
    pool.take(9)
    assert (pool.pages[number] == 7).all()


def test_a_shared_page_is_copied_for_the_one_that_writes() -> None:
    pool = PagePool(LAYOUT)
    (number,) = pool.take(1)
    pool.pages[number] = 7
    assert pool.alone(number) == number
    pool.share([number])
    mine = pool.alone(number)
    assert mine != number
    assert (pool.pages[mine] == 7).all()
    assert pool.alone(number) == number  # the other one is left alone with it


def test_pages_made_in_inference_are_copied_outside_of_it() -> None:
    with torch.inference_mode():
        pool = PagePool(LAYOUT)
        first, second = pool.take(2)
    pool.release([second])
    pool.share([first])
    assert pool.alone(first) == second


def test_a_page_is_free_when_the_last_one_lets_go() -> None:
    pool = PagePool(LAYOUT)
    numbers = pool.take(1)
    pool.share(numbers)
    pool.release(numbers)
    assert pool.take(1) != numbers
    pool.release(numbers)
    assert pool.take(1) == numbers


def test_memory_is_counted_once() -> None:
    pool = PagePool(LAYOUT)
    common, own = pool.take(3), pool.take(2)
    pool.share(common)
    first, second = pool.nbytes_of(common), pool.nbytes_of([*common, *own])
    assert first + second == pool.pages.nbytes
    assert first < second

"""A choice says what was wanted, what is used, and why."""

from __future__ import annotations

import pytest

from qwen3_vl.errors import ConfigError, DeviceError
from qwen3_vl.hardware.fallback import Candidate, Choice, choose

FAST = Candidate("fast", "the quick one")
BROKEN = Candidate("broken", "the best one", obstacle="it is broken")
SLOW = Candidate("slow", "the sure one")


def test_the_wanted_one_is_used_if_it_can_serve() -> None:
    choice = choose("slow", [FAST, SLOW])
    assert choice == Choice("slow", "slow", "the sure one")
    assert str(choice) == "slow: the sure one"


def test_auto_takes_the_first_that_can_serve_and_tells_what_it_passed_over() -> None:
    choice = choose("auto", [BROKEN, FAST, SLOW])
    assert choice.used == "fast"
    assert choice.passed_over == ("not broken, because it is broken",)
    assert str(choice) == "fast: the quick one; not broken, because it is broken"


def test_a_kind_is_the_first_of_it_that_can_serve() -> None:
    first = Candidate("car:0", "red", obstacle="it is broken")
    choice = choose("car", [SLOW, first, Candidate("car:1", "blue")])
    assert (choice.wanted, choice.used) == ("car", "car:1")
    assert str(choice) == "car:1: blue; not car:0, because it is broken"


def test_nothing_is_used_instead_of_what_was_wanted() -> None:
    with pytest.raises(DeviceError) as told:
        choose("broken", [FAST, BROKEN])
    expected = "broken cannot serve, because it is broken; take auto or fast"
    assert str(told.value) == expected


def test_an_unknown_wish_is_an_error() -> None:
    with pytest.raises(ConfigError, match="'fats' is not known here; it can be auto, fast, slow"):
        choose("fats", [FAST, SLOW])


def test_if_none_can_serve_each_reason_is_told() -> None:
    with pytest.raises(DeviceError, match=r"^broken cannot serve, because it is broken$"):
        choose("auto", [BROKEN])

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
    assert not choice.fell_back
    assert str(choice) == "slow: the sure one"


def test_auto_takes_the_first_that_can_serve_and_tells_what_it_passed_over() -> None:
    choice = choose("auto", [BROKEN, FAST, SLOW])
    assert choice.used == "fast"
    assert not choice.fell_back
    assert str(choice) == "fast: the quick one; not broken, because it is broken"


def test_falling_back_is_told() -> None:
    choice = choose("broken", [FAST, BROKEN])
    assert choice.fell_back
    told = "fast instead of broken: the quick one; not broken, because it is broken"
    assert str(choice) == told


def test_an_unknown_wish_is_an_error() -> None:
    with pytest.raises(ConfigError, match="'fats' is not known here; it can be auto, fast, slow"):
        choose("fats", [FAST, SLOW])


def test_if_none_can_serve_each_reason_is_told() -> None:
    with pytest.raises(DeviceError, match="not broken, because it is broken"):
        choose("auto", [BROKEN])

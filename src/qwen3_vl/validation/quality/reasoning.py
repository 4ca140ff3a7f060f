"""Questions that take several steps of thought, or a sum."""

from __future__ import annotations

from collections.abc import Callable

from qwen3_vl.validation.quality.dice import Answered, Dice, turns
from qwen3_vl.validation.quality.item import Item

_MODULUS = 10
_NAMES = "ABCDEFGHJKLM"


def chain(dice: Dice) -> Item:
    """A digit that is changed again and again; harder with more steps."""
    return Item("chain", turns([], [_new_problem(dice, _chain) for _ in range(dice.questions)]))


def arithmetic(dice: Dice) -> Item:
    """Sums and differences; harder with more digits."""
    asked = [_new_problem(dice, _arithmetic) for _ in range(dice.questions)]
    return Item("arithmetic", turns([], list(dict.fromkeys(asked))))


def _new_problem(dice: Dice, draw: Callable[[Dice], Answered]) -> Answered:
    """Draw until the problem is one of this split: there are few, and models have good memories."""
    while True:
        problem = draw(dice)
        if dice.may_ask(problem[0]):
            return problem


def _chain(dice: Dice) -> Answered:
    steps = dice.between((1, 2), (3, 8))
    start = state = dice.rng.randrange(_MODULUS)
    told: list[tuple[str, int]] = []
    for _ in range(steps):
        sign = dice.rng.choices("+-*", (3, 3, 2))[0]
        number = dice.rng.randint(1, 9) if sign != "*" else dice.one_of(3, 7, 9)
        state = {"+": state + number, "-": state - number, "*": state * number}[sign] % _MODULUS
        told.append((sign, number))
    return dice.one_of(_in_words, _in_names)(start, told), str(state)


def _in_words(start: int, told: list[tuple[str, int]]) -> str:
    verbs = {"+": "add", "-": "take", "*": "times"}
    steps = "; ".join(f"{verbs[sign]} {number}" for sign, number in told)
    return f"start with {start}; {steps}; modulo {_MODULUS}?"


def _in_names(start: int, told: list[tuple[str, int]]) -> str:
    steps = [f"{_NAMES[0]} = {start}"]
    for place, (sign, number) in enumerate(told, 1):
        steps.append(f"{_NAMES[place]} = {_NAMES[place - 1]} {sign} {number}")
    return f"modulo {_MODULUS}: {'; '.join(steps)}; {_NAMES[len(told)]}?"


def _arithmetic(dice: Dice) -> Answered:
    one, other = (dice.rng.randrange(10 ** dice.between((1, 1), (1, 3))) for _ in range(2))
    if dice.rng.random() < 0.5:
        return f"{one} + {other} =", str(one + other)
    one, other = max(one, other), min(one, other)
    return f"{one} - {other} =", str(one - other)

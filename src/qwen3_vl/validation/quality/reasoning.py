"""Questions that take several steps of thought, or a sum."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from qwen3_vl.validation.quality.dice import Answered, Dice, turns
from qwen3_vl.validation.quality.item import Item

_MODULUS = 10
_NAMES = "ABCDEFGHJKLM"


@dataclass(frozen=True)
class Walk:
    """A digit, what is done to it step by step, and what it is after each."""

    start: int
    steps: tuple[tuple[str, int], ...]
    states: tuple[int, ...]

    def in_words(self, asked: int | None = None) -> str:
        """The steps in words; `asked` is after how many of them it ends, else after all."""
        verbs = {"+": "add", "-": "take", "*": "times"}
        steps = "; ".join(f"{verbs[sign]} {number}" for sign, number in self.steps)
        after = "" if asked is None else f" after {asked}"
        return f"start with {self.start}; {steps}; modulo {_MODULUS}{after}?"

    def in_names(self, asked: int | None = None) -> str:
        """The same with a name for each state."""
        steps = [f"{_NAMES[0]} = {self.start}"]
        for place, (sign, number) in enumerate(self.steps, 1):
            steps.append(f"{_NAMES[place]} = {_NAMES[place - 1]} {sign} {number}")
        wanted = _NAMES[len(self.steps) if asked is None else asked]
        return f"modulo {_MODULUS}: {'; '.join(steps)}; {wanted}?"


def draw_walk(dice: Dice) -> Walk:
    """More steps at higher levels."""
    count = dice.between((1, 2), (3, 8))
    start = state = dice.rng.randrange(_MODULUS)
    steps: list[tuple[str, int]] = []
    states: list[int] = []
    for _ in range(count):
        sign = dice.rng.choices("+-*", (3, 3, 2))[0]
        number = dice.rng.randint(1, 9) if sign != "*" else dice.one_of(3, 7, 9)
        state = {"+": state + number, "-": state - number, "*": state * number}[sign] % _MODULUS
        steps.append((sign, number))
        states.append(state)
    return Walk(start, tuple(steps), tuple(states))


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
    walk = draw_walk(dice)
    return dice.one_of(walk.in_words, walk.in_names)(), str(walk.states[-1])


def _arithmetic(dice: Dice) -> Answered:
    one, other = (dice.rng.randrange(10 ** dice.between((1, 1), (1, 3))) for _ in range(2))
    if dice.rng.random() < 0.5:
        return f"{one} + {other} =", str(one + other)
    one, other = max(one, other), min(one, other)
    return f"{one} - {other} =", str(one - other)

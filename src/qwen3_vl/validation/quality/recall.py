"""Questions about what was said before: in long text, in pairs, or to be repeated."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from qwen3_vl.validation.quality.dice import Answered, Dice, turns
from qwen3_vl.validation.quality.item import Item, Turn
from qwen3_vl.validation.quality.language import DOMAINS, sentence
from qwen3_vl.validation.quality.reading import CHARACTERS, DIGITS

_LETTERS = "ABCDEFGHJKLMNPRSTUVWXYZ"
_TOKEN = re.compile(r"[a-z]+|\S")
_MOST_CODES = 6
"""In one text, where they are asked for one by one."""
_FIELDS = ("size", "cost", "row", "column", "code", "image", "count", "text", "line", "day")


def tokens(words: str) -> int:
    """About how many tokens a text has: lower-case words count as one, all other signs singly."""
    return len(_TOKEN.findall(words))


def needle(dice: Dice) -> Item:
    """A code in a long text; harder when the text is longer."""
    pairs = [(key, _value(dice)) for key in draw_keys(dice, dice.up_to(_MOST_CODES))]
    words = _hide(dice, pairs)
    asked = [(_one_code(dice, key), value) for key, value in dice.some_of(pairs)]
    return Item("needle", after(words, asked))


def needle_keys(dice: Dice) -> Item:
    """Some of several codes, in the order in which they are asked for."""
    pairs = [(key, _value(dice)) for key in draw_keys(dice, dice.between((2, 3), (4, 12)))]
    words = _hide(dice, pairs)
    asked: list[Answered] = []
    for _ in range(dice.questions):
        wanted = dice.some_of(pairs, dice.between((2, 2), (2, 4)))
        keys = ", ".join(key for key, _ in wanted)
        asked.append((f"give the codes of {keys}.", ", ".join(value for _, value in wanted)))
    return Item("needle_keys", after(words, list(dict.fromkeys(asked))))


def needle_values(dice: Dice) -> Item:
    """All codes of one key, in the order of the text."""
    keys = draw_keys(dice, max(dice.up_to(_MOST_CODES), 2))
    pairs = draw_codes(dice, keys)
    words = _hide(dice, pairs)
    asked = [all_codes(pairs, key) for key in dice.some_of(keys)]
    return Item("needle_values", after(words, asked))


def draw_codes(dice: Dice, keys: Sequence[str]) -> list[tuple[str, str]]:
    """Several codes for each of these keys, mixed."""
    pairs = [(key, _value(dice)) for key in keys for _ in range(dice.between((2, 2), (2, 4)))]
    dice.rng.shuffle(pairs)
    return pairs


def all_codes(pairs: Sequence[tuple[str, str]], key: str) -> Answered:
    """What asks for all codes of a key, and they."""
    codes = [value for other, value in pairs if other == key]
    return f"give all codes of {key} in order.", ", ".join(codes)


def in_words(pair: tuple[str, str]) -> str:
    """The sentence that names a code."""
    key, value = pair
    return f"the code of {key} is {value}."


def draw_keys(dice: Dice, number: int) -> list[str]:
    """So many different ones."""
    names = [letter + digit for letter in _LETTERS for digit in DIGITS]
    return dice.rng.sample(names, number)


def _value(dice: Dice) -> str:
    return "".join(dice.rng.choices(DIGITS, k=dice.between((2, 2), (3, 4))))


def _one_code(dice: Dice, key: str) -> str:
    return dice.one_of(f"what is the code of {key}?", f"give the code of {key}.")


def _hide(dice: Dice, pairs: Sequence[tuple[str, str]]) -> str:
    """Text that names the codes, in their order, somewhere among sentences about nothing."""
    rng = dice.rng
    needles = [in_words(pair) for pair in pairs]
    shortest, longest = dice.between((30, 30), (100, 100)), dice.between((60, 60), (1000, 1000))
    # Short and long texts are equally likely on a scale of doublings.
    wanted = round(shortest * (longest / shortest) ** rng.random())
    length = sum(map(tokens, needles))
    domain = DOMAINS[rng.choice(list(DOMAINS))]
    noise: list[str] = []
    while length < wanted:
        noise.append(sentence(rng, domain))
        length += tokens(noise[-1])
    places = sorted(rng.randint(0, len(noise)) for _ in needles)
    for place, line in zip(reversed(places), reversed(needles), strict=True):
        noise.insert(place, line)
    return " ".join(noise)


def after(words: str, asked: Sequence[Answered]) -> tuple[Turn, ...]:
    """Questions about a text, the first together with it."""
    (question, answer), *others = asked
    return turns([], [(f"{words}\n{question}", answer), *others])


def recall(dice: Dice) -> Item:
    """The partner of a key among many pairs; harder with more pairs."""
    keys = draw_keys(dice, dice.between((2, 4), (8, 32)))
    pairs = [(key, partner) for key, partner in zip(keys, _partners(dice, len(keys)), strict=True)]
    words = "; ".join(f"{key} -> {partner}" for key, partner in pairs)
    asked = [(f"{key} ->", partner) for key, partner in dice.some_of(pairs)]
    return Item("recall", after(words, asked))


def _partners(dice: Dice, number: int) -> list[str]:
    return [dice.rng.choice(_LETTERS) + dice.rng.choice(DIGITS) for _ in range(number)]


def copy(dice: Dice) -> Item:
    """Characters or a list to repeat; harder when longer."""
    asked: list[Answered] = []
    for _ in range(dice.questions):
        length = dice.between((3, 6), (12, 48))
        if dice.rng.random() < 0.5:
            words = "".join(dice.rng.choices(CHARACTERS, k=length))
        else:
            words = ", ".join(_partners(dice, max(2, length // 4)))
        asked.append((dice.one_of(f"repeat: {words}", f"copy this: {words}"), words))
    return Item("copy", turns([], asked))


def json_edit(dice: Dice) -> Item:
    """JSON to repeat with one value changed; harder with more keys."""
    asked: list[Answered] = []
    for _ in range(dice.questions):
        fields = dice.rng.sample(_FIELDS, dice.between((2, 3), (4, 8)))
        content: dict[str, object] = {field: _any_value(dice) for field in fields}
        changed = dice.rng.choice(fields)
        value = _any_value(dice)
        while value == content[changed]:
            value = _any_value(dice)
        question = f"set {changed} to {json.dumps(value)}: {json.dumps(content)}"
        asked.append((question, json.dumps(content | {changed: value})))
    return Item("json_edit", turns([], asked))


def _any_value(dice: Dice) -> int | str:
    number = dice.rng.randint(0, 99)
    return dice.one_of(number, dice.rng.choice(_LETTERS) + dice.rng.choice(DIGITS))

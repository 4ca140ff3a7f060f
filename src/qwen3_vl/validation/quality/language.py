"""Sentences of a small grammar: what a language model without pictures would learn."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

from qwen3_vl.validation.quality.dice import Dice, turns
from qwen3_vl.validation.quality.item import Item

_LIKELY = (4, 2, 1)
"""Of three words, how often each comes."""


@dataclass(frozen=True)
class Domain:
    """The words of one field; the likely ones first."""

    people: tuple[str, str, str]
    things: tuple[str, str, str]
    acts: tuple[str, str, str]
    looks: tuple[str, str, str]


DOMAINS: Mapping[str, Domain] = {
    "kitchen": Domain(
        ("cook", "guest", "maid"),
        ("pot", "plate", "egg"),
        ("heat", "clean", "fill"),
        ("hot", "white", "new"),
    ),
    "garden": Domain(
        ("girl", "bird", "dog"),
        ("tree", "seed", "root"),
        ("plant", "find", "water"),
        ("tall", "green", "dry"),
    ),
    "harbor": Domain(
        ("sailor", "captain", "gull"),
        ("boat", "net", "rope"),
        ("pull", "paint", "load"),
        ("wet", "blue", "old"),
    ),
}


def grammar(dice: Dice) -> Item:
    """A text to go on with, in one of three fields; longer, with longer sentences, when harder."""
    name = dice.rng.choice(list(DOMAINS))
    number = dice.between((1, 2), (4, 8))
    nested = 0.35 * dice.level
    answer = " ".join(sentence(dice.rng, DOMAINS[name], nested) for _ in range(number))
    asked = (dice.one_of(f"continue (domain {name}):", f"write about the {name}."), answer)
    return Item("grammar", turns([], [asked]), kind="likelihood")


def sentence(rng: random.Random, domain: Domain, nested: float = 0.2) -> str:
    """One sentence, whose verb agrees with its subject even across a clause between them."""
    drawn = rng.random()
    if drawn < 0.25:
        many = rng.random() < 0.4
        noun = rng.choices(domain.things, _LIKELY)[0]
        look = rng.choices(domain.looks, _LIKELY)[0]
        return f"{_phrase(rng, noun, many)} {'are' if many else 'is'} {look}."
    many = rng.random() < 0.4
    person = rng.choices(domain.people, _LIKELY)[0]
    subject = _phrase(rng, person, many)
    if rng.random() < nested:
        subject += f" that {_verb('see', many)} {_object(rng, domain)}"
    act = _verb(rng.choices(domain.acts, _LIKELY)[0], many)
    end = rng.choices(("", " again", " today"), _LIKELY)[0]
    return f"{subject} {act} {_object(rng, domain)}{end}."


def _object(rng: random.Random, domain: Domain) -> str:
    noun = rng.choices(domain.things, _LIKELY)[0]
    many = rng.random() < 0.3
    look = f"{rng.choices(domain.looks, _LIKELY)[0]} " if rng.random() < 0.25 else ""
    return _phrase(rng, noun, many, look)


def _phrase(rng: random.Random, noun: str, many: bool, look: str = "") -> str:
    article = rng.choices(("the", "two", "some") if many else ("the", "a", "one"), _LIKELY)[0]
    # "an egg" would need a word of its own for one noun.
    if article == "a" and (look or noun)[0] in "aeiou":
        article = "the"
    return f"{article} {look}{noun}{'s' if many else ''}"


def _verb(act: str, many: bool) -> str:
    return act if many else f"{act}s"

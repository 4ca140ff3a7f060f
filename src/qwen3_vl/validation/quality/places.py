"""Questions about where things are: beside, inside, nearest, and what is in which place."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

from qwen3_vl.validation.quality.dice import Answered, Dice, picture, turns
from qwen3_vl.validation.quality.drawing import (
    COLOURS,
    RING_HOLE,
    SHAPES,
    Canvas,
    Thing,
    different_names,
    ink,
    new_canvas,
    put,
)
from qwen3_vl.validation.quality.font import text_mask
from qwen3_vl.validation.quality.item import Item
from qwen3_vl.validation.quality.reading import CHARACTERS

_INSIDE = 0.33
"""In so many of the pictures something lies inside a ring."""
_CLEARLY_NEARER = 1.3
"""The second nearest thing is at least so many times as far."""
Questions = dict[str, list[Answered]]
"""Of each sort, all that can be asked."""


def relation(dice: Dice) -> Item:
    """How two things lie to each other; harder when the difference is small."""
    while True:
        canvas = new_canvas(dice)
        things = _things_in_relation(dice, canvas)
        asked = _choose(dice, relations(things, dice.between((36, 40), (10, 16))))
        if asked:
            break
    for thing in things:
        canvas.draw(thing)
    canvas.noise(dice.rng, dice.between((0, 0), (0, 24)))
    return Item("relation", turns([picture(canvas.image())], asked))


def _things_in_relation(dice: Dice, canvas: Canvas) -> list[Thing]:
    """Some things; in some pictures the first lies in the hole of the second, a ring."""
    rng = dice.rng
    number = dice.between((2, 3), (2, 4))
    if rng.random() > _INSIDE:
        names = different_names(rng, number)
        return put(rng, names, [dice.between((24, 30), (14, 26)) for _ in names], canvas)
    # At least one thing stays outside, so that "is it inside?" is a question.
    hidden, *names = different_names(rng, max(2, number - 1), shapes=SHAPES[:-1])
    hull = dice.between((60, 64), (48, 64))
    sizes = [hull, *(dice.between((20, 24), (14, 22)) for _ in names)]
    ring, *others = put(rng, [(rng.choice(list(COLOURS)), "ring"), *names], sizes, canvas)
    inner = round(hull * RING_HOLE * 0.55)
    shift = (hull - inner) // 2
    return [Thing(*hidden, ring.left + shift, ring.top + shift, inner), ring, *others]


def relations(things: list[Thing], margin: int) -> Questions:
    """All that can clearly be said: positions differ by at least `margin` pixels."""
    asked: Questions = {"yes": [], "no": [], "side": [], "what": []}
    hulls = [(one, other) for one, other in permutations(things, 2) if _lies_in(one, other)]
    for one, other in permutations(things, 2):
        for axis, (less, more) in enumerate((("left", "right"), ("above", "below"))):
            step = one.centre[axis] - other.centre[axis]
            if abs(step) < margin or (one, other) in hulls or (other, one) in hulls:
                continue
            truth, lie = (less, more) if step < 0 else (more, less)
            of = " of" if axis == 0 else ""
            asked["yes"].append((f"is the {one.name} {truth}{of} the {other.name}?", "yes"))
            asked["no"].append((f"is the {one.name} {lie}{of} the {other.name}?", "no"))
            either = f"is the {one.name} {less} or {more}{of} the {other.name}?"
            asked["side"].append((either, truth))
    if not hulls:
        asked["what"] += _nearest(things)
        return asked
    for inner, hull in hulls:
        asked["what"].append((f"what is inside the {hull.name}?", inner.name))
        for other in things:
            if other not in (inner, hull):
                # As often as each other, so that the words alone do not tell.
                asked["yes"] += [(f"is the {inner.name} inside the {hull.name}?", "yes")] * 2
                asked["no"] += [(f"is the {other.name} inside the {hull.name}?", "no")] * 2
    return asked


def _lies_in(one: Thing, other: Thing) -> bool:
    return one.size < other.size and one.distance(other) < other.size / 2


def _nearest(things: list[Thing]) -> list[Answered]:
    found = ((thing, nearest(thing, things)) for thing in things)
    return [(f"what is nearest to the {one.name}?", other.name) for one, other in found if other]


def nearest(thing: Thing, things: Sequence[Thing]) -> Thing | None:
    """The one of the others that is clearly nearer than all the rest, if there is a rest."""
    others = sorted((other for other in things if other != thing), key=thing.distance)
    if len(others) < 2:
        return None
    clearly = thing.distance(others[1]) >= _CLEARLY_NEARER * thing.distance(others[0])
    return others[0] if clearly else None


def _choose(dice: Dice, possible: Questions) -> list[Answered]:
    """Every sort is as likely as the others, whatever there is most of."""
    sorts = [asked for asked in possible.values() if asked]
    if not sorts:
        return []
    chosen = [dice.rng.choice(dice.rng.choice(sorts)) for _ in range(dice.questions)]
    return list(dict.fromkeys(chosen))


def two_questions(dice: Dice) -> Item:
    """What is in one field of a grid, and then what is in another; harder with more fields."""
    rng = dice.rng
    rows, columns = dice.between((2, 2), (2, 3)), dice.between((2, 2), (3, 4))
    canvas = new_canvas(dice, 192 if columns == 4 else 128, 128)
    wide, high = canvas.width // columns, canvas.height // rows
    for row in range(1, rows):
        canvas.shade(0, row * high, canvas.width, 1, 80 if canvas.ground[0] < 128 else -80)
    for column in range(1, columns):
        canvas.shade(column * wide, 0, 1, canvas.height, 80 if canvas.ground[0] < 128 else -80)
    asked: list[Answered] = []
    for place in range(rows * columns):
        row, column = divmod(place, columns)
        content = _fill(dice, canvas, (column * wide, row * high, wide, high))
        asked.append((f"what is in row {row + 1}, column {column + 1}?", content))
    canvas.noise(rng, dice.between((0, 0), (0, 16)))
    chosen = dice.some_of(asked, at_most=max(2, dice.questions))
    return Item("two_questions", turns([picture(canvas.image())], chosen))


def _fill(dice: Dice, canvas: Canvas, field: tuple[int, int, int, int]) -> str:
    """Put something into a field, and tell what."""
    rng = dice.rng
    left, top, wide, high = field
    if rng.random() < 0.35:
        words = "".join(rng.choices(CHARACTERS, k=2))
        letters = dice.between((20, 24), (12, 18))
        width = text_mask(words, letters).shape[1]
        across, down = _somewhere(dice, wide, width), _somewhere(dice, high, letters)
        canvas.write(words, left + across, top + down, letters, ink(canvas))
        return words
    size = dice.between((30, 36), (16, 28))
    across, down = _somewhere(dice, wide, size), _somewhere(dice, high, size)
    name = (rng.choice(list(COLOURS)), rng.choice(SHAPES))
    thing = Thing(*name, left + across, top + down, size)
    canvas.draw(thing)
    return thing.name


def _somewhere(dice: Dice, room: int, size: int) -> int:
    """A place in the room, clear of its edges."""
    return dice.rng.randint(3, max(3, room - size - 3))

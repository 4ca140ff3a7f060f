"""Questions about several pictures and about frames in time."""

from __future__ import annotations

from qwen3_vl.validation.quality.dice import Answered, Dice, picture, text, turns
from qwen3_vl.validation.quality.drawing import (
    COLOURS,
    SHAPES,
    Canvas,
    Thing,
    different_names,
    new_canvas,
    put,
)
from qwen3_vl.validation.quality.item import Item, Part, Turn

_FRAMES_A_SECOND = 2


def several_images(dice: Dice) -> Item:
    """What is in which of several pictures; harder with more pictures."""
    rng = dice.rng
    number = dice.between((2, 2), (2, 4))
    # Few colours and shapes for many things: most come in several pictures, so that a question
    # can only be answered in the one that it names.
    colours, shapes = rng.sample(list(COLOURS), 4), rng.sample(SHAPES, 3)
    names = different_names(rng, 2 * number, colours, shapes)
    shown: list[Part] = []
    asked: list[Answered] = []
    for place in range(1, number + 1):
        canvas = new_canvas(dice, 96, 96)
        both = names[2 * place - 2 : 2 * place]
        # One thing, or two that can be told apart by colour as well as by shape.
        alone = both[0][0] == both[1][0] or both[0][1] == both[1][1] or rng.random() > dice.level
        things = put(
            rng,
            both[: 1 if alone else 2],
            [dice.between((30, 38), (18, 32)) for _ in both[: 1 if alone else 2]],
            canvas,
        )
        for thing in things:
            canvas.draw(thing)
            asked += [
                (f"in image {place}, what colour is the {thing.shape}?", thing.colour),
                (f"in image {place}, what shape is {thing.colour}?", thing.shape),
                (f"in which image is the {thing.name}?", str(place)),
            ]
        canvas.noise(rng, dice.between((0, 0), (0, 16)))
        shown.append(picture(canvas.image()))
    return Item("several_images", turns(shown, dice.some_of(asked)))


def video(dice: Dice) -> Item:
    """The order of what appears, and how long it stays; harder with more frames and things."""
    frames = dice.one_of(4, 4 + 2 * round(dice.level))
    shows = seen_things(dice, frames)
    side = 96 if dice.rng.random() < 0.5 * dice.level else 64
    empty = new_canvas(dice, side, side)
    size = dice.between((30, 36), (20, 34))
    images: list[Canvas] = []
    placed: dict[tuple[str, str], Thing] = {}
    for name in shows:
        canvas = Canvas(side, side, empty.ground)
        if name is not None:
            # A thing that stays keeps its place.
            thing = placed.setdefault(name, put(dice.rng, [name], [size], canvas)[0])
            canvas.draw(thing)
        canvas.noise(dice.rng, dice.between((0, 0), (0, 12)))
        images.append(canvas)
    asked = dice.some_of(questions_about(dice, shows))
    shown: Part = {
        "type": "video",
        "video": [canvas.image() for canvas in images],
        "frame_rate": _FRAMES_A_SECOND,
        "do_sample_frames": False,
    }
    return Item("video", _video_turns(shown, asked))


def _video_turns(shown: Part, asked: list[Answered]) -> tuple[Turn, ...]:
    (question, answer), *others = asked
    return (Turn((shown, text(question)), answer), *turns([], others))


def seen_things(dice: Dice, frames: int) -> list[tuple[str, str] | None]:
    """What each frame shows; None is an empty one. No thing comes back once it has gone."""
    rng = dice.rng
    number = dice.between((2, 2), (2, frames - 1))
    names = different_names(rng, number)
    if dice.level < 0.5:  # two frames become one block of the model: here none holds two things
        return [name for name in names for _ in range(frames // number)]
    empty = rng.randint(0, min(2, frames - number))
    shares = [1] * number
    for _ in range(frames - number - empty):
        shares[rng.randrange(number)] += 1
    shows: list[tuple[str, str] | None] = []
    for name, share in zip(names, shares, strict=True):
        shows += [name] * share
    for _ in range(empty):
        # Between two things or at an end, never in the middle of one.
        gaps = [
            at
            for at in range(len(shows) + 1)
            if at in (0, len(shows)) or shows[at - 1] != shows[at]
        ]
        shows.insert(rng.choice(gaps), None)
    return shows


def questions_about(dice: Dice, shows: list[tuple[str, str] | None]) -> list[Answered]:
    """What can be asked about a video that shows this."""
    names = list(dict.fromkeys(name for name in shows if name is not None))
    called = [" ".join(name) for name in names]
    asked = [("what appears first?", called[0]), ("what appears last?", called[-1])]
    one = dice.rng.randrange(len(names) - 1)
    asked += [
        (f"what comes after the {called[one]}?", called[one + 1]),
        (f"what comes before the {called[one + 1]}?", called[one]),
    ]
    # Short and long stays are asked for alike, though short ones are common.
    stay = dice.rng.choice(sorted({shows.count(name) for name in names}))
    stays = dice.rng.choice([name for name in names if shows.count(name) == stay])
    asked += [
        ("how many things appear?", str(len(names))),
        (f"in how many frames is the {' '.join(stays)}?", str(stay)),
    ]
    return asked

"""Questions about text in pictures."""

from __future__ import annotations

from qwen3_vl.validation.quality.dice import Answered, Dice, picture, turns
from qwen3_vl.validation.quality.drawing import COLOURS, Canvas, ink, new_canvas
from qwen3_vl.validation.quality.font import Style, text_mask
from qwen3_vl.validation.quality.item import Item

DIGITS = "0123456789"
CHARACTERS = DIGITS + "ABCDEFGHJKLMNPRSTUVWXYZ"
"""Without I, O and Q, which look like 1 and 0 when they are small."""
GOODS = (
    *("TEA", "MILK", "CAKE", "SOUP", "RICE", "EGGS", "FISH", "SALT"),
    *("HAM", "NUTS", "PEAR", "PLUM", "CORN", "BEER", "WINE", "JAM"),
)

STYLES: tuple[Style, Style] = ("plain", "bold")


def ocr(dice: Dice) -> Item:
    """Characters to read; harder when they are many and small."""
    canvas = new_canvas(dice)
    canvas.clutter(dice.rng, dice.between((0, 0), (0, 6)))
    lines = dice.up_to(1 + round(2 * dice.level))
    colours = dice.rng.sample(inks(canvas), lines)
    asked: list[Answered] = []
    band = canvas.height // lines
    for line, colour in enumerate(colours):
        height = min(dice.between((36, 48), (8, 16)), band - 8)
        signs = DIGITS if dice.rng.random() > dice.level + 0.3 else CHARACTERS
        words = "".join(dice.rng.choices(signs, k=dice.between((1, 1), (3, 8))))
        style = dice.rng.choice(STYLES)
        while (width := text_mask(words, height, style).shape[1]) > canvas.width - 8:
            height -= 1  # only where an easy one is large
        left = dice.rng.randint(4, canvas.width - width - 4)
        top = line * band + dice.rng.randint(4, band - height - 4)
        if lines == 1:
            any_ink = dice.one_of(ink(canvas), COLOURS[colour])
            canvas.write(words, left, top, height, any_ink, style)
            asked.append((dice.one_of("read the text.", "what is written here?"), words))
        else:
            canvas.write(words, left, top, height, COLOURS[colour], style)
            asked.append((f"read the {colour} text.", words))
    canvas.noise(dice.rng, dice.between((0, 0), (0, 20)))
    dice.rng.shuffle(asked)
    return Item("ocr", turns([picture(canvas.image())], asked))


def inks(canvas: Canvas) -> list[str]:
    """The colours that stand out from the ground."""
    pale, deep = ["yellow", "cyan", "orange"], ["blue", "purple", "green"]
    return ["red", "pink", *(deep if canvas.ground[0] > 127 else pale)]


def table(dice: Dice) -> Item:
    """A receipt to write down; harder when it has many lines and they are small."""
    rng = dice.rng
    rows = dice.between((1, 2), (3, 6))
    height = dice.between((12, 14), (8, 11))
    pitch = height + dice.between((4, 6), (3, 6))
    canvas = new_canvas(dice, 128, 128)
    style = dice.rng.choice(STYLES)
    goods = rng.sample(GOODS, rows)
    prices = [f"{rng.randint(1, 9)}.{rng.randint(0, 9)}{rng.choice('05')}" for _ in goods]
    widest = max(text_mask(name, height, style).shape[1] for name in goods)
    cost = text_mask(prices[0], height, style).shape[1]
    left = rng.randint(4, 10)
    second = rng.randint(left + widest + height, canvas.width - cost - 4)
    top = rng.randint(4, canvas.height - rows * pitch - 2)
    for row, (name, price) in enumerate(zip(goods, prices, strict=True)):
        canvas.write(name, left, top + row * pitch, height, ink(canvas), style)
        canvas.write(price, second, top + row * pitch, height, ink(canvas), style)
    canvas.noise(rng, dice.between((0, 0), (0, 16)))
    plain, comma = (
        "\n".join(f"{name}{between}{price}" for name, price in zip(goods, prices, strict=True))
        for between in (" ", ",")
    )
    first = dice.one_of(("write down the table.", plain), ("write the table as csv.", comma))
    others = [(f"what does {name} cost?", price) for name, price in zip(goods, prices, strict=True)]
    asked = [first, *dice.some_of(others, at_most=dice.questions - 1)]
    return Item("table", turns([picture(canvas.image())], asked))

"""The conversations on which models are compared: every way that pictures can enter a prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from PIL import Image, ImageDraw

Conversation = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Case:
    """One batch of conversations."""

    name: str
    conversations: tuple[Conversation, ...]
    padding_side: Literal["left", "right"] = "left"


def cases() -> list[Case]:
    """All cases, drawn anew."""
    small, other, wide = _picture(96, 64), _picture(96, 64, turn=1), _picture(160, 48, turn=2)
    frames = [_picture(64, 64, turn=step) for step in range(6)]
    text = _ask("Name three colours.")
    one = _ask("What is this?", small)
    two = _ask("Which is larger?", small, wide)
    tool = [
        {"role": "user", "content": "Take a photo."},
        {"role": "assistant", "content": "", "tool_calls": [_call("camera", {"zoom": 2})]},
        {"role": "tool", "content": [{"type": "image", "image": other}]},
    ]
    return [
        Case("text", (text,)),
        Case("one image", (one,)),
        Case("two images of equal size", (_ask("Do they differ?", small, other),)),
        Case("images of different sizes", (two,)),
        Case("video", ([_user({"type": "video", "video": frames}, _text("What moves?"))],)),
        Case("image in a tool message", (tool,)),
        Case("batch padded left", (text, one, two), "left"),
        Case("batch padded right", (text, one, two), "right"),
    ]


def _ask(question: str, *pictures: Image.Image) -> Conversation:
    return [_user(*({"type": "image", "image": p} for p in pictures), _text(question))]


def _user(*parts: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"role": "user", "content": list(parts)}


def _text(text: str) -> Mapping[str, Any]:
    return {"type": "text", "text": text}


def _call(name: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"type": "function", "function": {"name": name, "arguments": arguments}}


def _picture(width: int, height: int, turn: int = 0) -> Image.Image:
    """Colour that changes from side to side, with a disc that `turn` moves."""
    red, green = Image.linear_gradient("L"), Image.linear_gradient("L").rotate(90 * (turn + 1))
    picture = Image.merge("RGB", (red, green, Image.radial_gradient("L"))).resize((width, height))
    left = 4 + 7 * turn
    ImageDraw.Draw(picture).ellipse((left, 8, left + 20, 28), fill=(250, 220, 30))
    return picture

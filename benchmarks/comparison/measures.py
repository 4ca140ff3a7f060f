"""What is measured of each engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

PREFILLS = (128, 512, 2048)
CONTEXTS = (128, 2048, 8192)
PICTURES = ((640, 480), (1024, 768), (1920, 1088))
STEPS = 16
"""Decoded in a round."""
DRAFTS = 4
SPARE = 64
"""Tokens of room beyond what is asked for."""


@dataclass(frozen=True)
class Measure:
    """One question to a worker."""

    name: str
    do: str
    asked: Mapping[str, int]
    title: str
    tokens: int = 1
    """How many of them the seconds are for."""
    fresh: bool = False
    """Each time in a process that begins with it, and is loaded by it."""

    def request(self, turn: int, rounds: int) -> dict[str, int]:
        """What the worker is told; nothing that it could remember from another round."""
        if "context" not in self.asked:
            return {**self.asked, "seed": turn}
        return {**self.asked, "room": (rounds + 1) * STEPS + SPARE}

    @property
    def vision(self) -> bool:
        """Does it need the vision tower?"""
        return "width" in self.asked

    @property
    def unit(self) -> str:
        """Of the figure as it is read."""
        return {"prefill": "tok/s", "decode": "ms", "verify": "ms"}.get(self.do, "s")

    def told(self, seconds: float) -> str:
        """The figure as it is read, without its unit."""
        if self.unit == "tok/s":
            return f"{self.tokens / seconds:,.0f}"
        return f"{1000 * seconds:,.1f}" if self.unit == "ms" else f"{seconds:.2f}"


def _prefill(tokens: int) -> Measure:
    asked = {"tokens": tokens}
    return Measure(f"prefill-{tokens}", "prefill", asked, f"prefill of {tokens} tokens", tokens)


def _decode(context: int) -> Measure:
    asked = {"context": context, "steps": STEPS}
    return Measure(f"decode-{context}", "decode", asked, f"a step after {context} tokens")


def _verify(context: int) -> Measure:
    asked = {"context": context, "count": DRAFTS, "steps": STEPS // DRAFTS}
    title = f"{DRAFTS} drafted tokens after {context}"
    return Measure(f"verify-{context}", "verify", asked, title)


def _seen(name: str, do: str, title: str, size: tuple[int, int], fresh: bool = False) -> Measure:
    width, height = size
    asked = {"width": width, "height": height}
    shown = f"{width}×{height}"
    return Measure(f"{name}-{width}x{height}", do, asked, title.format(shown), fresh=fresh)


MEASURES: Mapping[str, Measure] = {
    one.name: one
    for one in (
        *map(_prefill, PREFILLS),
        _decode(CONTEXTS[0]),
        _verify(CONTEXTS[0]),
        *map(_decode, CONTEXTS[1:]),
        *(_seen("encode", "encode", "vision tower, {}", size) for size in PICTURES),
        *(_seen("first", "first", "first token, {}", size) for size in PICTURES),
        _seen("start", "first", "first token, {}, from process start", PICTURES[1], fresh=True),
    )
}


def chosen(names: Sequence[str]) -> list[Measure]:
    """Measures by name, or by the part before the dash; none means all.

    Raises:
        ValueError: there is none of this name.
    """
    for name in names:
        if not any(_named(one, name) for one in MEASURES):
            raise ValueError(f"no measure {name}; there are {', '.join(MEASURES)}")
    return [one for key, one in MEASURES.items() if not names or any(_named(key, n) for n in names)]


def _named(key: str, name: str) -> bool:
    return key == name or key.startswith(f"{name}-")

"""A choice among candidates that says what was wanted, what is used, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qwen3_vl.errors import ConfigError, DeviceError

AUTO = "auto"
"""Wanted by whoever leaves the choice to us."""


@dataclass(frozen=True)
class Candidate:
    """Something that could serve."""

    name: str
    """`cpu`, or `cuda:1` as one of the kind `cuda`."""
    merit: str
    """What it is, or what it is good for."""
    obstacle: str | None = None
    """Why it cannot serve; None if it can."""

    def is_a(self, wanted: str) -> bool:
        """Whether it is what was wanted: by its name, or as one of its kind."""
        return wanted in (AUTO, self.name, self.name.partition(":")[0])


@dataclass(frozen=True)
class Choice:
    """What was wanted, what is used, and why."""

    wanted: str
    used: str
    why: str
    """What speaks for it."""
    passed_over: tuple[str, ...] = ()
    """What would have come first, each with the reason why it cannot serve."""

    def __str__(self) -> str:
        return f"{self.used}: {'; '.join((self.why, *self.passed_over))}"


def choose(wanted: str, candidates: Sequence[Candidate]) -> Choice:
    """Take the first candidate that is what was wanted and can serve; never another one.

    Raises:
        ConfigError: no candidate is what was wanted.
        DeviceError: none of those that are can serve.
    """
    asked = [candidate for candidate in candidates if candidate.is_a(wanted)]
    if not asked:
        known = ", ".join((AUTO, *(candidate.name for candidate in candidates)))
        raise ConfigError(f"{wanted!r} is not known here; it can be {known}")
    passed_over = list[str]()
    for candidate in asked:
        if candidate.obstacle is None:
            return Choice(wanted, candidate.name, candidate.merit, tuple(passed_over))
        passed_over.append(f"not {candidate.name}, because {candidate.obstacle}")
    reasons = "; ".join(f"{one.name} cannot serve, because {one.obstacle}" for one in asked)
    able = [candidate.name for candidate in candidates if candidate.obstacle is None]
    way_out = f"; take {' or '.join((AUTO, *able))}" if able else ""
    raise DeviceError(f"{reasons}{way_out}")

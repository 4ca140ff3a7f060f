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
    merit: str
    """What it is, or what it is good for."""
    obstacle: str | None = None
    """Why it cannot serve; None if it can."""


@dataclass(frozen=True)
class Choice:
    """What was wanted, what is used instead or indeed, and why."""

    wanted: str
    used: str
    why: str

    @property
    def fell_back(self) -> bool:
        """Whether something else is used than what was wanted."""
        return self.wanted not in (AUTO, self.used)

    def __str__(self) -> str:
        wanted = f" instead of {self.wanted}" if self.fell_back else ""
        return f"{self.used}{wanted}: {self.why}"


def choose(wanted: str, candidates: Sequence[Candidate]) -> Choice:
    """Take the wanted candidate if it can serve, else the first that can.

    Raises:
        ConfigError: there is no candidate of the wanted name.
        DeviceError: none can serve.
    """
    names = [candidate.name for candidate in candidates]
    if wanted not in (AUTO, *names):
        raise ConfigError(f"{wanted!r} is not known here; it can be {', '.join((AUTO, *names))}")
    passed_over = list[str]()
    for candidate in sorted(candidates, key=lambda one: one.name != wanted):
        if candidate.obstacle is None:
            return Choice(wanted, candidate.name, "; ".join((candidate.merit, *passed_over)))
        passed_over.append(f"not {candidate.name}, because {candidate.obstacle}")
    raise DeviceError(f"nothing can serve: {'; '.join(passed_over)}")

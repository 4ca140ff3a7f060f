"""Ends an answer before a stop string, however the string is cut into pieces."""

from __future__ import annotations

from collections.abc import Sequence


class StopScanner:
    """Passes text on as soon as it cannot become part of a stop string any more."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""
        self.stopped = False
        """Whether a stop string has come; nothing may be pushed after that."""

    def push(self, text: str) -> str:
        """Take more text and give what is now sure to belong to the answer."""
        self._held += text
        found = [place for stop in self._stops if (place := self._held.find(stop)) >= 0]
        if found:
            self.stopped = True
            ready, self._held = self._held[: min(found)], ""
            return ready
        keep = max((self._overlap(stop) for stop in self._stops), default=0)
        ready, self._held = self._held[: len(self._held) - keep], self._held[-keep:] if keep else ""
        return ready

    def flush(self) -> str:
        """What was held back, once the answer has ended for another reason."""
        ready, self._held = self._held, ""
        return ready

    def _overlap(self, stop: str) -> int:
        """How much of the end of the held text could be the beginning of this stop string."""
        longest = min(len(stop) - 1, len(self._held))
        return next((n for n in range(longest, 0, -1) if self._held.endswith(stop[:n])), 0)

"""The pages of one layer: sequences with a common beginning share them until one of them writes."""

from __future__ import annotations

import torch

from qwen3_vl.ops.pages import PageFormat


class PagePool:
    """Pages, and how many sequences hold each; the one that writes has to hold it alone."""

    def __init__(self, layout: PageFormat) -> None:
        self.layout = layout
        self.pages = layout.empty(0)
        """[pages, bytes]; another tensor once there are more."""
        self._holders: list[int] = []
        self._free: list[int] = []

    def take(self, count: int) -> list[int]:
        """The numbers of so many pages that nobody holds."""
        missing = count - len(self._free)
        if missing > 0:
            self._grow(max(missing, len(self.pages)))
        taken = [self._free.pop() for _ in range(count)]
        for number in taken:
            self._holders[number] = 1
        return taken

    def share(self, numbers: list[int]) -> None:
        """One more sequence holds these."""
        for number in numbers:
            self._holders[number] += 1

    def release(self, numbers: list[int]) -> None:
        """A sequence holds these no longer."""
        for number in reversed(numbers):
            self._holders[number] -= 1
            if not self._holders[number]:
                self._free.append(number)

    def alone(self, number: int) -> int:
        """For a holder that will write to this page: the page, or its own copy of a shared one."""
        if self._holders[number] == 1:
            return number
        (copy,) = self.take(1)
        # Pages may have been made in inference mode, and then cannot be changed outside of it.
        with torch.inference_mode():
            self.pages[copy] = self.pages[number]
        self.release([number])
        return copy

    def nbytes_of(self, numbers: list[int]) -> int:
        """The memory of one that holds these: its share of them, and of what is free."""
        share = sum(1 / self._holders[number] for number in numbers)
        held = len(self.pages) - len(self._free)
        return round(self.pages.nbytes * share / held) if held else self.pages.nbytes

    def _grow(self, count: int) -> None:
        old = len(self.pages)
        self.pages = torch.cat((self.pages, self.layout.empty(count)))
        self._holders += [0] * count
        # The lowest comes next: so the pages of a sequence lie in its order.
        self._free = [*range(old + count - 1, old - 1, -1), *self._free]

"""The packed matrices of a layer or block, and whether they still stand where they stood."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat
from operator import getitem, is_

from torch import nn

from qwen3_vl.models.packed import PackedLinear


class PackedParts:
    """Some modules, all of them packed, for which calls with addresses have been prepared."""

    def __init__(self, places: Sequence[tuple[nn.Module, str]]) -> None:
        """Each is a child of that name."""
        self.places = places
        self._children = [parent._modules for parent, _ in places]
        self._names = [name for _, name in places]
        found = list(map(getitem, self._children, self._names))
        self.matrices = [part for part in found if isinstance(part, PackedLinear)]
        self.complete = len(self.matrices) == len(found)
        """Whether all are packed, and nothing is added to them."""
        self._buffers = [part._buffers for part in self.matrices]
        self._packed = [part.packed for part in self.matrices]

    @property
    def stand(self) -> bool:
        """Whether no module was replaced and no weights moved; they are held, so none lie there.

        Asked for each layer and word, so by no detour.
        """
        now, packed = map(getitem, self._children, self._names), repeat("packed")
        return all(map(is_, now, self.matrices)) and all(
            map(is_, map(getitem, self._buffers, packed), self._packed)
        )

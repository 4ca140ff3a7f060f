"""The packed matrices of a layer or block, and whether they still stand where they stood."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from qwen3_vl.models.packed import PackedLinear


class PackedParts:
    """Some modules, all of them packed, for which calls with addresses have been prepared."""

    def __init__(self, places: Sequence[tuple[nn.Module, str]]) -> None:
        """Each is a child of that name."""
        found = [(parent._modules, name, parent._modules[name]) for parent, name in places]
        self._places = [
            (children, name, part, part._buffers, part.packed)
            for children, name, part in found
            if isinstance(part, PackedLinear)
        ]
        self.complete = len(self._places) == len(found)
        """Whether all are packed, and nothing is added to them."""
        self.matrices = [place[2] for place in self._places]

    @property
    def stand(self) -> bool:
        """Whether no module was replaced and no weights moved; they are held, so none lie there.

        Asked for each layer and word, so by no detour.
        """
        for children, name, part, buffers, packed in self._places:
            if children[name] is not part or buffers["packed"] is not packed:
                return False
        return True

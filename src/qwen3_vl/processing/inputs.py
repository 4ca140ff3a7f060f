"""What the processor hands to the model: named tensors, and a count of tokens made without them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch


class ModelInputs(dict[str, Any]):
    """A dict of tensors whose entries can also be read as attributes: `inputs.input_ids`."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            known = ", ".join(self) or "nothing"
            raise AttributeError(f"these inputs have no {name!r}; they hold {known}") from None

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> ModelInputs:
        """A copy on `device`; `dtype` is given to floating tensors only, ids stay integers."""
        return ModelInputs({name: _moved(value, device, dtype) for name, value in self.items()})


@dataclass(frozen=True)
class TokenCount:
    """How many prompt tokens a conversation takes, and which of them each picture costs."""

    total: int
    images: tuple[int, ...]
    videos: tuple[int, ...]

    @property
    def text(self) -> int:
        """Tokens that are not pixels: words, chat markers and video timestamps."""
        return self.total - sum(self.images) - sum(self.videos)


def _moved(value: Any, device: torch.device | str, dtype: torch.dtype | None) -> Any:
    if not isinstance(value, torch.Tensor):
        return value
    return value.to(device=device, dtype=dtype if value.is_floating_point() else None)

"""How a module meets the checkpoint: it reads its own tensors, straight into their final form."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Protocol

from torch import Tensor, nn


class TensorReader(Protocol):
    """The tensors of a checkpoint below one module's name."""

    def take(self, name: str, *shapes: tuple[int, ...]) -> Tensor:
        """The tensor of this name, in one of these shapes, in the wanted dtype and place."""
        ...

    def place(self, tensor: Tensor) -> Tensor:
        """A tensor that lies in another file, brought to where the model is, in its own dtype."""
        ...


class StoredModule(nn.Module, ABC):
    """A module whose tensors lie in the checkpoint in another form than they work in.

    A module whose parameters stand in the checkpoint as they are needs nothing of this.
    """

    @abstractmethod
    def read(self, tensors: TensorReader) -> None:
        """Take what this module needs."""

    @abstractmethod
    def stored(self) -> Mapping[str, Tensor]:
        """What `read` would take, to write a checkpoint."""

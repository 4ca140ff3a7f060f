"""How a module meets the checkpoint: it reads its own tensors, straight into their final form."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Protocol

import torch
from torch import Tensor, nn


class TensorReader(Protocol):
    """The tensors of a checkpoint below one module's name."""

    def take(self, name: str, *shapes: tuple[int, ...]) -> Tensor:
        """The tensor of this name, in one of these shapes, in the wanted dtype and place."""
        ...

    def dtype(self, name: str) -> torch.dtype:
        """That of the tensor of this name, which counts as taken."""
        ...

    def prepared(self, name: str, make: Callable[[], Tensor]) -> Tensor:
        """What `make` makes of tensors here, or a file that has it from before."""
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

    def made(self) -> Mapping[str, Tensor]:
        """What `read` asks for with `prepared`; before, tensors of the same shape."""
        return {}

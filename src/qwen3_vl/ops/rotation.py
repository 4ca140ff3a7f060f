"""By what angles heads are turned to their positions, in the forms in which it is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from qwen3_vl.ops import native


@dataclass(frozen=True)
class Rotation:
    """Each pair of dimensions of a head is turned by one of a token's three positions."""

    axes: Tensor
    """[pairs]: by which."""
    frequencies: Tensor
    """[pairs] in float32: by how much for each step."""

    @property
    def addresses(self) -> tuple[int, int, int]:
        """As kernels are told of it: where both lie, and how many pairs there are."""
        return self.axes.data_ptr(), self.frequencies.data_ptr(), len(self.axes)


class Angles:
    """The angles of some tokens; each form of them is computed when it is asked for."""

    def __init__(self, rotation: Rotation, positions: Tensor, dtype: torch.dtype) -> None:
        """At positions [3, tokens], rounded to `dtype`."""
        self._rotation, self._positions, self._dtype = rotation, positions, dtype

    @cached_property
    def turns(self) -> Tensor:
        """In float32, as kernels read them: the cosines of half the dimensions, then the sines."""
        positions, rotation, dtype = self._positions, self._rotation, self._dtype
        is_bf16 = dtype == torch.bfloat16
        plain = positions.dtype == torch.int64 and (is_bf16 or dtype == torch.float32)
        if not plain or native.kernels_for(positions) is None:
            angles = self._angles()
            return torch.cat((angles.cos(), angles.sin()), dim=1).to(dtype).float()
        turns = torch.empty(positions.shape[1], 2 * len(rotation.axes))
        native.turn(rotation.addresses, positions, turns, is_bf16=is_bf16)
        return turns

    @cached_property
    def pair(self) -> tuple[Tensor, Tensor]:
        """The cosines and sines [tokens, dim], which are those of both halves of a head."""
        angles = self._angles()
        angles = torch.cat((angles, angles), dim=1)
        return angles.cos().to(self._dtype), angles.sin().to(self._dtype)

    def _angles(self) -> Tensor:
        device = self._positions.device
        own = self._positions.T[:, self._rotation.axes.to(device)]
        return own.float() * self._rotation.frequencies.to(device)

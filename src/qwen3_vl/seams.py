"""The seams: the questions that a technique can answer differently, and how answers combine.

A seam is a small protocol with a default that changes nothing. `Seams` holds the answers of one
model: settings, never state. Nothing here may know a technique.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol

from torch import Tensor, nn

from qwen3_vl.ops.attention import attention


class Law(Enum):
    """How two techniques on the same seam go together."""

    EXCLUSIVE = "one technique at most"
    PER_MODULE = "one technique at most for each module"
    SEQUENCE = "one after the other, in the order of the recipe"
    SUM = "added up"


class CacheView(Protocol):
    """What one forward pass sees of keys and values; it owns the attention call.

    How keys and values are stored, which of them a query sees, and which kernel runs are one
    decision, made behind this call. The sequences of a batch lie one after the other.
    """

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Store `k` and `v` [tokens, kv_heads, dim] and attend with `q` [tokens, heads, dim]."""
        ...


class Mixer(Protocol):
    """Computes the attention of one sequence."""

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, *, causal: bool) -> Tensor:
        """Attend with `q` [queries, heads, dim] over `k`, `v` [keys, kv_heads, dim]."""
        ...


class KVStore(Protocol):
    """Keys and values of one sequence in one layer."""

    def append(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Take new tokens [tokens, kv_heads, dim]; give all that is held, as attention wants it."""
        ...

    def read(self) -> tuple[Tensor, Tensor]:
        """All that is held, as attention wants it."""
        ...

    def keep(self, index: Tensor) -> None:
        """Hold only the tokens `index` [kept, kv_heads], in this order."""
        ...

    def __len__(self) -> int: ...

    @property
    def nbytes(self) -> int:
        """The memory that is taken."""
        ...


class KVFormat(Protocol):
    """Makes the stores of a cache."""

    def store(self) -> KVStore:
        """An empty store."""
        ...


class Retain(Protocol):
    """Says which cached tokens stay."""

    @property
    def observed(self) -> int:
        """How many of the latest queries `score` wants to see."""
        ...

    def kept(self, length: int) -> int:
        """How many of `length` tokens stay."""
        ...

    def score(self, k: Tensor, v: Tensor, queries: Tensor) -> Tensor:
        """The worth [kv_heads, tokens] of each token; the highest stay.

        `queries` [observed, heads, dim] are the latest ones, fewer while there are not so many.
        """
        ...


class LinearFormat(Protocol):
    """Stores the weights of matrix products."""

    def linear(self, inputs: int, outputs: int, *, bias: bool) -> nn.Module:
        """The module that stands where a torch Linear stood."""
        ...


@dataclass(frozen=True)
class LinearRule:
    """A format for all linear modules whose name a pattern matches."""

    pattern: str
    format: LinearFormat


def seam(law: Law, question: str, default: Any) -> Any:
    """A field of `Seams`."""
    return field(default=default, metadata={"law": law, "question": question})


@dataclass(frozen=True)
class Seams:
    """The answers of one model. The defaults change nothing."""

    mixer: Mixer = seam(Law.EXCLUSIVE, "how is attention computed?", attention)
    kv_format: KVFormat | None = seam(
        Law.EXCLUSIVE, "how are keys and values stored? None: in the model's dtype", None
    )
    retain: tuple[Retain, ...] = seam(Law.SEQUENCE, "which cached tokens stay?", ())
    linear: tuple[LinearRule, ...] = seam(
        Law.PER_MODULE, "in which format are the weights of this module?", ()
    )


PLAIN = Seams()
"""The plain, exact model."""

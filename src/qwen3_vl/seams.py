"""The seams: the questions that a technique can answer differently, and how answers combine.

A seam is a small protocol with a default that changes nothing. `Seams` holds the answers of one
model: settings, never state. Nothing here may know a technique.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from qwen3_vl.ops.attention import attention
from qwen3_vl.ops.head import Head
from qwen3_vl.ops.pages import PagedPass
from qwen3_vl.ops.rotation import Angles


class Law(Enum):
    """How two techniques on the same seam go together."""

    EXCLUSIVE = "one technique at most"
    PER_MODULE = "one technique at most for each module"
    SEQUENCE = "one after the other, in the order of the recipe"
    INTERSECT = "a query sees what all of them choose"
    SUM = "added up"


class CacheView(Protocol):
    """What one forward pass sees of keys and values; it owns the attention call.

    How keys and values are stored, which of them a query sees, and which kernel runs are one
    decision, made behind this call. The sequences of a batch lie one after the other.
    """

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Store `k` and `v` [tokens, kv_heads, dim] and attend with `q` [tokens, heads, dim]."""
        ...

    def store(self, layer: int, k: Tensor, v: Tensor) -> None:
        """Store `k` and `v` of tokens that do not attend in this layer."""
        ...

    def pages(self, layer: int, heads: int, like: Tensor) -> PagedPass | None:
        """A way to store and attend in pages, instead of `attend`; None: there is none.

        `heads` is the number of query heads, and keys are `like` this tensor.
        """
        ...


class Mixer(Protocol):
    """Computes the attention of one sequence."""

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, *, causal: bool) -> Tensor:
        """Attend with `q` [queries, heads, dim] over `k`, `v` [keys, kv_heads, dim]."""
        ...


class Select(Protocol):
    """Says which keys a query sees, block by block, below the causal order."""

    @property
    def block(self) -> int:
        """Tokens of a block, counted from the first token that the cache holds."""
        ...

    def chosen(self, q: Tensor, k: Tensor) -> Tensor:
        """For each block of queries the blocks of keys it sees [kv_heads, query blocks, blocks].

        The queries [queries, heads, dim] are those of the latest of the keys [keys, kv_heads, dim].
        A query always sees its own block; what is said of that and of later ones is not heeded.
        """
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


class Reduce(Protocol):
    """Says which tokens of a picture become one before the decoder sees them."""

    def groups(self, tokens: Tensor, text: Tensor) -> Tensor:
        """A number for each of the `tokens` [tokens, hidden] of one picture.

        Those of the same number become their mean, and stand where the first of them stood.
        `text` [words, hidden] are the embeddings of the text around the picture.
        """
        ...


class Depth(Protocol):
    """Says which layers of the decoder run."""

    def skips(self, layer: int) -> bool:
        """Whether no token passes this layer."""
        ...

    def exit_after(self, layers: int) -> int:
        """After how many of all layers a new token may leave; all of them: none does."""
        ...

    def leaves(self, logits: Tensor) -> Tensor:
        """Which tokens leave, by what they would answer now: [tokens] from [tokens, vocabulary]."""
        ...


class LayerRunner(Protocol):
    """Runs one decoder layer."""

    def __call__(self, x: Tensor, rotary: Angles, view: CacheView) -> Tensor:
        """What leaves the layer when `x` [tokens, hidden] comes in; it may be put in its place."""
        ...


class Scoring(Protocol):
    """The head, for those who use it before it is its turn."""

    def __call__(self, hidden: Tensor) -> Tensor:
        """The logits of these hidden states [tokens, hidden]."""
        ...

    @property
    def call(self) -> Head | None:
        """The native call that scores, to make it together with others; None: there is none."""
        ...

    def note(self, hidden: Tensor, logits: Tensor) -> None:
        """Take what it gave, so that it is not made again for these hidden states."""
        ...


class DecoderRunner(Protocol):
    """Runs the decoder from embeddings to the last norm, where nothing happens between layers."""

    def __call__(
        self,
        words: Tensor,
        table: nn.Module,
        positions: Tensor,
        view: CacheView,
        scoring: Scoring | None = None,
    ) -> Tensor | None:
        """What the head scores when `words` [tokens] that a table looks up come in at `positions`
        [3, tokens]; None, and nothing is done, if layers must run one by one.

        It may score them besides, and have that noted.
        """
        ...


class PatchAttention(Protocol):
    """Attends to the patches of the same frame."""

    @property
    def paged(self) -> tuple[PagedPass, Tensor] | None:
        """The way through pages and the angles [patches, dim], if they attend there."""
        ...

    def attend(self, qkv: Tensor, dtype: torch.dtype) -> Tensor:
        """What patches see [patches, hidden], by their projections [patches, 3 · hidden]."""
        ...


class FrameFormat(Protocol):
    """Keeps keys and values while the patches of some frames attend to each other."""

    def begin(self, lengths: Sequence[int], heads: int, dim: int) -> PagedPass:
        """A way for the patches of frames of these lengths, through one block after the other."""
        ...


class BlockRunner(Protocol):
    """Runs one block of the vision tower."""

    def __call__(self, x: Tensor, frames: PatchAttention) -> Tensor:
        """What leaves the block when `x` [patches, hidden] comes in; it may be put in its place."""
        ...


class Fusion(Protocol):
    """Says how decoder layers and the blocks of the vision tower run; weights may come later."""

    def runners(self, decoder: nn.Module) -> tuple[Sequence[LayerRunner], DecoderRunner]:
        """One for each layer of the decoder, and one for all of them."""
        ...

    def block_runners(self, blocks: Sequence[nn.Module]) -> Sequence[BlockRunner]:
        """One for each block of the tower."""
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


class HeadFormat(Protocol):
    """Scores words."""

    def head(self, table: nn.Embedding | None, hidden: int, words: int) -> nn.Module:
        """What makes logits of hidden states; where the head is tied, from this `table`."""
        ...


class Adapter(Protocol):
    """Adds something to matrix products."""

    def additions(self) -> Mapping[str, nn.Module]:
        """What is added to the result of a linear module, from the same input; by its name."""
        ...


def seam(law: Law, question: str, default: Any) -> Any:
    """A field of `Seams`."""
    return field(default=default, metadata={"law": law, "question": question})


@dataclass(frozen=True)
class Seams:
    """The answers of one model. The defaults change nothing."""

    mixer: Mixer = seam(Law.EXCLUSIVE, "how is attention computed?", attention)
    select: tuple[Select, ...] = seam(Law.INTERSECT, "which blocks of keys does a query see?", ())
    kv_format: KVFormat | None = seam(
        Law.EXCLUSIVE, "how are keys and values stored? None: in the model's dtype", None
    )
    retain: tuple[Retain, ...] = seam(Law.SEQUENCE, "which cached tokens stay?", ())
    reduce: tuple[Reduce, ...] = seam(Law.SEQUENCE, "which visual tokens become one?", ())
    depth: Depth | None = seam(
        Law.EXCLUSIVE, "which layers run? None: all of them, for every token", None
    )
    frames: FrameFormat | None = seam(
        Law.EXCLUSIVE, "how do a frame's patches attend? None: as the mixer computes it", None
    )
    fusion: Fusion | None = seam(
        Law.EXCLUSIVE, "how does a layer or a block run? None: module by module", None
    )
    linear: tuple[LinearRule, ...] = seam(
        Law.PER_MODULE, "in which format are the weights of this module?", ()
    )
    head: HeadFormat | None = seam(
        Law.EXCLUSIVE, "how are words scored? None: with weights in the model's dtype", None
    )
    adapter: tuple[Adapter, ...] = seam(Law.SUM, "what is added to a matrix product?", ())


PLAIN = Seams()
"""The plain, exact model."""

"""The compiled extension, from csrc/cpu/bind.cpp; ops/native.py loads it, for it may be absent.

`x`, `weight` and `out` are addresses of contiguous memory, from `tensor.data_ptr()`. Nothing is
checked here: that is the work of ops/.
"""

from enum import Enum

class Finish(Enum):
    """What becomes of the results of a product."""

    store = ...
    add = ...
    gelu = ...
    gate = ...

class KeyFormat(Enum):
    """The numbers of a page."""

    int8 = ...
    bf16 = ...

class PageShape:
    """How a page is laid out: its numbers, key heads, and their size."""

    def __init__(self, numbers: KeyFormat, heads: int, dim: int, sees: int, /) -> None: ...
    @property
    def bytes(self) -> int: ...

class Pool:
    """Threads that wait for kernels; the one that calls is the first of them."""

    def __init__(self, threads: int, /) -> None: ...
    @property
    def threads(self) -> int: ...
    def meet(self, times: int, /) -> None:
        """Call all threads, so many times, for nothing."""

class Matrices:
    """Packed matrices of the same input, and what becomes of their results."""

class Layer:
    """A layer of the decoder or a block of the vision tower, and where its weights lie."""

    def room(self, tokens: int, /) -> int:
        """How many floats a run works in."""

class Decoder:
    """All layers of a decoder, and the norm after them."""

    def room(self, tokens: int, /) -> int:
        """How many floats a run works in."""

class Head:
    """Packed words, and perhaps the table by which the likeliest are scored again."""

class Variant:
    """The kernels, compiled for one instruction set."""

    @property
    def name(self) -> str: ...
    def rms_norm_f32(
        self, x: int, weight: int, out: int, rows: int, width: int, eps: float, /
    ) -> None: ...
    def rms_norm_bf16(
        self, x: int, weight: int, out: int, rows: int, width: int, eps: float, /
    ) -> None: ...
    def multiply(
        self,
        pool: Pool,
        matrices: Matrices,
        x: int,
        tokens: int,
        norm: int,
        norm_bias: int,
        eps: float,
        bias: int,
        out: int,
        /,
    ) -> None: ...
    def remember(
        self,
        pool: Pool,
        shape: PageShape,
        stride: int,
        stretches: int,
        count: int,
        heads: int,
        qkv: int,
        turns: int,
        q_norm: int,
        k_norm: int,
        eps: float,
        q: int,
        /,
    ) -> None: ...
    def attend(
        self,
        pool: Pool,
        shape: PageShape,
        stride: int,
        stretches: int,
        count: int,
        heads: int,
        causal: bool,
        q: int,
        out: int,
        log_sums: int,
        /,
    ) -> None: ...
    def run_layer(
        self,
        pool: Pool,
        shape: PageShape,
        stride: int,
        stretches: int,
        count: int,
        heads: int,
        layer: Layer,
        turns: int,
        tokens: int,
        stream: int,
        room: int,
        /,
    ) -> None: ...
    def run_decoder(
        self,
        pool: Pool,
        shape: PageShape,
        stride: int,
        stretches: int,
        count: int,
        heads: int,
        decoder: Decoder,
        words: int,
        positions: tuple[int, int, int],
        tokens: int,
        out: int,
        head: Head | None,
        logits: int,
        room: int,
        /,
    ) -> None:
        """Raises IndexError where there is no such word; without a head there are no logits."""

    def score(self, pool: Pool, head: Head, x: int, tokens: int, logits: int, /) -> None: ...
    def largest(
        self, pool: Pool, x: int, rows: int, width: int, count: int, places: int, /
    ) -> None: ...
    def draw(
        self,
        pool: Pool,
        logits: int,
        words: int,
        top_k: int,
        temperature: float,
        top_p: float,
        min_p: float,
        point: float,
        /,
    ) -> int:
        """The word that the point, above 0 and up to 1, falls to; the best if it is not finite."""

    def product_rounds(self, pool: Pool, rounds: int, /) -> int: ...
    def float_rounds(self, pool: Pool, rounds: int, /) -> int: ...
    def read(self, pool: Pool, at: int, count: int, /) -> None: ...

def join(matrices: list[tuple[int, int, int, int]], inputs: int, finish: Finish, /) -> Matrices:
    """Matrices of 4 and 8 bits, or all of 16: (bits, address, outputs, promising panels)."""

def layer(
    into: Matrices,
    out: Matrices,
    first: Matrices,
    second: Matrices,
    before_attention: tuple[int, int, float],
    before_mlp: tuple[int, int, float],
    of_heads: tuple[int, int, float],
    biases: tuple[int, int, int, int],
    causal: bool,
    /,
) -> Layer:
    """Prepare a layer: norms are (weight, bias, eps), those of heads (queries', keys', eps).

    What is 0 is not there.
    """

def decoder(
    layers: list[Layer],
    rotation: tuple[int, int, int],
    words: int,
    table: int,
    norm: int,
    eps: float,
    is_bf16: bool,
    /,
) -> Decoder:
    """Prepare layers, what turns heads (axes, frequencies, pairs), the table and the last norm."""

def head(matrix: Matrices, table: int, is_bf16: bool, refined: int, /) -> Head:
    """Prepare a matrix of words, the table that was packed, and how many words it refines, or 0."""

def turn(
    rotation: tuple[int, int, int],
    is_bf16: bool,
    positions: tuple[int, int, int],
    tokens: int,
    turns: int,
    /,
) -> None:
    """The cosines and sines [tokens, 2 · pairs] at positions (address, strides) [3, tokens]."""

def available_variants() -> list[Variant]:
    """Those that this machine runs, fastest first."""

def choose_variant(name: str, /) -> Variant:
    """The variant of that name, the fastest for an empty name, else a ValueError."""

"""A decoder in one native call is its layers one by one, what comes before and the norm after."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from qwen3_vl.ops import native
from qwen3_vl.ops.decoder import Decoder
from qwen3_vl.ops.head import Head
from qwen3_vl.ops.layers import Layer, Room
from qwen3_vl.ops.packed import Bits, pack
from qwen3_vl.ops.products import Norm, Packed
from qwen3_vl.ops.rotation import Rotation
from tests.support.packed_layers import DIM, HIDDEN, Cache, layer, numbers

ROTATION = Rotation(torch.arange(DIM // 2) % 3, 1e4 ** (-torch.arange(DIM // 2) / DIM))
STEPS = [(1, 1), (5, 1), (1, 3)]
WORDS = 50


class Doubled(Tensor):
    """A table whose rows are not what lies in memory."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = super().__torch_function__(func, types, args, kwargs or {})
        return 2 * result.as_subclass(Tensor) if func is F.embedding else result


pytestmark = pytest.mark.skipif(native.variant() is None, reason="there are no kernels")


def decoder(dtype: torch.dtype, *bits: Bits, table: Tensor | None = None) -> Decoder:
    room = Room()
    layers = [Layer(layer(one), room) for one in bits]
    norm = Norm(1 + 0.1 * numbers(HIDDEN, seed=8).to(dtype), 1e-6)
    table = numbers(WORDS, HIDDEN, seed=9) if table is None else table
    return Decoder(table.to(dtype), layers, ROTATION, norm, room)


@pytest.mark.usefixtures("variant")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bits", [(4, 8, 4), (16, 16)])
def test_one_call_is_bit_by_bit_what_many_are(bits: tuple[Bits, ...], dtype: torch.dtype) -> None:
    one = decoder(dtype, *bits)
    caches = [[Cache(8) for _ in bits] for _ in range(2)]
    for step, counts in enumerate(STEPS):
        tokens = sum(counts)
        words = torch.arange(tokens) * 7 % WORDS
        positions = torch.arange(step, 3 * tokens + step).view(3, tokens)
        passes, same = ([cache.step(counts) for cache in some] for some in caches)
        got, _ = one(words, passes, positions)
        wanted = one._one_by_one(words, same, positions)
        assert got.dtype == dtype
        assert torch.equal(got, wanted)
        for own, other in zip(*caches, strict=True):
            assert torch.equal(own.pages, other.pages)


@pytest.mark.usefixtures("variant")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("refined", [0, 3])
@pytest.mark.parametrize("tokens", [1, 8, 11])
def test_a_head_scores_in_the_same_call_what_it_scores_alone(
    tokens: int, refined: int, dtype: torch.dtype
) -> None:
    """In float16 no kernel does."""
    table = numbers(WORDS, HIDDEN, seed=9)
    matrix = Packed(pack(table, 4), WORDS, HIDDEN, 4)
    head = Head(matrix, table, refined) if refined else Head(matrix)
    words, positions = torch.arange(tokens), torch.arange(tokens).expand(3, -1)
    one, passes = decoder(dtype, 8), [Cache(8).step((1, tokens - 1))]
    hidden, logits = one(words, passes, positions, head)
    assert logits is not None
    assert torch.equal(logits, head(hidden))
    assert logits.shape == (tokens, WORDS)


def test_each_token_begins_with_its_word() -> None:
    """The layers see what they add to, so that words that are alike end alike."""
    table = numbers(WORDS, HIDDEN, seed=9)
    table[[3, 20]] = table[[0, WORDS - 1]]
    one = decoder(torch.float32, 8, table=table)

    def ends(*words: int) -> Tensor:
        positions = torch.tensor([[3, 9]]).expand(3, -1)
        return one(torch.tensor(words), [Cache(8).step((1, 1))], positions)[0]

    assert torch.equal(ends(0, WORDS - 1), ends(3, 20))
    assert not torch.equal(ends(0, WORDS - 1), ends(0, 21))
    assert torch.equal(ends(0, WORDS - 1)[0], ends(0, 21)[0])


def test_a_table_of_another_kind_is_asked_itself() -> None:
    words, positions = torch.tensor([4, 7]), torch.tensor([[3, 9]]).expand(3, -1)
    table = numbers(WORDS, HIDDEN, seed=9)
    got, wanted = (
        decoder(torch.float32, 8, table=one)(words, [Cache(8).step((1, 1))], positions)[0]
        for one in (table.as_subclass(Doubled), 2 * table)
    )
    assert torch.equal(got, wanted)


@pytest.mark.parametrize("word", [-1, WORDS])
def test_a_word_that_is_not_in_the_table_is_refused(word: int) -> None:
    one, positions = decoder(torch.float32, 8), torch.zeros(3, 2, dtype=torch.int64)
    with pytest.raises(IndexError, match="no such word"):
        one(torch.tensor([0, word]), [Cache(8).step((1, 1))], positions)


def test_words_and_positions_need_not_lie_one_after_the_other() -> None:
    one, words = decoder(torch.float32, 8), torch.tensor([[4, 0], [7, 0]])
    positions = torch.tensor([[3, 9]])
    wide, _ = one(words[:, 0], [Cache(8).step((1, 1))], positions.expand(3, -1))
    close, _ = one(words[:, 0].clone(), [Cache(8).step((1, 1))], positions.repeat(3, 1))
    assert torch.equal(wide, close)
    small, _ = one(words[:, 0].int(), [Cache(8).step((1, 1))], positions.expand(3, -1))
    assert torch.equal(wide, small)
    elsewhere, _ = one(words[:, 0], [Cache(8).step((1, 1))], positions.expand(3, -1) + 1)
    assert torch.allclose(wide, elsewhere, atol=1e-2), "a first token sees itself alone"


@pytest.mark.parametrize("change", ["float16", "between", "spread"])
def test_what_kernels_do_not_read_is_done_layer_by_layer(change: str) -> None:
    dtype = torch.float16 if change == "float16" else torch.float32
    table = numbers(HIDDEN, WORDS, seed=9).T if change == "spread" else None
    one, words = decoder(dtype, 8, table=table), torch.tensor([4, 7])
    positions = torch.tensor([[3, 9]]).expand(3, -1) + (0.5 if change == "between" else 0)
    got, _ = one(words, [Cache(8).step((1, 1))], positions)
    assert torch.equal(got, one._one_by_one(words, [Cache(8).step((1, 1))], positions))
    assert got.isfinite().all()

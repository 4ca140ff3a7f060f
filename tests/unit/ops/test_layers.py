"""A layer in one native call is the same layer as in six, and as in torch."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from threading import Thread

import pytest
import torch

from qwen3_vl.ops import native
from qwen3_vl.ops.layers import Layer, Room
from qwen3_vl.ops.packed import Bits
from qwen3_vl.ops.pages import TOKENS, PageBits, PagedPass, PageFormat, Stretch
from tests.support.packed_layers import (
    DIM,
    HEADS,
    HIDDEN,
    KEY_HEADS,
    Cache,
    block,
    layer,
    numbers,
    turns,
)

PASSES = [(1, 1), (5, 1), (40, 3)]
"""New tokens of two sequences."""

pytestmark = pytest.mark.skipif(native.variant() is None, reason="there are no kernels")


PARTS = {
    "plain": layer,
    "biased": lambda bits: layer(bits, biased=True),
    "block": block,
}


@pytest.mark.usefixtures("variant")
@pytest.mark.parametrize("kind", PARTS)
@pytest.mark.parametrize("page_bits", [8, 16])
@pytest.mark.parametrize("bits", [4, 8, 16])
def test_one_call_is_bit_by_bit_what_six_are(bits: Bits, page_bits: PageBits, kind: str) -> None:
    one = Layer(PARTS[kind](bits), Room())
    caches = Cache(page_bits), Cache(page_bits)
    for step, counts in enumerate(PASSES):
        tokens = sum(counts)
        x = numbers(tokens, HIDDEN, seed=10 + step)
        got = one(x.clone(), caches[0].step(counts), turns(tokens))
        wanted = one.one_by_one(x.clone(), caches[1].step(counts), turns(tokens))
        assert torch.equal(got, wanted)
        assert torch.equal(caches[0].pages, caches[1].pages)
        assert not torch.equal(got, x)


@pytest.mark.parametrize("sees", [0, 4])
@pytest.mark.parametrize("tokens", [1024, 1025, 2050])
def test_many_tokens_pass_in_parts_as_they_would_at_once(tokens: int, sees: int) -> None:
    one = Layer(block(8), Room())
    x, length = numbers(tokens, HIDDEN, seed=1), -(-tokens // TOKENS)
    layout = PageFormat(KEY_HEADS, DIM, 8, sees)
    table = torch.arange(length, dtype=torch.int32)
    pages = [torch.zeros_like(layout.empty(length)) for _ in range(2)]
    passes = [PagedPass(layout, HEADS, [Stretch(some, table, tokens, 0)]) for some in pages]
    wanted = one.one_by_one(x.clone(), passes[0], turns(tokens))
    assert torch.equal(one(x.clone(), passes[1], turns(tokens)), wanted)
    assert torch.equal(*pages)


def test_layers_that_share_their_room_do_not_disturb_each_other() -> None:
    room = Room()
    first, second = Layer(layer(4), room), Layer(block(8), room)
    alone = [Layer(one.parts, Room()) for one in (first, second)]
    x = numbers(43, HIDDEN, seed=1)
    for one, same in zip((first, second, first), (*alone, alone[0]), strict=True):
        wanted = same(x.clone(), Cache(8).step((40, 3)), turns(43))
        assert torch.equal(one(x.clone(), Cache(8).step((40, 3)), turns(43)), wanted)


def test_a_copied_model_works_elsewhere() -> None:
    room = Room()
    assert deepcopy(room).of(10).data_ptr() != room.of(10).data_ptr()


def test_room_is_kept_and_grows() -> None:
    room = Room()
    large = room.of(1000)
    assert room.of(10).data_ptr() == large.data_ptr()
    assert len(room.of(2000)) == 2000
    elsewhere: list[int] = []
    thread = Thread(target=lambda: elsewhere.append(room.of(10).data_ptr()))
    thread.start()
    thread.join()
    assert elsewhere != [room.of(10).data_ptr()]


def test_it_is_the_layer_of_plain_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """With weights and pages in bfloat16, of which few tokens are rounded no further: then the
    order of sums is all that differs, and where a key falls to the other side of its rounding."""
    one = Layer(layer(16, biased=True), Room())
    caches = Cache(16), Cache(16)
    for counts in PASSES[:2]:
        x, turned = numbers(sum(counts), HIDDEN, seed=9), turns(sum(counts))
        got = one(x.clone(), caches[0].step(counts), turned)
        with monkeypatch.context() as without:
            without.setattr(native, "kernels_for", lambda *_: None)
            wanted = one(x.clone(), caches[1].step(counts), turned)
        assert (got - wanted).abs().max() < 1e-3 * wanted.abs().max()


def test_a_bias_of_zeros_changes_nothing() -> None:
    parts = layer(4)
    zeros = torch.zeros(HIDDEN, dtype=torch.bfloat16)
    one = Layer(replace(parts, biases=(None, zeros, None, None)), Room())
    x = numbers(3, HIDDEN, seed=1)
    same = Layer(parts, Room())(x.clone(), Cache(8).step((2, 1)), turns(3))
    assert torch.equal(one(x.clone(), Cache(8).step((2, 1)), turns(3)), same)

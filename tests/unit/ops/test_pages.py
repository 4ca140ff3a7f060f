"""Pages of keys and values: what they hold, and attention over them, against float64."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from qwen3_vl.errors import InputError
from qwen3_vl.ops import native
from qwen3_vl.ops.pages import TOKENS, PagedPass, PageFormat, Stretch, Turning

HEADS, KEY_HEADS = 4, 2
FORMATS = [PageFormat(KEY_HEADS, dim, bits) for dim in (64, 96, 128) for bits in (8, 16)]
FORMATS.append(PageFormat(KEY_HEADS, 32, 8))
FORMATS += [PageFormat(KEY_HEADS, dim, bits, sees=3) for dim, bits in ((64, 8), (96, 16))]


def name(layout: PageFormat) -> str:
    return f"{layout.dim}x{layout.bits}" + (f"-sees-{layout.sees}" if layout.sees else "")


@pytest.fixture(params=FORMATS, ids=name)
def layout(request: pytest.FixtureRequest) -> PageFormat:
    return request.param


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def half_a_step(x: Tensor, layout: PageFormat) -> Tensor:
    """How far what a page holds may lie from what came in."""
    if layout.bits == 8:
        return x.abs().amax(dim=-1, keepdim=True) / 127 / 2 * 1.0001 + 1e-9
    return x.abs() * 2.0**-8 + 1e-9


def turning(layout: PageFormat, tokens: int) -> Turning:
    angles = numbers(tokens, layout.dim // 2, seed=5)
    turns = torch.cat((angles.cos(), angles.sin()), dim=1)
    q_norm, k_norm = 1 + 0.1 * numbers(layout.dim), 1 + 0.1 * numbers(layout.dim, seed=1)
    return Turning(turns, (q_norm, k_norm), 1e-6)


class Sequences:
    """Sequences of some lengths in shuffled pages of one cache."""

    def __init__(self, layout: PageFormat, held: Sequence[int], room: int = 224) -> None:
        self.layout, self.held = layout, list(held)
        each = -(-(max(held) + room) // TOKENS)
        order = torch.randperm(each * len(held), generator=torch.Generator().manual_seed(3))
        self.tables = order.int().view(len(held), each)
        self.pages = layout.empty(order.numel())

    def step(self, counts: Sequence[int]) -> PagedPass:
        stretches = [
            Stretch(self.pages, table, count, held)
            for table, count, held in zip(self.tables, counts, self.held, strict=True)
        ]
        self.held = [held + count for held, count in zip(self.held, counts, strict=True)]
        return PagedPass(self.layout, HEADS, stretches)

    def unpacked(self, sequence: int) -> tuple[Tensor, Tensor]:
        k, v = self.layout.unpack(self.pages[self.tables[sequence].long()])
        return k[: self.held[sequence]], v[: self.held[sequence]]


def test_what_is_packed_is_there_again(layout: PageFormat) -> None:
    k, v = numbers(3 * TOKENS, KEY_HEADS, layout.dim), numbers(3 * TOKENS, KEY_HEADS, layout.dim)
    k[5], v[7] = 0, 100 * v[7]
    pages = layout.pack(k, v)
    assert pages.shape == (3, layout.nbytes)
    for got, wanted in zip(layout.unpack(pages), (k, v), strict=True):
        assert ((got - wanted).abs() <= half_a_step(wanted, layout)).all()
    again = layout.unpack(layout.pack(*layout.unpack(pages)))
    torch.testing.assert_close(again, layout.unpack(pages), rtol=1e-6, atol=0)


@pytest.mark.parametrize("counts", [[1, 1], [7, 40], [33, 1]])
@pytest.mark.usefixtures("variant")
def test_new_tokens_come_into_their_places(layout: PageFormat, counts: list[int]) -> None:
    sequences = Sequences(layout, [0, 0])
    exact: list[list[Tensor]] = [[], []]
    for seed in (1, 2, 3):
        tokens = sum(counts)
        qkv = numbers(tokens, HEADS + 2 * KEY_HEADS, layout.dim, seed=seed)
        turned = turning(layout, tokens)
        q = sequences.step(counts).remember(qkv, turned)
        wide = qkv.double()
        other = Sequences(layout, [0, 0])
        wanted = other.step(counts).remember(wide, turned)
        torch.testing.assert_close(q.double(), wanted, rtol=1e-5, atol=1e-6)
        firsts = [0, counts[0]]
        for kept, first, count in zip(exact, firsts, counts, strict=True):
            kept.append(qkv[first : first + count, HEADS + KEY_HEADS :])
    for sequence in (0, 1):
        _, v = sequences.unpacked(sequence)
        wanted = torch.cat(exact[sequence])
        assert ((v - wanted).abs() <= half_a_step(wanted, layout)).all()


@pytest.mark.usefixtures("variant")
def test_keys_are_normalised_and_turned(layout: PageFormat) -> None:
    """By kernels as by the meaning, but for a rounding that falls to the other side."""
    qkv = numbers(50, HEADS + 2 * KEY_HEADS, layout.dim)
    sequences, others = Sequences(layout, [0]), Sequences(layout, [0])
    sequences.step([50]).remember(qkv, turning(layout, 50))
    others.step([50]).remember(qkv.double(), turning(layout, 50))
    got, wanted = sequences.unpacked(0)[0], others.unpacked(0)[0]
    assert ((got - wanted).abs() <= 2.01 * half_a_step(wanted, layout)).all()
    assert (got - wanted).abs().mean() < 1e-3


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.usefixtures("variant")
def test_attention_is_that_over_what_pages_hold(layout: PageFormat, causal: bool) -> None:
    """In 8 bits queries are rounded too: a score moves by at most half a step of its query times
    the sum of the key; in bfloat16 nothing but float32 sums differ."""
    sequences = Sequences(layout, [0, 0, 0], room=352)
    for counts in ([300, 3, 64], [1, 1, 1], [5, 8, 2]):
        tokens = sum(counts)
        qkv = numbers(tokens, HEADS + 2 * KEY_HEADS, layout.dim, seed=tokens)
        step = sequences.step(counts)
        q = step.remember(qkv, turning(layout, tokens))
        sums = torch.zeros(tokens, HEADS)
        exact_sums = torch.zeros(tokens, HEADS, dtype=torch.float64)
        got = step.attend(q, causal=causal, log_sums=sums)
        exact = step.attend(q.double(), causal=causal, log_sums=exact_sums)
        if layout.bits == 16:
            torch.testing.assert_close(got.double(), exact, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(sums.double(), exact_sums, rtol=1e-4, atol=1e-5)
        else:
            codes = 63  # the fewest that a variant uses
            keys = torch.cat([sequences.unpacked(i)[0] for i in range(3)])
            moved = q.abs().max() / codes / 2 * keys.abs().sum(dim=-1).max()
            assert (sums.double() - exact_sums).abs().max() <= moved
            assert (got.double() - exact).norm() <= 0.03 * exact.norm()


@pytest.mark.usefixtures("variant")
def test_a_value_far_above_the_others_leaves_these_their_digits() -> None:
    """Weights times scales of values share codes of 16 bits in up to 256 tokens: one value a
    hundred times as large, which hardly anyone looks at, costs the others two of five digits."""
    layout = FORMATS[0]
    qkv = numbers(150, HEADS + 2 * KEY_HEADS, layout.dim)
    qkv[70, HEADS : HEADS + KEY_HEADS] = 0
    qkv[70, HEADS + KEY_HEADS :] *= 100
    sequences = Sequences(layout, [0])
    step = sequences.step([150])
    q = step.remember(qkv, turning(layout, 150))
    got, exact = step.attend(q, causal=False), step.attend(q.double(), causal=False)
    assert (got.double() - exact).norm() <= 0.03 * exact.norm()


@pytest.mark.usefixtures("variant")
def test_queries_of_nothing_see_the_mean(layout: PageFormat) -> None:
    qkv = numbers(64, HEADS + 2 * KEY_HEADS, layout.dim)
    sequences = Sequences(layout, [0])
    step = sequences.step([64])
    step.remember(qkv, turning(layout, 64))
    got = step.attend(torch.zeros(64, HEADS, layout.dim), causal=False)
    means = sequences.unpacked(0)[1].mean(dim=0).repeat_interleave(HEADS // KEY_HEADS, dim=0)
    torch.testing.assert_close(got, means.expand_as(got), rtol=1e-3, atol=1e-4)


@pytest.mark.usefixtures("variant")
def test_sums_bear_the_largest_weights_and_values(layout: PageFormat) -> None:
    """All tokens weigh as much as one can, and all that they tell is as large as it can be."""
    qkv = numbers(300, HEADS + 2 * KEY_HEADS, layout.dim)
    qkv[:, HEADS + KEY_HEADS :] = -3
    sequences = Sequences(layout, [0], room=320)
    step = sequences.step([300])
    step.remember(qkv, turning(layout, 300))
    got = step.attend(torch.zeros(300, HEADS, layout.dim), causal=False)
    torch.testing.assert_close(got, torch.full_like(got, -3), rtol=1e-3, atol=0)


@pytest.mark.usefixtures("variant")
def test_one_token_sees_the_same_alone_and_among_others(layout: PageFormat) -> None:
    """So a draft is verified with the numbers that decoding alone would give."""
    together, alone = Sequences(layout, [0]), Sequences(layout, [0])
    qkv = numbers(44, HEADS + 2 * KEY_HEADS, layout.dim)
    turned = turning(layout, 44)

    def outputs(sequences: Sequences, counts: list[int]) -> Tensor:
        parts, first = [], 0
        for count in counts:
            part = slice(first, first + count)
            step = sequences.step([count])
            now = Turning(turned.turns[part], turned.norms, turned.eps)
            parts.append(step.attend(step.remember(qkv[part], now)))
            first += count
        return torch.cat(parts)

    one, other = outputs(together, [40, 4]), outputs(alone, [40, 1, 1, 1, 1])
    assert torch.equal(one[40:], other[40:])


def test_more_tokens_than_there_is_room_for_are_refused(layout: PageFormat) -> None:
    with pytest.raises(InputError, match="7 pages have no room for 0 tokens and 225 more"):
        Sequences(layout, [0]).step([225])


def test_the_formats_of_pages_are_those_of_the_kernels(layout: PageFormat) -> None:
    if not native.available_variants():
        pytest.skip("no kernels")
    shape = native.page_shape(layout.bits, layout.heads, layout.dim, layout.sees)
    assert shape.bytes == layout.nbytes


CHOOSING = [PageFormat(KEY_HEADS, 64, bits, sees=4) for bits in (8, 16)]


@pytest.mark.parametrize("layout", CHOOSING, ids=name)
@pytest.mark.usefixtures("variant")
def test_bounds_are_those_of_all_keys_of_a_page(layout: PageFormat) -> None:
    sequences = Sequences(layout, [0, 0])
    keys: list[list[Tensor]] = [[], []]
    for counts in ([70, 5], [1, 31], [30, 9], [2, 64]):
        tokens = sum(counts)
        qkv = numbers(tokens, HEADS + 2 * KEY_HEADS, layout.dim, seed=tokens)
        sequences.step(counts).remember(qkv, Turning.none(tokens, layout.dim))
        for kept, new in zip(keys, qkv[:, HEADS : HEADS + KEY_HEADS].split(counts), strict=True):
            kept.append(new)
    for sequence, parts in enumerate(keys):
        pages = torch.cat(parts).split(TOKENS)
        table = sequences.tables[sequence][: len(pages)].long()
        least, most = layout.bounds(sequences.pages[table]).unbind(dim=2)
        for at, page in enumerate(pages):
            assert torch.equal(least[at], page.amin(dim=0).bfloat16().float())
            assert torch.equal(most[at], page.amax(dim=0).bfloat16().float())


@pytest.mark.parametrize("layout", CHOOSING, ids=name)
@pytest.mark.usefixtures("variant")
def test_a_token_sees_the_pages_in_which_it_could_find_most(layout: PageFormat) -> None:
    """Each page has values of its own number, so what is seen tells which pages were."""
    pages, dim = 9, layout.dim
    tokens = pages * TOKENS - 5
    qkv = 0.05 * numbers(tokens, HEADS + 2 * KEY_HEADS, dim)
    number = torch.arange(tokens) // TOKENS
    qkv[:, HEADS + KEY_HEADS :] = torch.nn.functional.one_hot(number, dim).float().unsqueeze(1)
    wanted = {0: (2, 5), 1: (3, 6)}  # by key head, each of them for one of its query heads
    for head, places in wanted.items():
        for axis, page in enumerate(places):
            qkv[page * TOKENS + 7, HEADS + head, axis] = 3 * (-1) ** axis
    sequences = Sequences(layout, [0], room=tokens + 8)
    sequences.step([tokens]).remember(qkv, Turning.none(tokens, dim))
    new = torch.zeros(2, HEADS + 2 * KEY_HEADS, dim)
    for head in range(HEADS):
        new[:, head, head % 2] = 40 * (-1) ** (head % 2)
    new[:, HEADS + KEY_HEADS :, -1] = 1
    step = sequences.step([2])
    got = step.attend(step.remember(new, Turning.none(2, dim)))
    for head in range(HEADS):
        seen = set((got[0, head, :pages] > 1e-6).nonzero().flatten().tolist())
        assert seen == {0, *wanted[head // 2], pages - 1}
        assert got[0, head, :pages].sum() + got[0, head, -1] == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("layout", CHOOSING, ids=name)
@pytest.mark.usefixtures("variant")
def test_many_tokens_and_short_sequences_see_all(layout: PageFormat) -> None:
    whole = PageFormat(KEY_HEADS, layout.dim, layout.bits)
    for counts in ([layout.sees * TOKENS], [layout.sees * TOKENS - 3, 3], [200, 9]):
        outs: list[Tensor] = []
        for one in (layout, whole):
            sequences = Sequences(one, [0])
            for seed, count in enumerate(counts):
                qkv = numbers(count, HEADS + 2 * KEY_HEADS, one.dim, seed=seed)
                step = sequences.step([count])
                out = step.attend(step.remember(qkv, Turning.none(count, one.dim)))
            outs.append(out)
        assert torch.equal(*outs)

"""Products with packed weights, on each variant of this machine, against float64."""

from __future__ import annotations

import os

import pytest
import torch
from torch import Tensor

from qwen3_vl.errors import InputError
from qwen3_vl.ops import native
from qwen3_vl.ops.packed import GROUP, Bits, in_halves, known_by_upper, pack, unpack
from qwen3_vl.ops.products import Finish, Norm, Packed, Product, meaning
from qwen3_vl.testing import tolerance

VARIANTS = [one.name for one in native.available_variants()]
TOKENS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 17, 41, 64)
GUARD = 8


def matrix(outputs: int, inputs: int, bits: Bits, seed: int = 0) -> Packed:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(outputs, inputs, generator=generator) / inputs**0.5
    return Packed(pack(weight, bits), outputs, inputs, bits)


def tokens(count: int, inputs: int) -> Tensor:
    """With a few channels that are much larger, as models have."""
    made = torch.randn(count, inputs, generator=torch.Generator().manual_seed(count))
    made[:, ::61] *= 20
    return made


def most(x: Tensor, one: Packed, count: int) -> Tensor:
    """How far a result may lie from the meaning: half a step of each rounded activation, times the
    weight; for many tokens half an eighth-step of weights too, where rows have one scale.

    Beside bfloat16 weights, half a step of bfloat16, where that is multiplied; and the float32 sum.
    """
    weight = unpack(one.data, one.outputs, one.inputs, one.bits).abs().double()
    if one.bits == 16:
        magnitude = x.abs().double() @ weight.T
        is_rounded = count > 8 and os.environ[native.FORCED_BY] in ("amx", "avx512bf16")
        rounding = magnitude * torch.finfo(torch.bfloat16).eps / 2 if is_rounded else 0
        return tolerance(magnitude, one.inputs, torch.float32) + rounding
    codes = 63 if one.bits == 8 else 127  # the fewest that a variant uses
    if count <= 8:
        groups = torch.nn.functional.pad(x, (0, -one.inputs % GROUP)).unflatten(1, (-1, GROUP))
        reach = groups.abs().amax(dim=2).repeat_interleave(GROUP, dim=1)[:, : one.inputs]
    else:
        reach = x.abs().amax(dim=1, keepdim=True).expand_as(x)
    bound = (reach.double() / codes / 2) @ weight.T
    if count > 8 and one.bits == 4:
        row_scales = one.data[:, -64:].contiguous().view(torch.float32).reshape(-1)[: one.outputs]
        bound += x.abs().double().sum(dim=1, keepdim=True) * (4 * row_scales.double())
    return 1.001 * bound + 1e-6


@pytest.mark.parametrize("bits", [4, 8, 16])
@pytest.mark.parametrize("count", TOKENS)
@pytest.mark.usefixtures("variant")
def test_a_product_is_near_its_meaning(bits: Bits, count: int) -> None:
    for outputs, inputs in ((16, 128), (50, 200), (1, 131), (96, 512)):
        one, x = matrix(outputs, inputs, bits), tokens(count, inputs)
        got = Product(one)(x)
        assert ((got - meaning(x.double(), [one])).abs() <= most(x, one, count)).all()


@pytest.mark.parametrize("bits", [4, 8, 16])
@pytest.mark.usefixtures("variant")
def test_a_token_gives_the_same_bits_among_any_few(bits: Bits) -> None:
    product, x = Product(matrix(50, 384, bits)), tokens(8, 384)
    alone = torch.cat([product(x[i : i + 1]) for i in range(8)])
    for count in range(2, 9):
        assert torch.equal(product(x[:count]), alone[:count])


def halved(one: Packed, promising: int) -> Packed:
    return Packed(in_halves(one.data), one.outputs, one.inputs, 4, promising)


@pytest.mark.parametrize("promising", [1, 3, 1000])
@pytest.mark.parametrize("count", [1, 3, 8, 9, 20])
@pytest.mark.usefixtures("variant")
def test_of_halves_what_is_promising_is_seen_in_full(count: int, promising: int) -> None:
    """To the bit as weights that lie together; the others as far off as their upper halves are.
    More than a few tokens see all in full."""
    outputs, inputs = 200 * 16 - 5, 200
    one, x = matrix(outputs, inputs, 4), tokens(count, inputs)
    half = halved(one, promising)
    whole, got = Product(one)(x), Product(half)(x)
    panels = torch.nn.functional.pad(got == whole, (0, 5), value=True).unflatten(1, (-1, 16))
    seen = panels.all(dim=2)
    if count > 8 or promising > 200:
        assert seen.all()
        return
    known = Packed(known_by_upper(one.data), outputs, inputs, 4)
    rough = Product(known)(x)
    assert torch.equal(got, torch.where(seen.repeat_interleave(16, 1)[:, :outputs], whole, rough))
    assert (seen.sum(dim=1) == promising).all()
    most = torch.nn.functional.pad(rough, (0, 5)).unflatten(1, (-1, 16)).amax(dim=2)
    best = most.topk(promising, dim=1).indices
    assert seen.gather(1, best).all()


@pytest.mark.usefixtures("variant")
def test_a_token_among_few_sees_its_own_promising_panels() -> None:
    product, x = Product(halved(matrix(900, 384, 4), 2)), tokens(8, 384)
    alone = torch.cat([product(x[i : i + 1]) for i in range(8)])
    for count in range(2, 9):
        assert torch.equal(product(x[:count]), alone[:count])


def test_the_meaning_of_halves_chooses_too() -> None:
    half, x = halved(matrix(900, 384, 4), 2), tokens(3, 384).double()
    got, bias = meaning(x, [half]), torch.randn(900)
    exact = x @ half.weight.double().T
    same = torch.nn.functional.pad(got == exact, (0, 12), value=True).unflatten(1, (-1, 16))
    assert (same.all(dim=2).sum(dim=1) == 2).all()
    torch.testing.assert_close(meaning(x, [half], bias=bias), got + bias)
    many = tokens(9, 384).double()
    assert torch.equal(meaning(many, [half]), many @ half.weight.double().T)


@pytest.mark.usefixtures("variant")
def test_a_panel_with_a_result_that_is_no_number_is_promising() -> None:
    one, x = matrix(900, 384, 4), tokens(2, 384)
    one.data[5, -4:] = 255  # the scale of a row
    got = Product(halved(one, 3))(x)
    assert got[:, 95].isnan().all()
    assert torch.equal(got[:, 80:95], Product(one)(x)[:, 80:95])


def test_halves_take_a_product_of_their_own() -> None:
    one = matrix(16, 128, 4)
    for others, finish in (((one,), "store"), ((), "add")):
        with pytest.raises(InputError, match="a product of its own"):
            Product(halved(one, 1), *others, finish=finish)


def test_few_bytes_are_read_of_halves() -> None:
    one = matrix(3200, 256, 4)
    assert one.data.nbytes == Packed(one.data, 3200, 256, 4).read_bytes
    first, all_ = (halved(one, count).read_bytes for count in (1, 1000))
    assert 0.53 < first / one.data.nbytes < 0.55
    assert 1.5 < all_ / one.data.nbytes < 1.55


@pytest.mark.skipif("amx" not in VARIANTS, reason="this machine has no tiles")
@pytest.mark.parametrize("count", [9, 16, 17, 33, 70])
def test_tiles_give_the_bits_of_vectors(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where panels are an odd number, and more inputs than stay near at once."""
    product = Product(matrix(17 * 16 - 3, 1300, 4, 1), matrix(40, 1300, 8, 2))
    given: list[Tensor] = []
    for name in ("amx", "avx512vnni"):
        monkeypatch.setenv(native.FORCED_BY, name)
        native.variant.cache_clear()
        given.append(product(tokens(count, 1300)))
    native.variant.cache_clear()
    assert torch.equal(*given)


@pytest.mark.parametrize("bits", [(4, 8), (16, 16)])
@pytest.mark.parametrize("count", [3, 20])
@pytest.mark.parametrize("finish", ["store", "add", "gelu", "gate"])
@pytest.mark.usefixtures("variant")
def test_what_surrounds_a_product(finish: Finish, count: int, bits: tuple[Bits, Bits]) -> None:
    """Norm, bias and finish cost no accuracy of their own: the product of the same rounded tokens
    with `store` is what they start from."""
    second = 40 if finish == "gate" else 17
    matrices = [matrix(40, 256, bits[0], 1), matrix(second, 256, bits[1], 2)]
    x = tokens(count, 256)
    bias = None if finish == "gate" else torch.randn(57)
    for norm in (
        None,
        Norm(torch.rand(256) + 0.5, 1e-6),
        Norm(torch.rand(256) + 0.5, 1e-6, torch.randn(256)),
    ):
        product = Product(*matrices, finish=finish)
        old = torch.randn(count, product.outputs)
        got = product(x, norm, bias, old.clone())
        plain = Product(*matrices)(x, norm).double()
        expected = plain if bias is None else plain + bias
        if finish == "gate":
            first, second = plain.split([40, 40], dim=1)
            expected = torch.nn.functional.silu(first) * second
        elif finish == "gelu":
            expected = torch.nn.functional.gelu(expected, approximate="tanh")
        elif finish == "add":
            expected = old + expected
        torch.testing.assert_close(got.double(), expected, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("bits", [4, 8, 16])
@pytest.mark.usefixtures("variant")
def test_nothing_is_written_beside_the_result(bits: Bits) -> None:
    for count, outputs in ((1, 17), (8, 33), (9, 17), (20, 50)):
        room = torch.full((count * outputs + 2 * GUARD,), 7.0)
        out = room[GUARD:-GUARD].view(count, outputs)
        Product(matrix(outputs, 200, bits))(tokens(count, 200), out=out)
        assert (room[:GUARD] == 7).all()
        assert (room[-GUARD:] == 7).all()
        assert not (out == 7).any()


def test_weights_that_lie_askew_are_refused() -> None:
    one = matrix(16, 128, 4)
    room = torch.empty(one.data.numel() + 1, dtype=torch.uint8)
    askew = room[1:].view(one.data.shape).copy_(one.data)
    with pytest.raises(InputError, match="must begin at a multiple of 64 bytes"):
        Product(Packed(askew, 16, 128, 4))


def test_bfloat16_and_other_weights_take_products_of_their_own() -> None:
    with pytest.raises(InputError, match="make a product of each kind"):
        Product(matrix(16, 128, 8), matrix(16, 128, 16))


@pytest.mark.parametrize("bits", [(4, 8), (16, 16)])
@pytest.mark.parametrize("threads", [2, 3, 7])
@pytest.mark.parametrize("count", [1, 5, 40])
def test_any_number_of_threads_gives_the_same(
    threads: int, count: int, bits: tuple[Bits, Bits]
) -> None:
    product, x = Product(matrix(200, 384, bits[0]), matrix(50, 384, bits[1])), tokens(count, 384)
    norm = Norm(torch.rand(384) + 0.5, 1e-6)
    alone = product(x, norm)
    torch.set_num_threads(threads)
    try:
        assert torch.equal(product(x, norm), alone)
    finally:
        torch.set_num_threads(1)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("count", [8, 24])
@pytest.mark.usefixtures("variant")
def test_the_largest_codes_overflow_no_sum(bits: Bits, count: int) -> None:
    inputs = 6144
    signs = torch.ones(16, inputs)
    signs[1::2] = -1
    signs[2::4, ::2] *= -1
    one = Packed(pack(signs, bits), 16, inputs, bits)
    for x in (torch.ones(count, inputs), -torch.ones(count, inputs), signs[2:3].repeat(count, 1)):
        expected = meaning(x.double(), [one])
        torch.testing.assert_close(Product(one)(x).double(), expected, rtol=2e-2, atol=inputs / 64)


def test_variants_give_the_same_bits_for_a_few_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of four bits: their codes are rounded alike everywhere."""
    product, x = Product(matrix(48, 640, 4)), tokens(5, 640)
    results = []
    for name in VARIANTS:
        if name == "scalar":
            continue  # it may round a product before it adds it
        monkeypatch.setenv(native.FORCED_BY, name)
        native.variant.cache_clear()
        results.append(product(x))
    native.variant.cache_clear()
    assert all(torch.equal(one, results[0]) for one in results)

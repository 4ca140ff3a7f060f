"""Kernels for ARM mean what the others mean, on an emulated processor."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support import arm

GROUP, BLOCK, PANEL, QUAD, PAGE = 32, 128, 16, 4, 32
FEW = [1, 2, 5, 8]


@pytest.fixture(scope="module", params=arm.VARIANTS)
def cpu(request, tmp_path_factory):
    return arm.Arm(arm.build(request.param, tmp_path_factory.mktemp(request.param)))


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def rounded(cpu, x, groups):
    """Some tokens as the kernel for few rounds them: where they lie, their codes and scales."""
    tokens = len(x)
    quads = cpu.room(tokens * groups * GROUP // QUAD, np.int32)
    offsets, scales = cpu.room(tokens * groups, np.int32), cpu.room(tokens * groups)
    where = cpu.put(np.array([quads, offsets, scales], np.uint64))
    for token, one in enumerate(x):
        at = cpu.put(one)
        cpu.call("round_groups", at, one.size, 0, groups, 127, tokens, token, where)
    codes = cpu.get(quads, tokens * groups * GROUP, np.int8)
    codes = codes.reshape(-1, tokens, QUAD).transpose(1, 0, 2).reshape(tokens, groups, GROUP)
    return where, codes.astype(np.int64), cpu.get(scales, groups * tokens).reshape(groups, -1).T


def test_tokens_are_rounded_to_the_nearest_code(cpu, rng):
    x = rng.normal(size=(3, 2 * BLOCK - 5)).astype(np.float32)
    _, codes, scales = rounded(cpu, x, 8)
    filled = np.pad(x, ((0, 0), (0, 5))).reshape(3, 8, GROUP)
    wanted = filled / scales[..., None]
    assert abs(codes - wanted).max() <= 0.5 + 1e-4
    assert abs(codes).max() == 127


def int4_panel(rng, blocks):
    """A panel of random weights: packed, its codes less their zero, its scales."""
    codes = rng.integers(0, 16, (PANEL, blocks, PANEL, 2, QUAD))  # row, block, line, half, input
    scales = rng.integers(1, 128, (blocks, BLOCK // GROUP, PANEL))
    row_scales = rng.uniform(0.5, 2, PANEL).astype(np.float32)
    lines = (codes[:, :, :, 0] | codes[:, :, :, 1] << 4).transpose(1, 2, 0, 3)
    lines = np.concatenate((lines.reshape(blocks, -1), scales.reshape(blocks, -1)), 1)
    packed = lines.astype(np.uint8).tobytes() + row_scales.tobytes()
    packed = np.frombuffer(packed, np.uint8)
    weights = codes.reshape(PANEL, -1, GROUP) - 8
    return packed, weights, scales.reshape(-1, PANEL).T, row_scales


@pytest.mark.parametrize("tokens", FEW)
def test_few_tokens_times_four_bits(cpu, rng, tokens):
    packed, weights, group_scales, row_scales = int4_panel(rng, 3)
    x = rng.normal(size=(tokens, 3 * BLOCK)).astype(np.float32)
    where, codes, scales = rounded(cpu, x, 12)
    out = cpu.room(tokens * 20)
    cpu.call("int4_few", cpu.put(packed), 3, where, tokens, out, 20)
    products = np.einsum("rgi,tgi->trg", weights, codes) * group_scales
    exact = (products * scales[:, None].astype(np.float64)).sum(-1) * row_scales
    found = cpu.get(out, tokens * 20).reshape(tokens, 20)
    np.testing.assert_allclose(found[:, :PANEL], exact, rtol=0, atol=error(products, scales))
    untouched = found[:, PANEL:].view(np.uint32)
    assert (untouched == 0xA5A5A5A5).all()


def error(products, scales):
    """What sums of so many float32 numbers may be off, twice over for the scales of the rows."""
    most = abs(products * scales[:, None]).sum(-1).max()
    return 2 * most * products.shape[-1] * np.finfo(np.float32).eps


def halves_of(packed, blocks):
    """The upper halves of a panel's codes with its scales, and the lower halves."""
    lines = packed[: -4 * PANEL].reshape(blocks, -1, 64)
    pairs = lines[:, :-1].reshape(blocks, -1, 2, 64)
    quads = [pairs[:, :, 0] & 15, pairs[:, :, 0] >> 4, pairs[:, :, 1] & 15, pairs[:, :, 1] >> 4]
    upper, lower = (
        sum((quad >> shift & 3) << 2 * i for i, quad in enumerate(quads)) for shift in (2, 0)
    )
    upper = np.concatenate((upper, lines[:, -1:]), axis=1).astype(np.uint8)
    return np.append(upper, packed[-4 * PANEL :]), lower.astype(np.uint8).reshape(-1)


@pytest.mark.parametrize("tokens", FEW)
def test_few_tokens_meet_the_upper_halves_of_codes(cpu, rng, tokens):
    packed, weights, group_scales, row_scales = int4_panel(rng, 3)
    upper, _ = halves_of(packed, 3)
    x = rng.normal(size=(tokens, 3 * BLOCK)).astype(np.float32)
    where, codes, scales = rounded(cpu, x, 12)
    out = cpu.room(tokens * PANEL)
    cpu.call("upper_few", cpu.put(upper), 3, where, tokens, out, PANEL)
    known = ((weights + 8) // 4 * 4 + 2) - 8
    products = np.einsum("rgi,tgi->trg", known, codes) * group_scales
    exact = (products * scales[:, None].astype(np.float64)).sum(-1) * row_scales
    found = cpu.get(out, tokens * PANEL).reshape(tokens, PANEL)
    np.testing.assert_allclose(found, exact, rtol=0, atol=error(products, scales))


def test_halves_are_joined(cpu, rng):
    packed, *_ = int4_panel(rng, 3)
    upper, lower = halves_of(packed, 3)
    room = cpu.room(packed.size, np.uint8)
    cpu.call("join_halves", cpu.put(upper), cpu.put(lower), 3, room)
    np.testing.assert_array_equal(cpu.get(room, packed.size, np.uint8), packed)


def test_the_largest_of_each_block_is_found(cpu, rng):
    x = rng.normal(size=(6, 32)).astype(np.float32)
    x[1, 5], x[2, 31], x[3], x[4, 0] = np.inf, np.nan, -np.inf, -np.inf
    most = cpu.room(6)
    cpu.call("maxima", cpu.put(x), 32, 6, most)
    np.testing.assert_array_equal(cpu.get(most, 6), x.max(axis=1))


@pytest.mark.parametrize("tokens", FEW)
def test_few_tokens_times_eight_bits(cpu, rng, tokens):
    weights = rng.integers(-127, 128, (PANEL, 8, GROUP))
    row_scales = rng.uniform(0.5, 2, PANEL).astype(np.float32)
    lines = (weights + 128).reshape(PANEL, -1, QUAD).transpose(1, 0, 2)
    packed = np.frombuffer(lines.astype(np.uint8).tobytes() + row_scales.tobytes(), np.uint8)
    x = rng.normal(size=(tokens, 2 * BLOCK)).astype(np.float32)
    where, codes, scales = rounded(cpu, x, 8)
    out = cpu.room(tokens * PANEL)
    cpu.call("int8_few", cpu.put(packed), 2, where, tokens, out, PANEL)
    products = np.einsum("rgi,tgi->trg", weights, codes)
    exact = (products * scales[:, None].astype(np.float64)).sum(-1) * row_scales
    found = cpu.get(out, tokens * PANEL).reshape(tokens, PANEL)
    np.testing.assert_allclose(found, exact, rtol=0, atol=error(products, scales))


@pytest.mark.parametrize("tokens", [1, 4, 6])
def test_many_tokens_times_four_bits_unpacked_to_eight(cpu, rng, tokens):
    packed, weights, group_scales, row_scales = int4_panel(rng, 2)
    panel, room = cpu.room(3, np.uint64), cpu.room(2 * (BLOCK * PANEL + 64) + 64, np.uint8)
    cpu.call("unpack_int4", cpu.put(packed), 2, room, result=panel)
    together, groups = 6, 2 * BLOCK // GROUP
    x = rng.normal(size=(tokens, 2 * BLOCK)).astype(np.float32)
    quads = cpu.room(together * groups * GROUP, np.int8)
    offsets, scales = cpu.room(together * groups, np.int32), cpu.room(together)
    sums = cpu.room(together, np.int32)
    where = cpu.put(np.array([quads, offsets, scales, sums], np.uint64))
    for token, one in enumerate(x):
        cpu.call("round_token", cpu.put(one), one.size, groups, 127, token, where)
    out = cpu.room(tokens * PANEL)
    lines = groups * GROUP // QUAD
    cpu.call("many", panel, 1, lines, where, tokens, out, PANEL)
    codes = cpu.get(quads, together * groups * GROUP, np.int8).reshape(lines, together, QUAD)
    codes = codes.transpose(1, 0, 2).reshape(together, -1)[:tokens].astype(np.int64)
    scaled = weights * group_scales[..., None]
    eighths = (scaled + 4) // 8  # rounded, halves up
    products = eighths.reshape(PANEL, -1) @ codes.T
    factors = (row_scales * np.float32(8))[:, None] * cpu.get(scales, tokens)
    exact = products.astype(np.float32) * factors
    found = cpu.get(out, tokens * PANEL).reshape(tokens, PANEL)
    np.testing.assert_array_equal(found, exact.T)


@pytest.mark.parametrize("tokens", FEW)
def test_few_tokens_times_bfloat16(cpu, rng, tokens):
    weights = rng.normal(size=(PANEL, BLOCK)).astype(np.float32)
    halves = (weights.view(np.uint32) >> 16).astype(np.uint16)  # cut off: bfloat16 all the same
    weights = (halves.astype(np.uint32) << 16).view(np.float32)
    packed = np.ascontiguousarray(halves.reshape(PANEL, -1, 2).transpose(1, 0, 2))
    x = rng.normal(size=(tokens, BLOCK)).astype(np.float32)
    pairs = cpu.room(tokens * BLOCK)
    for token, one in enumerate(x):
        at = pairs + 8 * token
        cpu.call("place_float_pairs", cpu.put(one), BLOCK, 0, BLOCK // GROUP, at, tokens)
    out = cpu.room(tokens * PANEL)
    cpu.call("bf16_few", cpu.put(packed), 1, pairs, tokens, tokens, out, PANEL)
    exact = x.astype(np.float64) @ weights.T.astype(np.float64)
    most = (abs(x) @ abs(weights.T)).max() * BLOCK * np.finfo(np.float32).eps
    found = cpu.get(out, tokens * PANEL).reshape(tokens, PANEL)
    np.testing.assert_allclose(found, exact, rtol=0, atol=most)


def test_a_gate_is_silu_times_the_other(cpu, rng):
    block = rng.normal(scale=4, size=(3, 2 * PANEL)).astype(np.float32)
    out = cpu.room(3 * 13)
    gate, no_bias = 3, 0
    cpu.call("finish", gate, cpu.put(block), 3, 2 * PANEL, no_bias, out, 13, 13)
    first, second = block[:, :13].astype(np.float64), block[:, PANEL : PANEL + 13]
    found = cpu.get(out, 3 * 13).reshape(3, 13)
    np.testing.assert_allclose(found, first / (1 + np.exp(-first)) * second, rtol=1e-5, atol=1e-6)


def test_norms(cpu, rng):
    x = rng.normal(loc=1, size=(2, 37)).astype(np.float32)
    weight, bias = rng.normal(size=(2, 37)).astype(np.float32)
    at, scale, shift, out = cpu.put(x), cpu.put(weight), cpu.put(bias), cpu.room(2 * 37)
    cpu.call("rms_norm_f32", at, scale, out, 2, 37, 1e-6)
    size = np.sqrt((x.astype(np.float64) ** 2).mean(-1, keepdims=True) + 1e-6)
    found = cpu.get(out, 2 * 37).reshape(2, 37)
    np.testing.assert_allclose(found, x / size * weight, rtol=2e-6, atol=1e-6)
    cpu.call("layer_norm", at, scale, shift, out, 37, 1e-6)
    off = x[0] - x[0].mean(dtype=np.float64)
    exact = off / np.sqrt((off**2).mean() + 1e-6) * weight + bias
    np.testing.assert_allclose(cpu.get(out, 37), exact, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("kernel", "rows", "bits"),
    [
        ("attend", 1, 8),
        ("attend", 5, 8),
        ("attend_many", 6, 8),
        ("attend", 1, 16),
        ("attend", 3, 16),
    ],
)
def test_attention_over_pages(cpu, rng, kernel, rows, bits):
    """Two pages, the second not full, of which the first query sees less than the last."""
    dim, tokens = 64, 50
    keys, values = rng.normal(size=(2, tokens, dim)).astype(np.float32)
    half = PAGE * dim * bits // 8 + (PAGE * 4 if bits == 8 else 0)
    pages = cpu.room(2 * 2 * half, np.uint8)
    number_format = 0 if bits == 8 else 1
    shape = np.array([number_format, 1, dim, 0], np.uint64)
    at = cpu.put(shape)
    for token in range(tokens):
        key, value = cpu.put(keys[token]), cpu.put(values[token])
        page = pages + token // PAGE * 2 * half
        cpu.call("write_page", at, key, value, page, 0, token % PAGE)
    table = cpu.put(np.arange(2, dtype=np.int32))
    everything = cpu.put(np.append(shape, np.array([pages, 2 * half, table], np.uint64)))
    q = rng.normal(scale=0.3, size=(rows, dim)).astype(np.float32)
    seen = np.arange(tokens - rows + 1, tokens + 1, dtype=np.uint64)
    out, log_sums = cpu.room(rows * dim), cpu.room(rows)
    cpu.call(kernel, everything, 0, cpu.put(q), rows, cpu.put(seen), out, log_sums)

    scores = q.astype(np.float64) @ keys.T
    visible = np.arange(tokens) < seen[:, None]
    weights = np.where(visible, np.exp(scores), 0)
    exact = weights @ values / weights.sum(-1, keepdims=True)
    # Keys, values and queries are off by half a step each.
    step = abs(keys).max() / 127 / 2 if bits == 8 else abs(keys).max() / 256
    off = abs(q).sum(-1).max() * step
    if bits == 8:
        off += abs(keys).sum(-1).max() * abs(q).max() / 127 / 2
    bound = (np.exp(2 * off) - 1) * abs(values).max() + abs(values).max() / 127
    found = cpu.get(out, rows * dim).reshape(rows, dim)
    assert abs(found - exact).max() < bound
    assert abs(found - exact).max() < 0.1 * abs(exact).max()
    wanted = np.log(weights.sum(-1))
    np.testing.assert_allclose(cpu.get(log_sums, rows), wanted, atol=off)

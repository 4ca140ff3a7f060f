"""rms_norm: every variant and dtype against float64, then what callers may do with it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import forward_ad

from qwen3_vl.errors import InputError
from qwen3_vl.ops import native
from qwen3_vl.ops.rms_norm import meaning, rms_norm
from qwen3_vl.testing import check_op, guarded, tolerance

EPS = 1e-6
DTYPES = [torch.float32, torch.bfloat16]
WIDTHS = [1, 2, 7, 31, 128, 2048, 2049]
VARIANTS = native.available_variants()

every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=["f32", "bf16"])
every_variant = pytest.mark.parametrize("variant", VARIANTS, ids=[v.name for v in VARIANTS])


def random(*shape: int, dtype: torch.dtype, scale: float = 1.0, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(shape, generator=generator) * scale).to(dtype)


def run(variant, x: Tensor, weight: Tensor, out: Tensor, eps: float = EPS) -> Tensor:
    kernel = variant.rms_norm_f32 if x.dtype == torch.float32 else variant.rms_norm_bf16
    width = x.shape[-1]
    kernel(x.data_ptr(), weight.data_ptr(), out.data_ptr(), x.numel() // width, width, eps)
    return out


def check(actual: Tensor, x: Tensor, weight: Tensor, eps: float = EPS) -> None:
    exact = meaning(x.double(), weight.double(), eps)
    # One product per element and a sum of `width` squares; two values are written in the dtype.
    check_op(actual, exact, tolerance(exact, x.shape[-1], x.dtype, roundings=2))


@every_variant
@every_dtype
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scale", [1.0, 1e15, 1e-15], ids=["usual", "large", "tiny"])
def test_kernel_is_near_float64_and_stays_inside_its_memory(variant, dtype, width, scale):
    x = random(3, width, dtype=dtype, scale=scale)
    weight = random(width, dtype=dtype, seed=1)
    with guarded((3, width), dtype) as out:
        check(run(variant, x, weight, out), x, weight)


@every_variant
@every_dtype
@pytest.mark.parametrize("shift", [1, 3])
def test_kernel_takes_unaligned_memory(variant, dtype, shift):
    with (
        guarded((2, 77), dtype, shift=shift) as x,
        guarded((77,), dtype, shift=shift) as weight,
        guarded((2, 77), dtype, shift=shift) as out,
    ):
        x.copy_(random(2, 77, dtype=dtype))
        weight.copy_(random(77, dtype=dtype, seed=1))
        check(run(variant, x, weight, out), x, weight)


@every_variant
@every_dtype
@pytest.mark.parametrize("width", [5, 64])
def test_kernel_keeps_nan_and_infinity_in_their_row(variant, dtype, width):
    x = random(3, width, dtype=dtype)
    x[0, 1] = torch.nan
    x[1, 1] = torch.inf
    weight = torch.ones(width, dtype=dtype)
    out = run(variant, x, weight, torch.empty_like(x))
    torch.testing.assert_close(out[:2], meaning(x, weight, EPS)[:2], equal_nan=True)
    assert out[0].isnan().all()
    check(out[2], x[2], weight)


def ones_and_every_bfloat16_fraction() -> tuple[Tensor, Tensor]:
    """Rows of ±1, whose mean square is exactly 1 in any order of adding, and weights in [1, 2)."""
    x = random(4, 128, dtype=torch.float32).sign().bfloat16()
    return x, torch.arange(0x3F80, 0x4000, dtype=torch.int16).view(torch.bfloat16)


@every_variant
def test_bfloat16_is_rounded_before_and_after_the_weight(variant):
    x, weight = ones_and_every_bfloat16_fraction()
    out = run(variant, x, weight, torch.empty_like(x), eps=2.0)
    assert torch.equal(out, meaning(x, weight, 2.0))
    rounded_once = (weight.float() * x.float() * 3.0**-0.5).bfloat16()
    assert not torch.equal(out, rounded_once), "the case cannot tell one rounding from two"


@every_variant
def test_bfloat16_ties_go_to_even(variant):
    x, weight = ones_and_every_bfloat16_fraction()
    eps = 0.75**-2 - 1  # normalised values become ±0.75, and many products lie halfway
    out = run(variant, x, weight, torch.empty_like(x), eps=eps)
    exact = x.float() * 0.75 * weight.float()
    assert torch.equal(out, exact.bfloat16())
    up = (exact.view(torch.int32) + 0x8000 & -0x10000).view(torch.float32).bfloat16()
    assert not torch.equal(out, up), "the case has no tie that goes down"


@every_dtype
@pytest.mark.parametrize("shape", [(4,), (1, 4), (2, 3, 4), (0, 4), (2, 0)])
def test_any_number_of_rows(dtype, shape):
    x, weight = random(*shape, dtype=dtype), random(shape[-1], dtype=dtype, seed=1)
    out = rms_norm(x, weight, EPS)
    assert out.dtype == dtype
    assert out.shape == x.shape
    if x.numel():
        check(out, x, weight)


@every_dtype
def test_strided_input(dtype):
    x = random(6, 5, 8, dtype=dtype)
    weight = random(16, dtype=dtype, seed=1)[::2]
    for view in (x.transpose(0, 1), x[:, 1:3], x[::2], x.flip(0)):
        check(rms_norm(view, weight, EPS), view, weight)
    columns = x.transpose(1, 2)
    check(rms_norm(columns, weight[:5], EPS), columns, weight[:5])


def test_gradients_are_those_of_the_meaning():
    x = random(3, 5, dtype=torch.float64).requires_grad_()
    weight = random(5, dtype=torch.float64, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, w: rms_norm(x, w, EPS), (x, weight))


@every_dtype
def test_gradient_flows_to_whichever_asks(dtype):
    for grad_x, grad_weight in [(True, False), (False, True), (True, True)]:
        x = random(2, 8, dtype=dtype).requires_grad_(grad_x)
        weight = torch.nn.Parameter(random(8, dtype=dtype, seed=1), requires_grad=grad_weight)
        rms_norm(x, weight, EPS).float().sum().backward()
        assert (x.grad is not None) == grad_x
        assert (weight.grad is not None) == grad_weight


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # make_dual uses it
def test_forward_mode_and_transforms():
    x, weight = random(3, 8, dtype=torch.float32), random(8, dtype=torch.float32, seed=1)
    with forward_ad.dual_level():
        dual = rms_norm(forward_ad.make_dual(x, torch.ones_like(x)), weight, EPS)
        assert forward_ad.unpack_dual(dual).tangent is not None
    each = torch.vmap(lambda row: rms_norm(row, weight, EPS))(x)
    check(each, x, weight)


def test_memory_that_is_not_there_is_not_read():
    meta = rms_norm(torch.empty(2, 8, device="meta"), torch.empty(8, device="meta"), EPS)
    assert meta.is_meta
    assert meta.shape == (2, 8)
    with FakeTensorMode():
        fake = rms_norm(torch.empty(2, 8), torch.empty(8), EPS)
    assert fake.shape == (2, 8)


@pytest.mark.parametrize(
    ("x", "weight"),
    [
        (torch.float64, torch.float64),
        (torch.float16, torch.float16),
        (torch.bfloat16, torch.float32),
    ],
    ids=str,
)
def test_other_dtypes_follow_torch(x, weight):
    values, scale = random(2, 8, dtype=x), random(8, dtype=weight, seed=1)
    out = rms_norm(values, scale, EPS)
    assert out.dtype == torch.promote_types(x, weight)
    assert torch.equal(out, meaning(values, scale, EPS))


@pytest.mark.parametrize("shape", [(1,), (7,), (9,), (1, 8), ()])
def test_a_weight_of_another_shape_is_refused(shape):
    with pytest.raises(InputError, match=r"asks for \(8,\)"):
        rms_norm(torch.zeros(2, 8), torch.ones(shape), EPS)

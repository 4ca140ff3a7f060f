"""The compiled kernels: whether they are there, which variant is used, when a tensor may use them.

Without the extension every op runs its torch meaning. That is said once, through `logging` and not
`warnings`: it is the state of this installation, which an operator reads in a log; the code that
happens to call an op first could not change it, and must not fail under `-W error` because of it.
"""

from __future__ import annotations

import functools
import importlib
import logging
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import torch
from torch._C._functorch import peek_interpreter_stack
from torch.autograd import forward_ad

from qwen3_vl.errors import DeviceError

if TYPE_CHECKING:
    from types import ModuleType

    from qwen3_vl import _native

FORCED_BY = "QWEN3_VL_CPU"
"""The environment variable that forces a variant, such as `QWEN3_VL_CPU=avx2`."""

_REMEDY = "where a C++ compiler and Python's headers are (Debian: apt install g++ python3-dev)"

_log = logging.getLogger(__name__)


def kernels_for(*tensors: torch.Tensor) -> _native.Variant | None:
    """Give the compiled kernels if the memory of these tensors may be handed to them."""
    if _observed() or not all(map(_is_plain, tensors)):
        return None
    return variant()


@functools.cache
def variant() -> _native.Variant | None:
    """Give the variant in use, None without the extension.

    Raises:
        DeviceError: `QWEN3_VL_CPU` forces a variant that this build or this machine lacks.
    """
    forced = os.environ.get(FORCED_BY, "")
    compiled = _extension()
    if compiled is None:
        if forced:
            raise DeviceError(
                f"{FORCED_BY}={forced} asks for compiled kernels, but this installation has none; "
                f"unset it to compute with torch, or install again {_REMEDY}"
            )
        _log.warning(
            "qwen3_vl has no compiled kernels here and computes with torch, which is slower; "
            "to have them, install it again %s",
            _REMEDY,
        )
        return None
    try:
        return compiled.choose_variant(forced)
    except ValueError as error:
        raise DeviceError(
            f"{FORCED_BY}={forced}: {error}; choose one of these, or unset it for the fastest"
        ) from None


def pool() -> _native.Pool:
    """Give the threads that kernels run on, as many as torch has; only where there are kernels."""
    threads = torch.get_num_threads()
    if threads not in _pools:
        _pools[threads] = cast("ModuleType", _extension()).Pool(threads)
    return _pools[threads]


def join(
    matrices: Sequence[tuple[int, int, int, int]], inputs: int, finish: str
) -> _native.Matrices | None:
    """Prepare matrices (bits, address, outputs, promising panels); None without the extension."""
    compiled = _extension()
    if compiled is None:
        return None
    return compiled.join(list(matrices), inputs, getattr(compiled.Finish, finish))


def layer(
    products: Sequence[_native.Matrices | None],
    norms: Sequence[tuple[int, int, float]],
    biases: tuple[int, int, int, int],
    *,
    causal: bool,
) -> _native.Layer | None:
    """Prepare a layer of four products and three norms; None without the extension."""
    compiled = _extension()
    if compiled is None or None in products:
        return None
    return compiled.layer(*products, *norms, biases, causal)


def decoder(
    layers: Sequence[_native.Layer | None],
    rotation: tuple[int, int, int],
    table: torch.Tensor,
    norm: tuple[int, float],
    *,
    is_bf16: bool,
) -> _native.Decoder | None:
    """Prepare layers, a rotation, a table of words and a norm; None without the extension."""
    compiled = _extension()
    if compiled is None or None in layers:
        return None
    return compiled.decoder(list(layers), rotation, len(table), table.data_ptr(), *norm, is_bf16)


def head(
    matrix: _native.Matrices | None, table: torch.Tensor | None, refined: int
) -> _native.Head | None:
    """Prepare packed words, and a table that refines so many; None without the extension."""
    compiled = _extension()
    if compiled is None or matrix is None:
        return None
    at, is_bf16 = (0, False) if table is None else (table.data_ptr(), table.dtype == torch.bfloat16)
    return compiled.head(matrix, at, is_bf16, refined)


def turn(
    rotation: tuple[int, int, int], positions: torch.Tensor, turns: torch.Tensor, *, is_bf16: bool
) -> None:
    """Write the cosines and sines at positions [3, tokens]; only where there are kernels."""
    compiled = cast("ModuleType", _extension())
    compiled.turn(rotation, is_bf16, strided(positions), len(turns), turns.data_ptr())


def strided(matrix: torch.Tensor) -> tuple[int, int, int]:
    """Give the address of a matrix, and how far it is to the next row and column."""
    return matrix.data_ptr(), matrix.stride(0), matrix.stride(1)


def force(name: str) -> None:
    """Use the variant of this name from now on, in this whole process.

    Raises:
        DeviceError: this build or this machine lacks it.
    """
    os.environ[FORCED_BY] = name
    variant.cache_clear()
    variant()


def available_variants() -> list[_native.Variant]:
    """List the variants that this build has and this machine runs, fastest first."""
    compiled = _extension()
    return [] if compiled is None else compiled.available_variants()


def report() -> str:
    """Say in one line which kernels are in use."""
    used = variant()
    if used is None:
        return "CPU kernels: none compiled, torch computes"
    names = ", ".join(one.name for one in available_variants())
    return f"CPU kernels: {used.name} (this machine runs {names})"


@functools.cache
def page_shape(bits: int, heads: int, dim: int, sees: int) -> _native.PageShape:
    """Give the layout of a page of keys and values; only where there are kernels."""
    compiled = cast("ModuleType", _extension())
    numbers = compiled.KeyFormat.int8 if bits == 8 else compiled.KeyFormat.bf16
    return compiled.PageShape(numbers, heads, dim, sees)


_pools: dict[int, _native.Pool] = {}
_lost: list[dict[int, _native.Pool]] = []


def _leave_pools() -> None:
    """Begin anew in a process that was forked: threads do not come along.

    The old pools are kept, for to delete one is to wait for its threads.
    """
    _lost.append(dict(_pools))
    _pools.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_pools)


@functools.cache
def _extension() -> ModuleType | None:
    try:
        return importlib.import_module("qwen3_vl._native")
    except ModuleNotFoundError as error:
        if error.name != "qwen3_vl._native":
            raise
        return None  # not built; one that is built but broken raises another ImportError


def keepable(tensor: torch.Tensor) -> bool:
    """Say whether kernels that keep the address of this tensor can read it there."""
    plain = type(tensor) is torch.Tensor and tensor.is_cpu and tensor.is_contiguous()
    return plain and tensor.dtype in (torch.float32, torch.bfloat16)


def _observed() -> bool:
    """Say whether a compiler, a transform or a dispatch mode must see every torch operation."""
    return (
        torch.compiler.is_compiling()
        or forward_ad._current_level >= 0
        or peek_interpreter_stack() is not None
        or torch._C._len_torch_dispatch_stack() > 0
    )


def _is_plain(tensor: torch.Tensor) -> bool:
    """Say whether this is CPU memory and no gradient is recorded; a subclass may be anything."""
    return (
        (type(tensor) is torch.Tensor or type(tensor) is torch.nn.Parameter)
        and tensor.is_cpu
        and not (tensor.requires_grad and torch.is_grad_enabled())
    )

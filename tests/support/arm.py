"""Kernels for ARM, compiled by Zig and run by an emulated processor, wherever the tests run."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

unicorn = pytest.importorskip("unicorn", reason="without Unicorn there is no ARM to run on")
pytest.importorskip("ziglang", reason="without Zig nothing compiles for ARM")
from unicorn import arm64_const as arm  # noqa: E402

_ROOT = Path(__file__).parents[2]
_FLAGS = {"neon": [], "neondot": ["-mcpu=generic+dotprod"]}
VARIANTS = tuple(_FLAGS)
_KERNELS = (
    "round_groups",
    "round_token",
    "int4_few",
    "int8_few",
    "unpack_int4",
    "many",
    "place_float_pairs",
    "bf16_few",
    "finish",
    "rms_norm_f32",
    "layer_norm",
    "write_page",
    "attend",
    "attend_many",
    "upper_few",
    "join_halves",
    "maxima",
)
"""In the order of arm.cpp."""
_HEAP, _HEAP_BYTES, _STACK_BYTES = 0x4000_0000, 1 << 24, 1 << 22
_RETURN = 0x3000_0000
_PAGE = 1 << 12
_LINE = 64
_LOAD = 1
"""Of the parts of a program: one that is to lie in memory."""
_FLOATING_POINT_ON = 3 << 20
_RESULT = arm.UC_ARM64_REG_X8
"""Where the address of a result goes that is too large for a register."""
_WHOLE = [getattr(arm, f"UC_ARM64_REG_X{number}") for number in range(8)]
_REAL = [getattr(arm, f"UC_ARM64_REG_S{number}") for number in range(8)]


def build(variant: str, folder: Path) -> Path:
    """Compile the kernels of a variant as a program whose beginning finds them."""
    sources = sorted((_ROOT / "csrc/cpu/kernels").glob("*.cpp"))
    sources = [one for one in sources if not one.stem.endswith("_tiles")]
    sources.append(Path(__file__).with_suffix(".cpp"))
    compiler = ["c++", "-target", "aarch64-linux-musl", *_FLAGS[variant], "-std=c++20", "-O2"]
    compiler += ["-Wall", "-Wextra", "-Werror", f"-DQWEN3_VL_VARIANT={variant}"]
    objects = [folder / f"{one.stem}.o" for one in sources]
    for source, compiled in zip(sources, objects, strict=True):
        _zig(folder, *compiler, "-c", str(source), "-o", str(compiled))
    program = folder / variant
    linker = ["build-exe", "-target", "aarch64-freestanding", "-fcompiler-rt", "-fentry=kernel"]
    _zig(folder, *linker, f"-femit-bin={program}", *map(str, objects))
    return program


def _zig(folder: Path, *command: str) -> None:
    places = {f"ZIG_{one}_CACHE_DIR": str(folder / "zig") for one in ("LOCAL", "GLOBAL")}
    found = subprocess.run(
        [sys.executable, "-m", "ziglang", *command],
        env=os.environ | places,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr


class Arm:
    """A processor with a program, and memory that tests put arrays in."""

    def __init__(self, program: Path) -> None:
        self._machine = unicorn.Uc(unicorn.UC_ARCH_ARM64, unicorn.UC_MODE_ARM)
        self._machine.ctl_set_cpu_model(arm.UC_CPU_ARM64_MAX)
        self._machine.reg_write(arm.UC_ARM64_REG_CPACR_EL1, _FLOATING_POINT_ON)
        self._machine.mem_map(_RETURN, _PAGE)
        self._machine.mem_map(_HEAP, _HEAP_BYTES + _STACK_BYTES)
        begin = self._load(program.read_bytes())
        self._free = _HEAP
        self._found = {name: self._run(begin, number) for number, name in enumerate(_KERNELS)}

    def _load(self, program: bytes) -> int:
        """Put the parts of a program where they belong; where does it begin?"""
        begin, parts = struct.unpack_from("<QQ", program, 24)
        size, count = struct.unpack_from("<HH", program, 54)
        mapped = set[int]()
        for part in range(count):
            kind, _, at, place, _, stored, whole = struct.unpack_from(
                "<IIQQQQQ", program, parts + part * size
            )
            if kind != _LOAD:
                continue
            for page in range(place // _PAGE, (place + whole + _PAGE - 1) // _PAGE):
                if page not in mapped:
                    self._machine.mem_map(page * _PAGE, _PAGE)
                    mapped.add(page)
            self._machine.mem_write(place, program[at : at + stored])
        return begin

    def put(self, array: NDArray[np.generic]) -> int:
        """Copy an array into memory that nothing else has."""
        raw = array.tobytes()
        address = self._free
        self._free += (len(raw) + 2 * _LINE - 1) // _LINE * _LINE
        assert self._free <= _HEAP + _HEAP_BYTES
        self._machine.mem_write(address, raw)
        return address

    def room(self, count: int, kind: type[np.generic] = np.float32) -> int:
        """Get memory for some numbers, with something in it that no kernel writes."""
        return self.put(np.full(count * np.dtype(kind).itemsize, 0xA5, np.uint8))

    def get(self, address: int, count: int, kind: type[np.generic] = np.float32) -> NDArray:
        """Read some numbers."""
        raw = self._machine.mem_read(address, count * np.dtype(kind).itemsize)
        return np.frombuffer(bytes(raw), kind)

    def call(self, kernel: str, *values: float, result: int = 0) -> None:
        """Call a kernel: whole numbers and addresses, and floats, each in their own registers.

        What is too large for a register is written to `result`.
        """
        self._run(self._found[kernel], *values, result=result)

    def _run(self, function: int, *values: float, result: int = 0) -> int:
        reals = [value for value in values if isinstance(value, float)]
        wholes = [value for value in values if isinstance(value, int)]
        for register, value in zip(_REAL, reals, strict=False):
            self._machine.reg_write(register, struct.unpack("<I", struct.pack("<f", value))[0])
        for register, value in zip(_WHOLE, wholes, strict=False):
            self._machine.reg_write(register, value)
        stack = _HEAP + _HEAP_BYTES + _STACK_BYTES - 4 * _LINE
        self._machine.mem_write(stack, self._rest(wholes[len(_WHOLE) :]))
        self._machine.reg_write(arm.UC_ARM64_REG_SP, stack)
        self._machine.reg_write(_RESULT, result)
        self._machine.reg_write(arm.UC_ARM64_REG_LR, _RETURN)
        self._machine.emu_start(function, _RETURN)
        return self._machine.reg_read(arm.UC_ARM64_REG_X0)

    @staticmethod
    def _rest(values: Sequence[int]) -> bytes:
        return struct.pack(f"<{len(values)}q", *values)

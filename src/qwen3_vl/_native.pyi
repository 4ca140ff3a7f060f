"""The compiled extension, from csrc/cpu/bind.cpp; ops/native.py loads it, for it may be absent.

`x`, `weight` and `out` are addresses of contiguous memory, from `tensor.data_ptr()`. Nothing is
checked here: that is the work of ops/.
"""

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

def available_variants() -> list[Variant]:
    """Those that this machine runs, fastest first."""

def choose_variant(name: str, /) -> Variant:
    """The variant of that name, the fastest for an empty name, else a ValueError."""

"""From a machine to a decision with its reasons: which device, which dtype, how many threads."""

from __future__ import annotations

from dataclasses import dataclass, replace

from qwen3_vl.hardware.device import Cpu, Gpu, Machine
from qwen3_vl.hardware.fallback import AUTO, Candidate, Choice, choose

ROOM = 0.8
"""The share of the free memory that weights may take; the rest is for cache and activations."""

_SIZES = {"float32": 4, "bfloat16": 2, "float16": 2}
_NO_ARITHMETIC = "no arithmetic in bfloat16 was found"
_BFLOAT16_SETS = ("amx_bf16", "avx512_bf16", "bf16")


@dataclass(frozen=True)
class Threads:
    """How many threads compute, and why."""

    count: int
    why: str

    def __str__(self) -> str:
        return f"{self.count}: {self.why}"


@dataclass(frozen=True)
class Route:
    """Where and how a model runs on this machine."""

    device: Choice
    """Used is `cpu`, or `cuda:` and a number."""
    dtype: Choice
    """Used is the name of a torch dtype: float32, bfloat16, or float16 where it was wanted."""
    threads: Threads


def route(
    machine: Machine, parameters: int | None = None, device: str = AUTO, dtype: str = AUTO
) -> Route:
    """Decide for a model of so many parameters; None is one that fits anywhere.

    Raises:
        ConfigError: a wanted device or dtype is not one that could be.
    """
    where = choose_device(machine, parameters, device, dtype)
    return Route(where, choose_dtype(machine, where, parameters, dtype), count_threads(machine.cpu))


def choose_device(
    machine: Machine, parameters: int | None = None, wanted: str = AUTO, dtype: str = AUTO
) -> Choice:
    """The GPU with the most free memory, if it can hold the weights, else the CPU."""
    gpus = sorted(machine.gpus, key=lambda gpu: gpu.free or 0, reverse=True)
    candidates = [_gpu_candidate(gpu, parameters, dtype) for gpu in gpus]
    if wanted == "cuda" and candidates:
        wanted = next((one.name for one in candidates if one.obstacle is None), candidates[0].name)
    if not candidates:
        candidates = [Candidate("cuda", "an NVIDIA GPU", "no NVIDIA GPU was found")]
    if wanted.startswith("cuda:") and wanted not in (one.name for one in candidates):
        candidates.append(Candidate(wanted, "an NVIDIA GPU", "there is no such GPU"))
    return choose(wanted, [*candidates, Candidate("cpu", machine.cpu.model or "the CPU")])


def choose_dtype(
    machine: Machine, device: Choice, parameters: int | None = None, wanted: str = AUTO
) -> Choice:
    """Bfloat16 where there is arithmetic for it, else float32 if it fits in memory.

    Bfloat16 can always serve: weights in the files' own format stay mapped and need no room, even
    though a model larger than the memory is then read from the disk again and again. Float16 is
    never chosen, because its range is narrow; it can be wanted.
    """
    gpu = next((gpu for gpu in machine.gpus if _name(gpu) == device.used), None)
    free = machine.memory.available if gpu is None else gpu.free
    arithmetic = _bfloat16_arithmetic(machine.cpu if gpu is None else gpu)
    full = Candidate("float32", "exact", _too_large(parameters, "float32", free))
    half = Candidate("bfloat16", f"half the memory; {arithmetic or _NO_ARITHMETIC}")
    narrow = Candidate("float16", "half the memory; a narrow range of numbers")
    if arithmetic is not None:
        return choose(wanted, [half, full, narrow])
    full = replace(full, merit=f"exact; {_NO_ARITHMETIC}, and float32 fits")
    return choose(wanted, [full, half, narrow])


def count_threads(cpu: Cpu) -> Threads:
    """One thread for each fast core that this process may use, within its share of time.

    A second thread on a core shares its arithmetic, and a slow core makes the fast ones wait.
    """
    sources = {
        "one for each fast core that this process may use": cpu.allowed_cores,
        "one for each fast core": cpu.performance,
        "one for each logical processor, because the cores could not be read": (
            cpu.allowed or cpu.logical
        ),
    }
    known = ((count, why) for why, count in sources.items() if count)
    count, why = next(known, (1, "the processors could not be read"))
    if cpu.quota is not None and cpu.quota < count:
        return Threads(max(1, int(cpu.quota)), f"control groups grant no more than {cpu.quota:g}")
    return Threads(count, why)


def _name(gpu: Gpu) -> str:
    return f"cuda:{gpu.index}"


def _gpu_candidate(gpu: Gpu, parameters: int | None, dtype: str) -> Candidate:
    """A GPU, judged with the smallest dtype that may be chosen on it."""
    smallest = "bfloat16" if dtype == AUTO else dtype
    obstacle = gpu.obstacle or _too_large(parameters, smallest, gpu.free)
    return Candidate(_name(gpu), gpu.name, obstacle)


def _too_large(parameters: int | None, dtype: str, free: int | None) -> str | None:
    """Say why the weights do not fit; None if they do, or if nobody knows."""
    if parameters is None or free is None or parameters * _SIZES.get(dtype, 4) <= ROOM * free:
        return None
    needed = parameters * _SIZES.get(dtype, 4)
    return (
        f"weights of {needed / 1e9:.1f} GB in {dtype} do not fit in {ROOM:.0%} of the "
        f"{free / 1e9:.1f} GB that are free"
    )


def _bfloat16_arithmetic(unit: Cpu | Gpu) -> str | None:
    """Name the arithmetic in bfloat16; None if there is none, or if nobody knows."""
    if isinstance(unit, Gpu):
        if unit.capability is None or unit.capability < (8, 0):
            return None
        return f"a GPU of capability {unit.capability[0]}.{unit.capability[1]} computes in it"
    found = [name for name in _BFLOAT16_SETS if name in (unit.instructions or ())]
    return f"the CPU computes in it ({', '.join(found)})" if found else None

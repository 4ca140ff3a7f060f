"""From a machine and what was set to a decision with its reasons: device, dtype and threads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from qwen3_vl.config.footprint import OFFICIAL
from qwen3_vl.config.machine import ARITHMETIC
from qwen3_vl.config.runtime import UnifiedConfig
from qwen3_vl.hardware.device import Cpu, Gpu, Machine
from qwen3_vl.hardware.fallback import AUTO, Candidate, Choice, choose

ROOM = 0.8
"""The share of the free memory that is filled unasked; the rest is for passes over the model."""
OPEN = UnifiedConfig()
"""Leaves every decision open."""


@dataclass(frozen=True)
class Needs:
    """What a model needs; without sizes it is one that fits anywhere."""

    stored: str = OFFICIAL
    """The dtype of its files; of several, the one that holds them all."""
    sizes: Mapping[str, int] = field(default_factory=dict)
    """Bytes of its weights and cache, by dtype."""


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
    """Used is the name of a torch dtype."""
    threads: Threads


def route(machine: Machine, needs: Needs = Needs(), config: UnifiedConfig = OPEN) -> Route:
    """Decide what the config leaves open, for a model with these needs.

    Raises:
        DeviceError: the device that the config names cannot serve.
    """
    device = choose_device(machine, needs, config)
    dtype = choose_dtype(machine, device, needs, config)
    return Route(device, dtype, choose_threads(machine, config))


def choose_device(machine: Machine, needs: Needs = Needs(), config: UnifiedConfig = OPEN) -> Choice:
    """The GPU with the most free memory, if it can hold the model, else the CPU.

    One that is named may be filled to the last byte.
    """
    wanted = config.gpu.device
    candidates = [_gpu_candidate(gpu, needs, config) for gpu in ranked(machine.gpus)]
    if wanted.startswith("cuda") and not any(one.is_a(wanted) for one in candidates):
        missing = "there is no such GPU" if candidates else "no NVIDIA GPU was found"
        candidates.append(Candidate(wanted, "an NVIDIA GPU", missing))
    cpu = machine.cpu.model or "the CPU"
    if wanted == AUTO and not candidates:
        cpu += "; no NVIDIA GPU was found"
    return choose(wanted, [*candidates, Candidate("cpu", cpu)])


def choose_dtype(
    machine: Machine,
    device: Choice,
    needs: Needs = Needs(),
    config: UnifiedConfig = OPEN,
) -> Choice:
    """The files' own format, or float32 if 16 bits are slow there and float32 fits.

    To widen is exact; a narrower format is never chosen, but can be wanted. The files' own can
    always serve: on a CPU its weights stay mapped, though a model larger than the memory is then
    read from the disk again and again.
    """
    gpu = next((gpu for gpu in machine.gpus if name_of(gpu) == device.used), None)
    room = _cpu_room(machine, config) if gpu is None else _gpu_room(gpu, config)
    wanted = config.optimization.dtype
    dtype = needs.stored if wanted == AUTO else wanted
    merit = "the files' own format" if wanted == AUTO else "as wanted"
    if wanted not in (AUTO, needs.stored) and (lack := room.lack(needs, wanted, 1)):
        merit += f", although {lack}"
    if dtype not in ARITHMETIC:
        return Choice(wanted, dtype, merit)
    if found := arithmetic(gpu or machine.cpu, dtype):
        return Choice(wanted, dtype, f"{merit}; {found}")
    missing = f"no arithmetic in {dtype} was found"
    full = f"exact; {missing}, and float32 fits"
    return choose(
        wanted,
        [
            Candidate("float32", full, room.lack(needs, "float32", ROOM)),
            Candidate(dtype, f"{merit}; slow, because {missing}"),
        ],
    )


def choose_threads(machine: Machine, config: UnifiedConfig = OPEN) -> Threads:
    """As many as the config says, or one for each core that counts; half of them to save power."""
    cores = count_threads(machine.cpu)
    count = config.threads_among(cores.count, machine.power.on_mains is False)
    why = "as cpu.threads says" if config.cpu.threads else cores.why
    if count < (config.cpu.threads or cores.count):
        why += "; half of them on battery, as power.on_battery says"
    return Threads(count, why)


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


def ranked(gpus: Sequence[Gpu]) -> list[Gpu]:
    """The GPUs, the one with the most free memory first."""
    return sorted(gpus, key=lambda gpu: gpu.free or 0, reverse=True)


def name_of(gpu: Gpu) -> str:
    """Its name in torch."""
    return f"cuda:{gpu.index}"


@dataclass(frozen=True)
class _Room:
    """What a model may fill of the memory of a device."""

    free: int | None
    setting: str
    limit: int | None

    def lack(self, needs: Needs, dtype: str, share: float) -> str | None:
        """Say why the model does not fit in this share; None if it does, or if nobody knows."""
        size = needs.sizes.get(dtype)
        if size is None:
            return None
        what = f"weights and cache of {size / 1e9:.1f} GB in {dtype}"
        if self.limit is not None and size > self.limit:
            return f"{what} are more than the {self.limit / 1e9:.1f} GB of {self.setting}"
        if self.free is not None and size > share * self.free:
            part = "" if share == 1 else f"{share:.0%} of "
            return f"{what} do not fit in {part}the {self.free / 1e9:.1f} GB that are free"
        return None


def _gpu_room(gpu: Gpu, config: UnifiedConfig) -> _Room:
    return _Room(gpu.free, "gpu.max_bytes", config.gpu.max_bytes)


def _cpu_room(machine: Machine, config: UnifiedConfig) -> _Room:
    return _Room(machine.memory.available, "memory.max_bytes", config.memory.max_bytes)


def _gpu_candidate(gpu: Gpu, needs: Needs, config: UnifiedConfig) -> Candidate:
    """A GPU, judged with the smallest dtype that may be chosen on it."""
    wanted = config.optimization.dtype
    smallest = needs.stored if wanted == AUTO else wanted
    is_open = config.gpu.device == AUTO
    lack = _gpu_room(gpu, config).lack(needs, smallest, ROOM if is_open else 1)
    if lack and not is_open:
        lack += " (a recipe or a lower memory.max_context takes less)"
    return Candidate(name_of(gpu), gpu.name, gpu.obstacle or lack)


def arithmetic(unit: Cpu | Gpu, dtype: str) -> str | None:
    """Name the arithmetic in a format of 16 bits; None if there is none, or if nobody knows."""
    needed = ARITHMETIC[dtype]
    if isinstance(unit, Gpu):
        if unit.capability is None or unit.capability < needed.capability:
            return None
        return f"a GPU of capability {unit.capability[0]}.{unit.capability[1]} computes in it"
    found = [name for name in needed.sets if name in (unit.instructions or ())]
    return f"the CPU computes in it ({', '.join(found)})" if found else None

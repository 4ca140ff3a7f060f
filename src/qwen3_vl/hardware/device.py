"""The records of a machine: plain data, where None means that it could not be read."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cpu:
    """The processor, and the share of it that this process may use."""

    architecture: str
    """As Python names it: x86_64, AMD64, aarch64, arm64."""
    model: str | None = None
    """Its name, as the system tells it."""
    logical: int | None = None
    """Logical processors that are online."""
    physical: int | None = None
    """Cores; a core with two hardware threads is two logical processors."""
    performance: int | None = None
    """Cores of the fast kind; all of them where all are alike."""
    allowed: int | None = None
    """Logical processors that this process may run on (its affinity)."""
    allowed_cores: int | None = None
    """Fast cores among those; if there is none, cores of any kind."""
    quota: float | None = None
    """Processors' worth of time that control groups grant; None where no limit was found."""
    instructions: tuple[str, ...] | None = None
    """Instruction sets that matter for this package, in alphabetical order."""
    l1d_bytes: int | None = None
    """Level 1 data cache of one (fast) core."""
    l2_bytes: int | None = None
    """One level 2 cache; cores may share it."""
    l3_bytes: int | None = None
    """All level 3 caches together."""
    mhz: float | None = None
    """Clock of the fastest core at this moment."""
    max_mhz: float | None = None
    """Clock that the fastest core can reach."""


@dataclass(frozen=True)
class Memory:
    """Main memory, in bytes."""

    total: int | None = None
    """What the machine has."""
    available: int | None = None
    """What can still be taken without swapping, by the system's figure and within the limit."""
    limit: int | None = None
    """What control groups grant this process; None where no limit was found."""
    swap_total: int | None = None
    swap_free: int | None = None

    @property
    def usable(self) -> int | None:
        """What this process could have at most: the total, or the limit if that is less."""
        return min((one for one in (self.total, self.limit) if one is not None), default=None)


@dataclass(frozen=True)
class Gpu:
    """An NVIDIA GPU, whether torch can compute on it or not."""

    index: int
    """Its number in torch; where torch cannot use it, its number in the driver."""
    name: str
    capability: tuple[int, int] | None = None
    """What NVIDIA calls compute capability; (6, 1) is Pascal, (8, 0) Ampere."""
    total: int | None = None
    """Bytes of its memory."""
    free: int | None = None
    """Bytes that nobody has taken."""
    driver: str | None = None
    """Version of the driver."""
    obstacle: str | None = None
    """Why torch cannot compute on it; None if it can."""


@dataclass(frozen=True)
class ReadSpeed:
    """How fast a file was read from start to end by one reader."""

    bytes_per_second: float
    bytes_read: int
    may_be_cached: bool
    """Whether the system's cache may have answered instead of the disk.

    If not, it was passed by with O_DIRECT, on a file system that is known to obey. A cache in the
    drive, or in the host of a virtual machine, cannot be passed by and is not seen.
    """


@dataclass(frozen=True)
class Disk:
    """The disk that a path lies on."""

    path: str
    """The path that was asked about."""
    file_system: str | None = None
    """ext4, btrfs, overlay, …"""
    device: str | None = None
    """The system's name of the drive, such as nvme0n1; the first of several."""
    total: int | None = None
    free: int | None = None
    """Bytes that this user may still write."""
    rotational: bool | None = None
    """Whether the system takes it for a turning one; virtual disks are often taken for one."""
    nvme: bool | None = None
    reading: ReadSpeed | None = None
    """None also where nobody asked to measure."""


@dataclass(frozen=True)
class Power:
    """Where the power comes from, and whether heat limits the speed."""

    on_mains: bool | None = None
    """Many desktops and servers do not tell."""
    battery_percent: int | None = None
    """None also where there is no battery."""
    celsius: float | None = None
    """The hottest sensor of the CPU."""
    throttled: int | None = None
    """How often the CPU has slowed down for heat since it was switched on; the worst core."""


@dataclass(frozen=True)
class Bandwidth:
    """How fast main memory was read."""

    bytes_per_second: float
    buffer_bytes: int
    """What was read each time; more than the level 3 cache."""
    threads: int


@dataclass(frozen=True)
class Machine:
    """All that was found out about this machine."""

    system: str
    """Operating system and its version."""
    cpu: Cpu
    memory: Memory
    gpus: tuple[Gpu, ...]
    disk: Disk
    power: Power
    bandwidth: Bandwidth | None = None
    """None also where nobody asked to measure."""

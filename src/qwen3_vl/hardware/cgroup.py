"""The limits that Linux control groups, versions 1 and 2, set for this process."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from qwen3_vl.hardware.kernel_files import read_number, read_text
from qwen3_vl.hardware.mounts import Mount, read_mounts

_NO_LIMIT = 1 << 60
"""Version 1 says "no limit" with a number near 2**63."""


@dataclass(frozen=True)
class MemoryLimit:
    """Bytes that the groups grant, and what of them is not taken yet."""

    total: int
    free: int | None


def cpu_quota(root: Path = Path("/")) -> float | None:
    """The processors' worth of time that is granted; None where no limit was found."""
    quotas = (_quota(folder) for folder in _folders(root, "cpu"))
    return min((quota for quota in quotas if quota is not None), default=None)


def memory_limit(root: Path = Path("/")) -> MemoryLimit | None:
    """The smallest limit, and the smallest rest, among the groups this process is in."""
    limits = [limit for one in _folders(root, "memory") if (limit := _limit(one)) is not None]
    if not limits:
        return None
    free = (limit.free for limit in limits if limit.free is not None)
    return MemoryLimit(min(limit.total for limit in limits), min(free, default=None))


def _quota(folder: Path) -> float | None:
    second = read_text(folder / "cpu.max")
    if second is not None:
        granted, _, period = second.partition(" ")
        return int(granted) / int(period) if granted.isdigit() and period.isdigit() else None
    granted = read_number(folder / "cpu.cfs_quota_us")
    period = read_number(folder / "cpu.cfs_period_us")
    return granted / period if granted and period and granted > 0 else None


def _limit(folder: Path) -> MemoryLimit | None:
    total = read_number(folder / "memory.max")
    if total is None:
        total = read_number(folder / "memory.limit_in_bytes")
    if total is None or total >= _NO_LIMIT:
        return None
    taken = read_number(folder / "memory.current")
    if taken is None:
        taken = read_number(folder / "memory.usage_in_bytes")
    if taken is None:
        return MemoryLimit(total, None)
    return MemoryLimit(total, min(total, max(0, total - taken + _reclaimable(folder))))


def _reclaimable(folder: Path) -> int:
    """Bytes of cached files that nobody reads: counted as taken, but given up when needed."""
    lines = (read_text(folder / "memory.stat") or "").splitlines()
    counts = dict(line.split(" ", 1) for line in lines if " " in line)
    # Version 1 counts the groups below only under the longer name.
    count = counts.get("total_inactive_file", counts.get("inactive_file", "0"))
    return int(count) if count.isdigit() else 0


def _folders(root: Path, controller: str) -> Iterator[Path]:
    """The folders of the groups that this process is in, from its own one up: each has a limit."""
    own = _own_groups(root)
    for mount in read_mounts(root):
        is_second = mount.file_system == "cgroup2"
        is_first = mount.file_system == "cgroup" and controller in mount.options
        if not (is_first or is_second):
            continue
        point = root / mount.point.lstrip("/")
        folder = point / _inside(mount, own.get("" if is_second else controller, "/"))
        yield folder
        while folder != point:
            folder = folder.parent
            yield folder


def _own_groups(root: Path) -> dict[str, str]:
    """This process's group by controller; version 2 has one group for all, under no name."""
    lines = (read_text(root / "proc/self/cgroup") or "").splitlines()
    fields = (line.split(":", 2) for line in lines if line.count(":") >= 2)
    return {name: group for _, names, group in fields for name in names.split(",")}


def _inside(mount: Mount, group: str) -> PurePosixPath:
    """The group's place below the mount point.

    A container sees its own group at the mount point, but may be told a path that leads there from
    outside; then the mount point is what counts.
    """
    path = PurePosixPath(group)
    if ".." in path.parts or not path.is_relative_to(mount.root):
        return PurePosixPath()
    return path.relative_to(mount.root)

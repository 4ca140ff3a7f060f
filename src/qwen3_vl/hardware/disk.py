"""The disk that a path lies on: what it is, what is free, and, when asked, how fast it reads."""

from __future__ import annotations

import mmap
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path, PurePosixPath

from qwen3_vl.hardware.device import Disk, ReadSpeed
from qwen3_vl.hardware.kernel_files import read_number
from qwen3_vl.hardware.mounts import Mount, mount_of, read_mounts

_MOST_BYTES = 64 << 20
_MOST_SECONDS = 1.0
_CHUNK = 4 << 20
_DIRECT = ("ext2", "ext3", "ext4", "xfs", "f2fs")
"""File systems that keep the promise of O_DIRECT; others take the flag and may use the cache."""


def read_disk(path: Path, measure: bool = False, root: Path = Path("/")) -> Disk:
    """Ask about the disk below `path`; `root` is where Linux's /proc and /sys are.

    To measure reads at most 64 MiB and one second: of `path`, or if that is a folder, of a file
    that is written there and removed again.
    """
    mount = mount_of(PurePosixPath(path.resolve()), read_mounts(root))
    drive = None if mount is None else _drive(mount, root)
    kind = None if mount is None else mount.file_system
    space = _space(path)
    rotational = None if drive is None else read_number(drive / "queue/rotational")
    return Disk(
        path=str(path),
        file_system=kind,
        device=None if drive is None else drive.name,
        total=None if space is None else space[0],
        free=None if space is None else space[1],
        rotational=None if rotational is None else rotational == 1,
        nvme=None if drive is None else drive.name.startswith("nvme"),
        reading=measure_reading(path, kind) if measure else None,
    )


def measure_reading(path: Path, file_system: str | None = None) -> ReadSpeed | None:
    """Read a file, or one written into a folder; None if the disk does not let us."""
    try:
        if not path.is_dir():
            return _timed(path, file_system)
        with tempfile.TemporaryDirectory(prefix=".qwen3-vl-", dir=path) as folder:
            sample = Path(folder, "sample")
            _write_sample(sample)
            return _timed(sample, file_system)
    except OSError:
        return None


def _space(path: Path) -> tuple[int, int] | None:
    try:
        usage = shutil.disk_usage(path)
    except OSError:
        return None
    return usage.total, usage.free


def _drive(mount: Mount, root: Path) -> Path | None:
    """The folder in /sys of the drive below a mount; None if there is none, as for overlay."""
    folder = root / "sys/dev/block" / mount.number
    if not folder.exists():  # btrfs has a number of its own
        device = (root / mount.source.lstrip("/")).resolve()
        folder = root / "sys/class/block" / device.name
    if not mount.source.startswith("/") or not folder.exists():
        return None
    folder = folder.resolve()
    while below := sorted(folder.glob("slaves/*")):  # encryption, logical volumes, arrays
        folder = below[0].resolve()
    return folder if (folder / "queue").is_dir() else folder.parent  # of a partition: the drive


def _write_sample(path: Path) -> None:
    """Random bytes, because file systems may squeeze others, all the way to the disk."""
    block = os.urandom(_CHUNK)
    with path.open("wb") as file:
        for _ in range(_MOST_BYTES // _CHUNK):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())


def _timed(path: Path, file_system: str | None) -> ReadSpeed | None:
    """Read until the file, the bytes or the second are used up; None if the file is empty."""
    descriptor, is_direct = _open(path)
    with os.fdopen(descriptor, "rb", buffering=0) as file, mmap.mmap(-1, _CHUNK) as buffer:
        done, started = 0, time.perf_counter()
        while done < _MOST_BYTES and time.perf_counter() - started < _MOST_SECONDS:
            count = file.readinto(buffer)
            if not count:
                break
            done += count
        seconds = time.perf_counter() - started
    may_be_cached = not is_direct or file_system not in _DIRECT
    return ReadSpeed(done / seconds, done, may_be_cached) if done else None


def _open(path: Path) -> tuple[int, bool]:
    """Open a file, past the system's cache if possible, and say whether that was possible."""
    if sys.platform != "linux":
        return os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0)), False
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECT), True
    except OSError:  # not every file system can; a missing file fails again below
        descriptor = os.open(path, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        return descriptor, False

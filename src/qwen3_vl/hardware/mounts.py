"""Which file systems Linux has put where."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from qwen3_vl.hardware.kernel_files import read_text


@dataclass(frozen=True)
class Mount:
    """One line of /proc/self/mountinfo."""

    number: str
    """Major and minor number of the device, as in 254:0."""
    root: str
    """The folder of the file system that shows at `point`."""
    point: str
    file_system: str
    source: str
    """A device such as /dev/sda1, or a word."""
    options: frozenset[str]
    """Options of the file system itself; for control groups, their controllers."""


def read_mounts(root: Path = Path("/")) -> tuple[Mount, ...]:
    """All mounts that this process sees, the oldest first."""
    lines = (read_text(root / "proc/self/mountinfo") or "").splitlines()
    # Between the sixth field and the hyphen stand any number of optional ones.
    halves = (line.partition(" - ") for line in lines)
    pairs = ((first.split(" "), last.split(" ")) for first, _, last in halves)
    return tuple(
        Mount(
            number=first[2],
            root=_plain(first[3]),
            point=_plain(first[4]),
            file_system=last[0],
            source=_plain(last[1]),
            options=frozenset(last[2].split(",")),
        )
        for first, last in pairs
        if len(first) >= 6 and len(last) >= 3
    )


def mount_of(path: PurePosixPath, mounts: Iterable[Mount]) -> Mount | None:
    """The mount that an absolute path lies in: the deepest, and of equals the newest."""
    around = [mount for mount in mounts if path.is_relative_to(mount.point)]
    return max(reversed(around), key=lambda mount: len(mount.point), default=None)


def _plain(text: str) -> str:
    r"""Turn `\040`, which stands for a space, and its like back."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)

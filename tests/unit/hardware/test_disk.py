"""Disks in small copies of /sys, and this one's speed."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import pytest

from qwen3_vl.hardware import disk
from qwen3_vl.hardware.disk import measure_reading, read_disk

linux = pytest.mark.skipif(sys.platform != "linux", reason="links into /sys, and O_DIRECT")


def mounted(number: str, source: str, kind: str = "ext4") -> dict[str, str]:
    return {"proc/self/mountinfo": f"27 1 {number} / / rw - {kind} {source} rw"}


def link(root: Path, name: str, target: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(root / target)


@linux
def test_a_partition_of_an_nvme_drive(tree) -> None:
    drive = "sys/devices/pci/nvme0n1"
    files = {f"{drive}/queue/rotational": "0", f"{drive}/nvme0n1p2/partition": "2"}
    root = tree(files | mounted("259:2", "/dev/nvme0n1p2"))
    link(root, "sys/dev/block/259:2", f"{drive}/nvme0n1p2")
    found = read_disk(root, root=root)
    assert (found.file_system, found.device) == ("ext4", "nvme0n1")
    assert (found.rotational, found.nvme) == (False, True)
    assert found.reading is None


@linux
def test_an_encrypted_volume_on_a_turning_disk(tree) -> None:
    files = {
        "sys/devices/virtual/dm-0/queue/rotational": "1",
        "sys/devices/pci/sda/queue/rotational": "1",
        "sys/devices/pci/sda/sda3/partition": "3",
        "dev/dm-0": "",
    }
    # btrfs: the number of the mount is that of no device.
    root = tree(files | mounted("0:33", "/dev/mapper/home", "btrfs"))
    link(root, "dev/mapper/home", "dev/dm-0")
    link(root, "sys/class/block/dm-0", "sys/devices/virtual/dm-0")
    link(root, "sys/devices/virtual/dm-0/slaves/sda3", "sys/devices/pci/sda/sda3")
    found = read_disk(root, root=root)
    assert (found.file_system, found.device) == ("btrfs", "sda")
    assert (found.rotational, found.nvme) == (True, False)


@pytest.mark.parametrize("files", [{}, mounted("0:44", "overlay", "overlay")])
def test_a_container_tells_little(tree, files: dict[str, str]) -> None:
    root = tree(files)
    found = read_disk(root, root=root)
    assert (found.device, found.rotational, found.nvme) == (None, None, None)
    assert found.free is not None
    assert found.total is not None
    assert 0 <= found.free <= found.total


def test_a_path_that_is_not_there(tmp_path: Path) -> None:
    found = read_disk(tmp_path / "no", measure=True, root=tmp_path)
    assert (found.total, found.free, found.reading) == (None, None, None)


def test_measuring_a_folder_leaves_nothing_behind(tmp_path: Path) -> None:
    reading = read_disk(tmp_path, measure=True).reading
    assert reading is not None
    assert 0 < reading.bytes_read <= 64 << 20
    assert reading.bytes_per_second > 0
    assert list(tmp_path.iterdir()) == []


def test_measuring_a_file_reads_it_and_no_more(tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(bytes(100_001))
    reading = measure_reading(tmp_path / "weights")
    assert reading is not None
    assert reading.bytes_read == 100_001
    (tmp_path / "empty").touch()
    assert measure_reading(tmp_path / "empty") is None


@linux
def test_a_file_system_without_direct_reading_is_told_of(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    plain_open = os.open

    def refuse(path: Path, flags: int, *rest: int, **more: int) -> int:
        if flags & os.O_DIRECT:
            raise OSError(errno.EINVAL, "no direct reading here")
        return plain_open(path, flags, *rest, **more)

    (tmp_path / "weights").write_bytes(bytes(5000))
    monkeypatch.setattr(disk.os, "open", refuse)
    reading = measure_reading(tmp_path / "weights")
    assert reading is not None
    assert reading.may_be_cached
    assert reading.bytes_read == 5000


@linux
@pytest.mark.parametrize("file_system", ["tmpfs", "zfs", "overlay", None])
def test_a_file_system_that_may_ignore_the_flag_is_not_believed(
    tmp_path: Path, file_system: str | None
) -> None:
    (tmp_path / "weights").write_bytes(bytes(5000))
    reading = measure_reading(tmp_path / "weights", file_system)
    assert reading is not None
    assert reading.may_be_cached


def test_a_folder_that_cannot_be_written_gives_no_speed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(_: int) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(disk.os, "fsync", refuse)
    assert measure_reading(tmp_path) is None
    assert list(tmp_path.iterdir()) == []

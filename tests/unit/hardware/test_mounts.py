"""Mounts as /proc/self/mountinfo lists them."""

from __future__ import annotations

from pathlib import PurePosixPath

from qwen3_vl.hardware.mounts import mount_of, read_mounts

MOUNTS = r"""27 1 254:0 / / rw,relatime shared:1 master:2 - ext4 /dev/vda1 rw,discard
31 27 0:29 / /sys/fs/cgroup ro - tmpfs tmpfs rw,mode=755
40 27 8:17 /models /mnt/my\040disk rw - xfs /dev/sdb1 rw
41 27 8:33 / /mnt/my\040disk rw - ext4 /dev/sdc1 rw
a line that is cut"""


def test_a_line_is_read_with_and_without_optional_fields(tree) -> None:
    first, second, *_ = read_mounts(tree({"proc/self/mountinfo": MOUNTS}))
    assert (first.number, first.point, first.file_system) == ("254:0", "/", "ext4")
    assert (first.source, first.options) == ("/dev/vda1", {"rw", "discard"})
    assert second.source == "tmpfs"


def test_the_deepest_and_newest_mount_holds_a_path(tree) -> None:
    mounts = read_mounts(tree({"proc/self/mountinfo": MOUNTS}))
    found = mount_of(PurePosixPath("/mnt/my disk/qwen/model.safetensors"), mounts)
    assert found is not None
    assert found.source == "/dev/sdc1"
    beside = mount_of(PurePosixPath("/mnt/my disk 2"), mounts)
    assert beside is not None
    assert beside.point == "/"


def test_without_proc_there_are_none(tree) -> None:
    assert read_mounts(tree({})) == ()
    assert mount_of(PurePosixPath("/"), ()) is None

"""Limits of control groups, in both versions and in containers."""

from __future__ import annotations

import pytest

from qwen3_vl.hardware.cgroup import cpu_quota, memory_limit

MIB = 1 << 20
SECOND = "31 27 0:29 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw"
FIRST = """32 31 0:28 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw"""


def second(group: str, files: dict[str, str]) -> dict[str, str]:
    placed = {f"sys/fs/cgroup/{name}": text for name, text in files.items()}
    return {"proc/self/mountinfo": SECOND, "proc/self/cgroup": f"0::{group}", **placed}


def first(files: dict[str, str]) -> dict[str, str]:
    placed = {f"sys/fs/cgroup/{name}": text for name, text in files.items()}
    own = "4:memory:/jobs/7\n3:cpu,cpuacct:/jobs/7\n1:name=systemd:/\n0::/"
    return {"proc/self/mountinfo": FIRST, "proc/self/cgroup": own, **placed}


def test_version_2_takes_the_smallest_limit_on_the_way_up(tree) -> None:
    files = {
        "memory.max": "max",
        "user/memory.max": str(900 * MIB),
        "user/memory.current": str(850 * MIB),
        "user/memory.stat": f"anon {7 * MIB}\ninactive_file {150 * MIB}",
        "user/job/memory.max": str(1000 * MIB),
        "user/job/memory.current": str(10 * MIB),
        "cpu.max": "max 100000",
        "user/cpu.max": "150000 100000",
        "user/job/cpu.max": "400000 100000",
    }
    root = tree(second("/user/job", files))
    limit = memory_limit(root)
    assert limit is not None
    assert limit.total == 900 * MIB
    assert limit.free == 200 * MIB  # cached files that nobody reads count as free
    assert cpu_quota(root) == 1.5


def test_version_1_has_a_folder_for_each_controller(tree) -> None:
    files = {
        "memory/memory.limit_in_bytes": "9223372036854771712",
        "memory/jobs/7/memory.limit_in_bytes": str(512 * MIB),
        "memory/jobs/7/memory.usage_in_bytes": str(200 * MIB),
        "memory/jobs/7/memory.stat": f"inactive_file 0\ntotal_inactive_file {50 * MIB}",
        "cpu,cpuacct/cpu.cfs_quota_us": "-1",
        "cpu,cpuacct/cpu.cfs_period_us": "100000",
        "cpu,cpuacct/jobs/7/cpu.cfs_quota_us": "250000",
        "cpu,cpuacct/jobs/7/cpu.cfs_period_us": "100000",
    }
    root = tree(first(files))
    limit = memory_limit(root)
    assert limit is not None
    assert (limit.total, limit.free) == (512 * MIB, 362 * MIB)
    assert cpu_quota(root) == 2.5


@pytest.mark.parametrize("group", ["/", "/../../outside", "/docker/0123"])
def test_a_container_finds_its_limit_at_the_mount_point(tree, group: str) -> None:
    files = {
        "memory.max": str(64 * MIB),
        "memory.current": str(80 * MIB),
        "cpu.max": "50000 100000",
    }
    root = tree(second(group, files))
    limit = memory_limit(root)
    assert limit is not None
    assert (limit.total, limit.free) == (64 * MIB, 0)
    assert cpu_quota(root) == 0.5


def test_a_container_of_version_1_is_told_the_path_outside(tree) -> None:
    root = tree(
        {
            "proc/self/mountinfo": (
                "35 31 0:32 /docker/0123 /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory"
            ),
            "proc/self/cgroup": "4:memory:/docker/0123",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": str(64 * MIB),
        }
    )
    limit = memory_limit(root)
    assert limit is not None
    assert (limit.total, limit.free) == (64 * MIB, None)


@pytest.mark.parametrize(
    "files",
    [
        {},
        second("/", {}),
        second("/", {"cpu.max": "max 100000", "memory.max": "max"}),
        second("/", {"cpu.max": "", "memory.max": "much"}),
        first({"memory/memory.limit_in_bytes": "9223372036854771712"}),
    ],
)
def test_no_limit_is_none(tree, files: dict[str, str]) -> None:
    root = tree(files)
    assert cpu_quota(root) is None
    assert memory_limit(root) is None

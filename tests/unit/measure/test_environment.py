"""What a machine looks like, read from made-up /proc and /sys trees and from this one."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from gossamer.measure import environment as where
from gossamer.measure.environment import (
    cores_by_node,
    cpu_level,
    environment,
    named_level,
    physical_cores,
    usable_cpus,
)

ARM = """processor\t: 0
BogoMIPS\t: 243.75
Features\t: fp asimd evtstrm aes asimdhp asimddp i8mm bf16
CPU implementer\t: 0x41
CPU part\t: 0xd40

processor\t: 1
"""
INTEL = """processor\t: 0
model name\t: Some CPU: model 7 @ 3.0GHz
flags\t\t: fpu sse avx avx2 fma avx512f avx512bw avx512_vnni amx_tile amx_int8

processor\t: 1
model name\t: another
"""

pytestmark = pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity"), reason="needs the affinity of a process"
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def topology(root: Path, *cores: tuple[int, ...]) -> None:
    for core in cores:
        for cpu in core:
            folder = root / f"sys/devices/system/cpu/cpu{cpu}/topology"
            write(folder / "thread_siblings_list", f"{','.join(map(str, core))}\n")


def allow(monkeypatch: pytest.MonkeyPatch, *cpus: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(cpus))


def test_hyper_threads_count_as_one_core(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    allow(monkeypatch, 0, 1, 2, 3)
    topology(root, (0, 1), (2, 3))

    assert physical_cores(root) == 2


def test_every_core_is_used_before_any_hyper_thread(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    allow(monkeypatch, 0, 1, 2, 3, 4, 5)
    topology(root, (0, 1), (2, 3), (4, 5))

    assert usable_cpus(root) == (0, 2, 4, 1, 3, 5)


def test_cores_are_told_by_node_without_their_hyper_threads(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    allow(monkeypatch, 0, 1, 2, 3, 4, 5)
    topology(root, (0, 3), (1, 4), (2, 5))
    for cpu, node in enumerate((0, 1, 0, 0, 1, 0)):
        (root / f"sys/devices/system/cpu/cpu{cpu}/node{node}").mkdir()

    assert cores_by_node(root) == ((0, 2), (1,))


def test_a_machine_that_tells_no_nodes_has_one(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    allow(monkeypatch, 0, 2)

    assert cores_by_node(root) == ((0, 2),)


def test_only_allowed_cpus_count(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    allow(monkeypatch, 1, 5)
    topology(root, (0, 1), (2, 3), (4, 5))

    assert physical_cores(root) == 2
    assert usable_cpus(root) == (1, 5)


def test_without_a_topology_every_cpu_is_a_core(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    allow(monkeypatch, 0, 1, 2)

    assert physical_cores(root) == 3


@pytest.mark.parametrize(
    ("quota", "cores"),
    [("max 100000", 4), ("250000 100000", 2), ("50000 100000", 1), ("800000 100000", 4)],
)
def test_a_quota_of_cgroup_2_limits_the_cores(
    root: Path, monkeypatch: pytest.MonkeyPatch, quota: str, cores: int
) -> None:
    allow(monkeypatch, 0, 1, 2, 3)
    write(root / "proc/self/cgroup", "0::/slice/job\n")
    write(root / "sys/fs/cgroup/slice/job/cpu.max", f"{quota}\n")

    assert physical_cores(root) == cores


def test_the_tightest_group_above_counts(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    allow(monkeypatch, 0, 1, 2, 3)
    write(root / "proc/self/cgroup", "0::/slice/job\n")
    write(root / "sys/fs/cgroup/slice/job/cpu.max", "max 100000\n")
    write(root / "sys/fs/cgroup/slice/cpu.max", "300000 100000\n")

    assert physical_cores(root) == 3


def test_a_group_that_only_the_host_sees_falls_back_to_the_mount(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    allow(monkeypatch, 0, 1, 2, 3)
    write(root / "proc/self/cgroup", "0::/docker/0123\n")
    write(root / "sys/fs/cgroup/cpu.max", "200000 100000\n")

    assert physical_cores(root) == 2


@pytest.mark.parametrize(("quota", "cores"), [("-1", 4), ("200000", 2)])
@pytest.mark.parametrize("mount", ["cpu,cpuacct", "cpu"])
def test_a_quota_of_cgroup_1_limits_the_cores(
    root: Path, monkeypatch: pytest.MonkeyPatch, mount: str, quota: str, cores: int
) -> None:
    allow(monkeypatch, 0, 1, 2, 3)
    write(root / "proc/self/cgroup", "5:memory:/job\n4:cpu,cpuacct:/job\n")
    write(root / f"sys/fs/cgroup/{mount}/job/cpu.cfs_quota_us", f"{quota}\n")
    write(root / f"sys/fs/cgroup/{mount}/job/cpu.cfs_period_us", "100000\n")

    assert physical_cores(root) == cores


def test_names_and_flags_are_the_kernels(root: Path) -> None:
    write(root / "proc/cpuinfo", INTEL)

    assert where.cpu_name(root) == "Some CPU: model 7 @ 3.0GHz"
    assert where.cpu_flags(root) == (
        *("avx", "avx2", "fma", "avx512f", "avx512bw", "avx512_vnni", "amx_tile", "amx_int8"),
    )


def test_arm_has_numbers_for_a_name(root: Path) -> None:
    write(root / "proc/cpuinfo", ARM)

    assert where.cpu_name(root).endswith("0x41:0xd40")
    assert where.cpu_flags(root) == ("asimd", "asimdhp", "asimddp", "i8mm", "bf16")


@pytest.mark.parametrize(
    ("flags", "level"),
    [
        (("avx2", "avx512bw", "avx512_vnni", "amx_int8"), "amx"),
        (("avx2", "avx512bw", "avx512_vnni"), "vnni"),
        (("avx2", "avx_vnni"), "vnni"),
        (("avx2", "avx512f", "avx512bw"), "avx512"),
        (("avx", "avx2"), "avx2"),
        (("avx",), "portable"),
        (("asimd", "asimddp"), "dotprod"),
        (("asimd",), "neon"),
        ((), "portable"),
    ],
)
def test_the_level_is_the_strongest_one_that_the_flags_allow(
    flags: tuple[str, ...], level: str
) -> None:
    assert cpu_level(flags) == level


def test_native_is_the_level_of_this_machine_and_other_levels_stand_for_themselves() -> None:
    assert named_level("native") == cpu_level()
    assert named_level("native") != "native"
    assert named_level("avx2") == "avx2"


def test_this_machine_is_described_in_plain_data() -> None:
    described = environment(threads=3).dump()

    assert described["cpu"]
    assert described["threads"] == 3
    assert 1 <= described["cores"] <= len(os.sched_getaffinity(0))
    assert described["versions"]["numpy"] == np.__version__
    assert {"python", "gossamer", "onnx", "onnxruntime"} <= set(described["versions"])


def test_threads_are_by_default_one_for_each_core() -> None:
    assert environment().threads == physical_cores()

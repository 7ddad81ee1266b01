"""Where a measurement is taken: processor, cores that may be used, versions."""

from __future__ import annotations

import importlib.metadata
import math
import os
import platform
from pathlib import Path

from gossamer.measurement import Environment

ROOT = Path("/")
# instruction sets that int8 and float kernels are written for, as Linux names them
FLAGS = (
    *("avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512_vnni", "avx_vnni"),
    *("avx_vnni_int8", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_int8", "amx_bf16"),
    *("asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2"),
)
# CPU levels, strongest first, with the flags of which one is enough
LEVELS = (
    ("amx", ("amx_int8",)),
    ("vnni", ("avx512_vnni", "avx_vnni")),
    ("avx512", ("avx512bw",)),
    ("avx2", ("avx2",)),
    ("dotprod", ("asimddp",)),
    ("neon", ("asimd",)),
)
PACKAGES = (
    *("gossamer", "numpy", "ml_dtypes", "onnx", "onnx-ir", "onnxscript", "onnxruntime"),
    *("onnxruntime-gpu", "openvino", "tensorrt", "torch", "transformers"),
)


def environment(threads: int | None = None) -> Environment:
    """This machine as a measurement with `threads` threads sees it; None: one for each core."""
    cores = physical_cores()
    return Environment(
        cpu=cpu_name(),
        flags=cpu_flags(),
        cores=cores,
        threads=cores if threads is None else threads,
        versions=_versions(),
    )


def physical_cores(root: Path = ROOT) -> int:
    """Physical cores available to this process: by affinity and by cgroup quota, at least 1."""
    cores = len({_core(cpu, root) for cpu in _allowed()})
    quota = _cgroup_quota(root)
    return cores if quota is None else max(1, min(cores, math.floor(quota)))


def usable_cpus(root: Path = ROOT) -> tuple[int, ...]:
    """CPUs that this process may use: first one of each core, then their hyper-threads."""
    seen: dict[str, int] = {}
    turns = []
    for cpu in _allowed():
        core = _core(cpu, root)
        turns.append((seen.get(core, 0), cpu))
        seen[core] = seen.get(core, 0) + 1
    return tuple(cpu for _, cpu in sorted(turns))


def cores_by_node(root: Path = ROOT) -> tuple[tuple[int, ...], ...]:
    """One CPU of each core that this process may use, by NUMA node; one node where none is told."""
    first: dict[str, int] = {}
    for cpu in _allowed():
        first.setdefault(_core(cpu, root), cpu)
    nodes: dict[str, list[int]] = {}
    for cpu in sorted(first.values()):
        nodes.setdefault(_node(cpu, root), []).append(cpu)
    return tuple(tuple(cpus) for _, cpus in sorted(nodes.items()))


def cpu_level(flags: tuple[str, ...] | None = None) -> str:
    """The CPU level of this machine, `portable` if it is below or beside all named ones."""
    known = cpu_flags() if flags is None else flags
    for level, enough in LEVELS:
        if any(flag in known for flag in enough):
            return level
    return "portable"


def named_level(cpu: str) -> str:
    """The CPU level that `cpu` stands for: `native` is this machine's own, which may lack VNNI."""
    return cpu_level() if cpu == "native" else cpu


def cpu_name(root: Path = ROOT) -> str:
    """The processor's model name."""
    fields = _cpuinfo(root)
    if "model name" in fields:
        return fields["model name"]
    if "CPU part" in fields:  # Arm kernels give numbers only
        return f"{platform.machine()} {fields.get('CPU implementer', '?')}:{fields['CPU part']}"
    return platform.processor() or platform.machine()


def cpu_flags(root: Path = ROOT) -> tuple[str, ...]:
    """Instruction sets that matter to inference, as the kernel names them."""
    fields = _cpuinfo(root)
    present = set(fields.get("flags", fields.get("Features", "")).split())
    return tuple(flag for flag in FLAGS if flag in present)


def _allowed() -> list[int]:
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _core(cpu: int, root: Path) -> str:
    """Something that is the same for all CPUs of one core, and different for others."""
    topology = root / f"sys/devices/system/cpu/cpu{cpu}/topology"
    for name in ("core_cpus_list", "thread_siblings_list"):
        if (topology / name).is_file():
            return (topology / name).read_text(encoding="utf-8").strip()
    return str(cpu)


def _node(cpu: int, root: Path) -> str:
    """Name of the NUMA node whose memory is nearest to a CPU, "" where the kernel tells none."""
    links = (root / f"sys/devices/system/cpu/cpu{cpu}").glob("node[0-9]*")
    return min((link.name for link in links), default="")


def _cgroup_quota(root: Path) -> float | None:
    """CPUs' worth of time that the control groups above this process leave it, None if all."""
    quotas = [quota for folder in _cgroup_folders(root) if (quota := _quota(folder)) is not None]
    return min(quotas, default=None)


def _cgroup_folders(root: Path) -> list[Path]:
    membership = root / "proc/self/cgroup"
    if not membership.is_file():
        return []
    folders = []
    for line in membership.read_text(encoding="utf-8").splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            base = root / "sys/fs/cgroup"  # version 2
        elif "cpu" in controllers.split(","):
            base = root / "sys/fs/cgroup" / controllers
            base = base if base.is_dir() else root / "sys/fs/cgroup/cpu"
        else:
            continue
        # inside a container the path may be one of the host that is not visible here
        below = Path(path.strip("/"))
        folders += [base / part for part in (below, *below.parents)]
    return folders


def _quota(folder: Path) -> float | None:
    if (folder / "cpu.max").is_file():
        quota, period = (folder / "cpu.max").read_text(encoding="utf-8").split()
        return None if quota == "max" else int(quota) / int(period)
    if (folder / "cpu.cfs_quota_us").is_file():
        micros = int((folder / "cpu.cfs_quota_us").read_text(encoding="utf-8"))
        period = (folder / "cpu.cfs_period_us").read_text(encoding="utf-8")
        return None if micros <= 0 else micros / int(period)
    return None


def _cpuinfo(root: Path) -> dict[str, str]:
    """The fields of the first processor in /proc/cpuinfo."""
    path = root / "proc/cpuinfo"
    if not path.is_file():
        return {}
    first = path.read_text(encoding="utf-8", errors="replace").split("\n\n")[0]
    pairs = (line.split(":", 1) for line in first.splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, value in pairs}


def _versions() -> tuple[tuple[str, str], ...]:
    versions = [("python", platform.python_version())]
    for package in PACKAGES:
        try:
            versions.append((package, importlib.metadata.version(package)))
        except importlib.metadata.PackageNotFoundError:
            continue  # optional, and not installed
    return tuple(versions)

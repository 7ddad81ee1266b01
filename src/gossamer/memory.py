"""How much memory this process and its children hold, and held at most."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

PROC = Path("/proc")
MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024  # getrusage counts in bytes there


class PeakMemory:
    """The largest sum over this process and its living children, seen at any sample.

    Children that came and went between two samples are known by the kernel's own peak of the
    largest of them, so the answer is never below any single process's peak.
    """

    def __init__(self) -> None:
        self._bytes = 0

    def sample(self) -> int:
        """Looks once; gives the peak so far in bytes."""
        self._bytes = max(self._bytes, resident_bytes(os.getpid()), *_kernel_peaks())
        return self._bytes


def peak_rss(status: Path = PROC / "self/status") -> int:
    """Largest resident memory that this process ever had, in bytes.

    VmHWM belongs to this program alone; ru_maxrss, the second best, survives fork and exec on
    Linux, so that there it can be the peak of the process that started this one.
    """
    if status.exists():
        for line in status.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return _kernel_peaks()[0]


def resident_bytes(root: int, proc: Path = PROC) -> int:
    """Resident memory of a process and everything below it now; 0 where there is no /proc."""
    parents: dict[int, int] = {}
    memory: dict[int, int] = {}
    for entry in proc.glob("[0-9]*/stat"):
        try:
            # the name in parentheses may itself hold spaces and parentheses
            fields = entry.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except OSError:  # it ended while we looked
            continue
        if len(fields) > 21:
            pid = int(entry.parent.name)
            parents[pid], memory[pid] = int(fields[1]), int(fields[21])
    pages = sum(size for pid, size in memory.items() if _is_below(pid, root, parents))
    return pages * resource.getpagesize()


def _is_below(pid: int, root: int, parents: dict[int, int]) -> bool:
    seen: set[int] = set()
    while pid not in seen:
        if pid == root:
            return True
        seen.add(pid)
        pid = parents.get(pid, 0)
    return False


def _kernel_peaks() -> tuple[int, int]:
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return own * MAXRSS_UNIT, children * MAXRSS_UNIT

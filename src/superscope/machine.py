"""What this machine gives a process: memory, under the limit of its control group, and a home."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")


def home() -> Path:
    """The user's home, or a temporary folder for a user who has none (containers run as such)."""
    try:
        return Path.home()
    except RuntimeError:
        return Path(tempfile.gettempdir()) / f"superscope-{os.getuid()}"


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_free(root: Path = CGROUPS) -> int | None:
    """Bytes that this process may still take: what the machine has available, or what is left under the tightest limit of
    the control groups it is in (containers, batch systems). None where the system does not say.
    """
    known = [left for _, left in _limits(root)]
    known += [value for value in (_meminfo("MemAvailable"),) if value is not None]
    return min(known, default=None)


def memory_total(root: Path = CGROUPS) -> int | None:
    """Bytes of memory that this process could ever have: the machine's, or its tightest limit."""
    known = [limit for limit, _ in _limits(root)]
    known += [value for value in (_meminfo("MemTotal"),) if value is not None]
    return min(known, default=None)


def memory_used() -> int:
    """Bytes of memory that this process holds (resident)."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError, AttributeError):
        return 0


def _meminfo(name: str) -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))
    except (OSError, StopIteration, ValueError, IndexError):
        return None


def _limits(root: Path) -> Iterator[tuple[int, int]]:
    """(limit, left) of every control group around this process, of both versions of the interface."""
    try:
        groups = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
    except OSError:
        groups = []
    version1 = [path for _, kinds, path in groups if "memory" in kinds.split(",")]
    for base, paths, limit, used, cache in (
        (root, [path for _, kinds, path in groups if not kinds], "memory.max", "memory.current", "inactive_file"),
        (root / "memory", version1, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        inside = {base} | {base / part for path in paths for part in _parents(path)}
        for group in inside:
            try:
                most = int((group / limit).read_text())
                taken = int((group / used).read_text())
                stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
            except (OSError, ValueError):  # "max": no limit
                continue
            if most < 1 << 60:  # version 1 says "no limit" with a huge number
                yield most, max(0, most - taken + int(stat.get(cache, 0)))


def _parents(path: str) -> list[str]:
    parts = path.strip("/").split("/")
    return ["/".join(parts[: k + 1]) for k in range(len(parts))] if parts != [""] else []

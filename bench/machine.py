"""The machine that a run was made on, and what its processes use."""

import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


def described(postgres: str) -> dict[str, Any]:
    """What a reader needs to compare a run with another."""
    cpuinfo = Path("/proc/cpuinfo")
    names = [
        line.partition(":")[2].strip()
        for line in (cpuinfo.read_text().splitlines() if cpuinfo.exists() else ())
        if line.startswith("model name")
    ]
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PHYS_PAGES") * PAGE / 1024**3),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "postgresql": postgres,
    }


def load_average() -> float:
    """Of the last minute."""
    return os.getloadavg()[0]


def cpu_seconds(pid: int) -> float:
    """What a process has used, with its children, living and reaped; user and system together."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0  # a child that has just ended: its parent's count has it
    return sum(int(field) for field in fields[11:15]) / TICKS + sum(map(cpu_seconds, map(int, children)))


def busy_seconds() -> float:
    """What all programs of the machine have used since it started, all cores together."""
    user, nice, system, _, _, irq, softirq, *_ = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    return sum(map(int, (user, nice, system, irq, softirq))) / TICKS


def resident_mb(pid: int) -> float:
    """What of a process is in memory, in MB of a million bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE / 1e6

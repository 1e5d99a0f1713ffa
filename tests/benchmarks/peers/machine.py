"""What the figures were measured with."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def cpu_name() -> str:
    """Model name of the processor."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def cores() -> str:
    """Number of cores of the machine, of those that this run may use, and what else keeps them busy."""
    used = len(os.sched_getaffinity(0))
    return f"{os.cpu_count()} cores, {used} of them used, load {os.getloadavg()[0]:.1f} at the start"

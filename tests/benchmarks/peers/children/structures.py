"""Structures that both sides are timed on; runs in every environment that has ASE."""

from __future__ import annotations

import ase.io
import numpy as np
from ase import Atoms
from ase.build import bulk


def rattled_silicon(cells: list[int], seed: int = 1) -> Atoms:
    """Diamond of a = 5.43 Å with uniform displacements of up to 0.1 Å."""
    atoms = bulk("Si", "diamond", 5.43, cubic=True).repeat(cells)
    atoms.positions += np.random.default_rng(seed).uniform(-0.1, 0.1, atoms.positions.shape)
    return atoms


class Moving:
    """Structures whose atoms move a little before every call, so that nothing can be cached."""

    def __init__(self, structures: list[Atoms]) -> None:
        self._structures = structures
        self._rng = np.random.default_rng(2)

    @classmethod
    def of(cls, cells: list[int] | None, file: str | None) -> Moving:
        """Rattled silicon of some cells, and the frames of a file."""
        silicon = [rattled_silicon(cells)] if cells else []
        return cls(silicon + ([_bare(a) for a in ase.io.read(file, ":")] if file else []))

    def step(self) -> list[Atoms]:
        """The structures, moved."""
        for atoms in self._structures:
            atoms.positions += self._rng.normal(0.0, 1e-3, atoms.positions.shape)
        return self._structures


def _bare(atoms: Atoms) -> Atoms:
    copy = atoms.copy()
    copy.calc = None
    return copy

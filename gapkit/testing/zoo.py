"""A zoo of structures: crystals, a slab, a wire, molecules, from one species to many.

All are built with ase.build, scaled to the bond lengths of the species asked for, strained and rattled with a seed:
nothing is zero by symmetry except what has to be.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from ase import Atoms
from ase.build import bcc110, bulk, make_supercell, molecule
from ase.data import atomic_numbers, covalent_radii

from gapkit.typing import FloatArray

_RATTLE: Final = 0.06  # Å
_STRAIN: Final = 0.02
_SHEAR: Final = np.array([[1, 0, 0], [1, 1, 0], [-1, 2, 1]])  # of determinant 1: the same lattice in a skewed cell


def _skewed() -> Atoms:
    return make_supercell(bulk("NaCl", "rocksalt", a=5.64), _SHEAR)


def _perovskite() -> Atoms:
    scaled = [[0.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, 0.5, 0.0], [0.5, 0.0, 0.5], [0.0, 0.5, 0.5]]
    return Atoms("SrTiO3", scaled_positions=scaled, cell=[3.905] * 3, pbc=True)


def _slab() -> Atoms:
    return bcc110("Mo", (1, 1, 3), a=3.15, vacuum=8.0)


def _wire() -> Atoms:
    zigzag = [[0.0, 0.0, 0.0], [1.2, 0.0, 1.9], [0.0, 0.3, 3.8]]
    return Atoms("SiCSi", positions=zigzag, cell=[0.0, 0.0, 5.7], pbc=[False, False, True])


PROTOTYPES: Final[dict[str, Callable[[], Atoms]]] = {
    "primitive": lambda: bulk("Si", "diamond", a=5.43),
    "tiny": lambda: bulk("Mo", "bcc", a=3.15),  # one atom, whose neighbours are all images of itself
    "supercell": lambda: bulk("NaCl", "rocksalt", a=5.64, cubic=True),
    "skewed": _skewed,
    "perovskite": _perovskite,
    "slab": _slab,
    "wire": _wire,
    "ethanol": lambda: molecule("CH3CH2OH"),
    "water": lambda: molecule("H2O"),
    "dimer": lambda: Atoms("NaCl", positions=[[0.0, 0.0, 0.0], [1.0, 1.4, 1.5]]),
    "atom": lambda: Atoms("Si"),
}
"""Structures before they are given the species asked for."""


def zoo(species: Sequence[str] = ("Si",), seed: int = 0) -> dict[str, Atoms]:
    """One structure of each kind made of the given species.

    Parameters
    ----------
    species
        Chemical symbols. They take the places of the prototypes' own species in turn: with fewer species than the
        prototype has, sites share them, with more, every prototype starts at another one.
    seed
        Of strain and rattling.

    Returns
    -------
    Name to structure. Bond lengths are those of the prototypes times the ratio of covalent radii.
    """
    rng = np.random.default_rng(seed)
    return {
        name: _shaken(_relabelled(build(), species, first), rng)
        for first, (name, build) in enumerate(PROTOTYPES.items())
    }


def environments(species: Sequence[str] = ("Si",), seed: int = 1, copies: int = 4) -> list[Atoms]:
    """Several differently rattled zoos in one list, to draw sparse points and training frames from."""
    return [atoms for copy in range(copies) for atoms in zoo(species, seed + copy).values()]


def _relabelled(atoms: Atoms, species: Sequence[str], first: int) -> Atoms:
    """`atoms` with its species replaced and its lengths scaled to their covalent radii."""
    own = list(dict.fromkeys(atoms.get_chemical_symbols()))
    if set(own) <= set(species):
        return atoms
    place = {symbol: species[(first + k) % len(species)] for k, symbol in enumerate(own)}
    before = covalent_radii[atoms.numbers].mean()
    atoms.numbers = [atomic_numbers[place[symbol]] for symbol in atoms.get_chemical_symbols()]
    scale = covalent_radii[atoms.numbers].mean() / before
    atoms.set_cell(scale * atoms.cell.array)
    atoms.positions *= scale
    return atoms


def _shaken(atoms: Atoms, rng: np.random.Generator) -> Atoms:
    """Strained along periodic directions, and rattled."""
    free: FloatArray = _STRAIN * rng.uniform(-1.0, 1.0, (3, 3))
    if atoms.pbc.any():
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + free), scale_atoms=False)
        atoms.positions[:] = atoms.positions @ (np.eye(3) + free)
    atoms.positions += rng.normal(0.0, _RATTLE, atoms.positions.shape)
    return atoms

"""A structure in regions has the pairs of the whole."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from gapkit.atoms.labels import to_frame
from gapkit.atoms.neighbours import NeighbourList, Pairs
from gapkit.atoms.pieces import pairs_per_atom, pieces


def crystal(*repeat: int) -> Atoms:
    atoms = bulk("Si", cubic=True) * repeat
    atoms.rattle(0.2, seed=1)
    return atoms


def skewed() -> Atoms:
    atoms = crystal(5, 5, 5)
    atoms.set_cell(atoms.cell.array @ [[1, 0.7, 0.4], [0, 1, 0.5], [0, 0, 1]], scale_atoms=True)
    return atoms


def slab() -> Atoms:
    atoms = crystal(5, 5, 3)
    atoms.pbc = [True, True, False]
    atoms.positions += 100.0 * np.random.default_rng(2).normal(size=3)  # anywhere, also outside the cell
    return atoms


def cluster() -> Atoms:
    atoms = crystal(5, 4, 4)
    return Atoms(atoms.numbers, atoms.positions)


STRUCTURES: dict[str, tuple[Callable[[], Atoms], float, int]] = {
    "crystal": (lambda: crystal(5, 5, 5), 4.0, 12),
    "cells wrapped many times": (lambda: _scattered(crystal(5, 5, 5)), 4.0, 12),
    "skewed": (skewed, 4.0, 4),
    "slab": (slab, 4.0, 4),
    "wire thinner than the cutoff": (lambda: crystal(1, 1, 30), 6.5, 4),
    "cluster": (cluster, 4.0, 8),
    "flat molecule": (lambda: Atoms("C300", np.random.default_rng(0).uniform(0, 50, (300, 3)) * [1, 1, 0]), 5.0, 4),
    "one region": (lambda: crystal(1, 1, 1), 5.0, 1),
}


def _scattered(atoms: Atoms) -> Atoms:
    atoms.positions += np.random.default_rng(0).integers(-3, 4, size=(len(atoms), 3)) @ atoms.cell.array
    return atoms


def joined(parts: list[Pairs]) -> tuple[np.ndarray, ...]:
    """Centre, neighbour and vector of all pairs, in an order that does not depend on the parts."""
    i, j, r = (np.concatenate([getattr(p, name) for p in parts]) for name in ("i_p", "j_p", "r_pc"))
    order = np.lexsort((*np.round(r.T, 6), j, i))
    return i[order], j[order], r[order]


@pytest.mark.parametrize("name", STRUCTURES)
def test_regions_are_the_whole(name: str) -> None:
    make, r_cut, least = STRUCTURES[name]
    frame = to_frame(make(), labels=False)
    parts = list(pieces(frame, r_cut, frame.n_atoms / 20))
    assert len(parts) >= least
    assert sorted(np.concatenate([p.centres_e for p in parts]).tolist()) == list(range(frame.n_atoms))
    for found, expected in zip(joined(parts), joined([NeighbourList(r_cut).pairs(frame)]), strict=True):
        assert found == pytest.approx(expected, abs=1e-9)
    for part in parts:
        assert np.all(np.diff(part.e_p) >= 0)
        assert np.array_equal(part.origin_p, np.arange(len(part.e_p)))


@pytest.mark.parametrize("name", ["crystal", "skewed", "slab", "cluster"])
def test_number_of_pairs_is_estimated(name: str) -> None:
    frame = to_frame(STRUCTURES[name][0](), labels=False)
    true = len(NeighbourList(4.0).pairs(frame).e_p) / frame.n_atoms
    assert 0.9 * true < pairs_per_atom(frame, 4.0) < 2.0 * true  # surfaces have fewer


def test_a_single_atom_and_a_dimer_have_an_estimate() -> None:
    for atoms in (Atoms("Si"), Atoms("Si2", [[0, 0, 0], [0, 0, 2.3]])):
        assert 0.0 < pairs_per_atom(to_frame(atoms, labels=False), 5.0) < 20.0


def test_the_cell_of_a_molecule_means_nothing() -> None:
    """Not even one that spans no volume."""
    positions = [[0, 0, 0], [1.5, 0, 0], [0, 2.5, 1.0]]
    bare, boxed = Atoms("Si3", positions), Atoms("Si3", positions, cell=[[10, 0, 0], [0, 10, 0], [10, 10, 0]])
    one, two = (to_frame(atoms, labels=False) for atoms in (bare, boxed))
    assert pairs_per_atom(one, 3.0) == pairs_per_atom(two, 3.0)
    assert np.array_equal(NeighbourList(3.0).pairs(one).r_pc, NeighbourList(3.0).pairs(two).r_pc)
    assert len(NeighbourList(3.0).pairs(two).e_p) == 4

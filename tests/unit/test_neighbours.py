"""Pairs against ase.neighborlist, and the Verlet skin against fresh lists."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.neighborlist import neighbor_list

from gapkit.atoms.labels import to_frame
from gapkit.atoms.neighbours import NeighbourList, Pairs
from tests.samples import crystal


def rattled(atoms: Atoms) -> Atoms:
    atoms.rattle(0.1, seed=1)
    return atoms


def outside() -> Atoms:
    atoms = rattled(bulk("SiC", "zincblende", a=4.3))
    atoms.positions += [[30.0, -40.0, 3.0], [-7.0, 11.0, 90.0]]
    return atoms


STRUCTURES: dict[str, Callable[[], Atoms]] = {
    "primitive": lambda: rattled(bulk("Si")),
    "supercell": lambda: rattled(bulk("SiC", "zincblende", a=4.3) * (3, 2, 2)),
    "skewed": lambda: Atoms(
        "SiC", [[0, 0, 0], [1, 1, 1.2]], cell=[[3, 0, 0], [7.0, 2.5, 0], [-5.0, 4.0, 2.8]], pbc=True
    ),
    "left-handed": lambda: Atoms("Si", cell=[[0, 3, 0], [3, 0, 0], [0.5, 0, 3]], pbc=True),
    "small": lambda: Atoms("C", cell=[1.4, 1.6, 1.9], pbc=True),
    "slab": lambda: Atoms("SiC", [[0, 0, 0], [1, 1, 1]], cell=[2.5, 3.0, 0.0], pbc=[True, True, False]),
    "slab in a box": lambda: Atoms("SiC", [[0, 0, 0], [1, 1, 1]], cell=[2.5, 3.0, 5.0], pbc=[True, True, False]),
    "wire": lambda: Atoms("Si2", [[0, 0, 0], [9.0, 1, 1]], cell=[0, 2.2, 0], pbc=[False, True, False]),
    "molecule": lambda: Atoms("HCNOHC", 1.8 * np.random.default_rng(0).normal(size=(6, 3))),
    "molecule in a box": lambda: Atoms("SiC", [[0, 0, 0], [1, 1, 1]], cell=[2, 2, 2]),
    "atom": lambda: Atoms("O"),
    "outside": outside,
}


def pairs_of(atoms: Atoms, r_cut: float) -> Pairs:
    return NeighbourList(r_cut).pairs(to_frame(atoms, labels=False))


def in_order(i_p: np.ndarray, j_p: np.ndarray, r_pc: np.ndarray) -> np.ndarray:
    """Rows (i, j, r) in an order that rounding does not change."""
    keys = np.round(r_pc, 6) + 0.0
    order = np.lexsort((keys[:, 2], keys[:, 1], keys[:, 0], j_p, i_p))
    return np.column_stack([i_p, j_p, r_pc])[order]


def same(pairs: Pairs, other: Pairs) -> bool:
    """Whether two lists hold the same pairs, in any order of the neighbours of one centre."""
    one, two = (in_order(p.i_p, p.j_p, p.r_pc) for p in (pairs, other))
    return one.shape == two.shape and bool(np.allclose(one, two, rtol=0, atol=1e-10))


@pytest.mark.parametrize("r_cut", [2.05, 3.7, 6.3])
@pytest.mark.parametrize("name", STRUCTURES)
def test_pairs_are_those_of_ase(name: str, r_cut: float) -> None:
    atoms = STRUCTURES[name]()
    pairs = pairs_of(atoms, r_cut)
    expected = in_order(*neighbor_list("ijD", atoms, r_cut))
    found = in_order(pairs.i_p, pairs.j_p, pairs.r_pc)
    assert found.shape == expected.shape
    assert found == pytest.approx(expected, abs=1e-10)
    assert np.all(np.diff(pairs.i_p) >= 0)
    assert pairs.i_p.dtype == pairs.j_p.dtype == np.int64
    assert pairs.centres_e.tolist() == list(range(len(atoms)))
    assert pairs.origin_p.tolist() == list(range(len(pairs.j_p)))


def test_every_pair_has_its_mirror() -> None:
    pairs = pairs_of(STRUCTURES["skewed"](), 5.0)
    mirrored = in_order(pairs.j_p, pairs.i_p, -pairs.r_pc)
    assert mirrored == pytest.approx(in_order(pairs.i_p, pairs.j_p, pairs.r_pc), abs=1e-10)


def test_parts_keep_their_place_in_the_whole() -> None:
    atoms = STRUCTURES["supercell"]()
    pairs = pairs_of(atoms, 5.0)
    carbon = pairs.of_species(6).within(3.0)
    assert np.array_equal(carbon.centres_e, np.flatnonzero(atoms.numbers == 6))
    assert np.array_equal(carbon.i_p, pairs.i_p[carbon.origin_p])
    assert np.array_equal(carbon.j_p, pairs.j_p[carbon.origin_p])
    assert np.array_equal(carbon.r_pc, pairs.r_pc[carbon.origin_p])
    near = np.linalg.norm(pairs.r_pc, axis=1) < 3.0
    assert np.array_equal(carbon.origin_p, np.flatnonzero(near & (atoms.numbers[pairs.i_p] == 6)))
    assert pairs.within(99.0) is pairs
    assert pairs.of_centres(np.ones(len(atoms), dtype=bool)) is pairs


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 100])
def test_blocks_are_the_whole_in_pieces(size: int) -> None:
    """Also centres that have no neighbour."""
    atoms = Atoms("H7", [[0, 0, 0], [50, 0, 0], [1, 0, 0], [90, 0, 0], [0, 1, 0], [0, 0, 1], [-90, 0, 0]])
    pairs = pairs_of(atoms, 1.2)
    blocks = list(pairs.blocks(size))
    assert [len(b.centres_e) for b in blocks[:-1]] == [size] * (len(blocks) - 1)
    assert np.concatenate([b.centres_e for b in blocks]).tolist() == list(range(7))
    for name in ("i_p", "j_p", "r_pc", "origin_p"):
        assert np.array_equal(np.concatenate([getattr(b, name) for b in blocks]), getattr(pairs, name))
    assert all(len(b.e_p) == 0 or b.e_p.max() < len(b.centres_e) for b in blocks)


def test_gradients_of_pairs_become_forces_and_virial(rng: np.random.Generator) -> None:
    pairs = pairs_of(STRUCTURES["supercell"](), 4.0)
    gradient_pc = rng.normal(size=pairs.r_pc.shape)
    forces, virial = np.zeros((24, 3)), np.zeros((3, 3))
    for i, j, r, g in zip(pairs.i_p, pairs.j_p, pairs.r_pc, gradient_pc, strict=True):
        forces[i] += g
        forces[j] -= g
        virial += np.outer(r, g)
    assert pairs.forces(gradient_pc) == pytest.approx(forces, abs=1e-12)
    assert pairs.virial(gradient_pc) == pytest.approx(virial, abs=1e-10)
    assert np.max(np.abs(pairs.forces(gradient_pc).sum(axis=0))) < 1e-12


def moved(atoms: Atoms, by: float) -> None:
    """Every atom by the same length, each in its own direction: the worst case for a skin."""
    step = np.random.default_rng(len(atoms)).normal(size=(len(atoms), 3))
    atoms.positions += by * step / np.linalg.norm(step, axis=1)[:, None]


def strained(atoms: Atoms, by: float) -> None:
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + by * np.array([[1, 0.5, 0], [0, -1, 0.3], [0, 0, 0.7]])))


def exchanged(atoms: Atoms) -> None:
    atoms.numbers = atoms.numbers[::-1]


CHANGES: dict[str, Callable[[Atoms], None]] = {
    "nothing": lambda atoms: None,
    "a little": lambda atoms: moved(atoms, 0.3),
    "just below half the skin": lambda atoms: moved(atoms, 0.499),
    "just above half the skin": lambda atoms: moved(atoms, 0.501),
    "far": lambda atoms: moved(atoms, 2.0),
    "one atom by a lattice vector": lambda atoms: atoms.positions.__setitem__(3, atoms.positions[3] + atoms.cell[0]),
    "cell a little": lambda atoms: strained(atoms, 1e-3),
    "cell": lambda atoms: strained(atoms, 0.2),
    "cell alone turned": lambda atoms: atoms.rotate(30, "z", rotate_cell=True),
    "pbc": lambda atoms: atoms.set_pbc([True, False, True]),
    "no pbc": lambda atoms: atoms.set_pbc(False),
    "fewer atoms": lambda atoms: atoms.__delitem__(slice(0, 5)),
    "more atoms": lambda atoms: atoms.extend(Atoms("Si", [[0.37 * len(atoms), 1.3, 0.9]])),
    "other elements": exchanged,
}


@pytest.mark.parametrize("r_cut", [3.2, 5.9])
@pytest.mark.parametrize("name", CHANGES)
def test_a_list_with_skin_equals_a_fresh_one(name: str, r_cut: float) -> None:
    atoms = STRUCTURES["supercell"]()
    kept = NeighbourList(r_cut, skin=1.0)
    kept.pairs(to_frame(atoms, labels=False))
    for _ in range(3):  # small steps add up, and what was rebuilt must serve as well
        CHANGES[name](atoms)
        pairs = kept.pairs(to_frame(atoms, labels=False))
        assert same(pairs, pairs_of(atoms, r_cut))
        assert np.array_equal(pairs.numbers_e, atoms.numbers)
        assert np.all(np.linalg.norm(pairs.r_pc, axis=1) <= r_cut)
        assert np.all(np.diff(pairs.i_p) >= 0)


def test_all_changes_one_after_another() -> None:
    atoms = STRUCTURES["supercell"]()
    kept = NeighbourList(4.4, skin=1.0)
    for name, change in [*CHANGES.items(), *reversed(CHANGES.items())]:
        change(atoms)
        assert same(kept.pairs(to_frame(atoms, labels=False)), pairs_of(atoms, 4.4)), name


def test_pairs_stay_as_they_were_when_the_list_moves_on() -> None:
    """Results must not be views of memory that the next call overwrites."""
    for skin in (0.0, 1.0):
        kept = NeighbourList(4.0, skin)
        atoms = STRUCTURES["supercell"]()
        pairs = kept.pairs(to_frame(atoms, labels=False))
        before = copy.deepcopy(pairs)
        moved(atoms, 0.2)
        kept.pairs(to_frame(atoms, labels=False))
        kept.pairs(to_frame(crystal(), labels=False))
        for name in ("numbers_e", "i_p", "j_p", "r_pc"):
            assert np.array_equal(getattr(pairs, name), getattr(before, name)), name


def test_copies_and_pickles_work_on_their_own() -> None:
    atoms = STRUCTURES["supercell"]()
    kept = NeighbourList(4.0, skin=0.8)
    kept.pairs(to_frame(atoms, labels=False))
    for twin in (copy.deepcopy(kept), copy.copy(kept), pickle.loads(pickle.dumps(kept))):
        assert (twin.r_cut, twin.skin) == (4.0, 0.8)
        assert same(twin.pairs(to_frame(crystal(), labels=False)), pairs_of(crystal(), 4.0))
        assert same(kept.pairs(to_frame(atoms, labels=False)), pairs_of(atoms, 4.0))


def test_grouped_centres_are_the_same_in_another_order() -> None:
    """Elements together, many neighbours first; no pair is lost and none changes its place in the whole."""
    atoms = STRUCTURES["supercell"]()
    del atoms[[1, 5]]
    pairs = pairs_of(atoms, 4.0)
    grouped = pairs.grouped()
    assert np.array_equal(np.sort(grouped.centres_e), np.arange(len(atoms)))
    assert np.all(np.diff(grouped.e_p) >= 0)
    numbers, counts = atoms.numbers[grouped.centres_e], np.bincount(grouped.e_p, minlength=len(atoms))
    assert np.all(np.diff(numbers) >= 0)
    assert np.all((np.diff(counts) <= 0) | (np.diff(numbers) > 0))
    assert np.array_equal(np.sort(grouped.origin_p), pairs.origin_p)
    for name in ("i_p", "j_p", "r_pc"):
        assert np.array_equal(getattr(grouped, name), getattr(pairs, name)[grouped.origin_p]), name
    for element in np.unique(atoms.numbers).tolist():
        own = grouped.of_species(element)
        assert set(own.centres_e) == set(np.flatnonzero(atoms.numbers == element))
        assert np.array_equal(own.r_pc, pairs.r_pc[own.origin_p])

"""Rules about structures: short bonds, cells, volumes, copies."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import covalent_radii
from ase.units import Bohr

from gapkit import to_frames
from gapkit.datasets import check_frames, copies
from gapkit.datasets.bonds import shortest
from gapkit.datasets.fingerprints import Fingerprints
from gapkit.datasets.robust import deviations, slope
from tests.conftest import Silicon
from tests.unit.test_check_physics import changed, copper, labelled, only

CELLS = copper(8, strain=0.02, rattle=0.03, seed=8)


def test_short_bonds() -> None:
    near = CELLS[3].copy()
    near.positions[1] = near.positions[0] + [0.9, 0.0, 0.0]
    near.calc = SinglePointCalculator(near, energy=-0.1, forces=np.zeros((4, 3)))
    found = only(check_frames([*CELLS[:3], near, *CELLS[4:]]), "short-bond")
    assert found.frames == (3,)
    assert "Cu-Cu of 0.90 Å (in train 3)" in found.what
    assert "units of lengths" in found.fix
    meant = near.copy()
    meant.calc = SinglePointCalculator(
        meant, energy=40.0, forces=np.array([[-80.0, 0, 0], [80.0, 0, 0], [0.0] * 3, [0.0] * 3])
    )
    report = check_frames([*CELLS[:3], meant, *CELLS[4:]])
    assert report.by_rule("short-bond")[0].severity == "warning"


def test_a_bond_through_the_boundary_is_seen() -> None:
    atoms = Atoms("Cu2", [[0.1, 0, 0], [7.3, 0, 0]], cell=[8.0, 8.0, 8.0], pbc=True)
    atoms.calc = SinglePointCalculator(atoms, energy=0.0, forces=np.zeros((2, 3)))
    assert "of 0.80 Å" in only(check_frames([atoms]), "short-bond").what
    atoms.pbc = False
    atoms.calc = SinglePointCalculator(atoms, energy=0.0, forces=np.zeros((2, 3)))
    assert not check_frames([atoms]).by_rule("short-bond")


def test_a_crystal_that_is_not_periodic() -> None:
    open_cell = CELLS[5].copy()
    open_cell.pbc = False
    open_cell.calc = SinglePointCalculator(open_cell, **{k: CELLS[5].calc.results[k] for k in ("energy", "forces")})
    found = only(check_frames([*CELLS[:5], open_cell, *CELLS[6:]]), "not-periodic", "warning")
    assert found.frames == (5,)
    assert 'pbc="T T T"' in found.fix


def test_volumes() -> None:
    swollen = CELLS[2].copy()
    swollen.set_cell(swollen.cell / 0.529, scale_atoms=True)
    found = only(check_frames([*CELLS[:2], labelled(swollen), *CELLS[3:]]), "volume-outlier", "warning")
    assert found.frames == (2,)
    assert "Bohr" in found.fix


def test_copies_by_symmetry_and_by_supercell() -> None:
    turned = CELLS[1].copy()
    turned.rotate(37.0, (1, 2, 3), rotate_cell=True)
    twin = CELLS[4].repeat((2, 1, 1))
    structures = [*CELLS, labelled(turned), labelled(twin)]
    report = check_frames(structures)
    (found,) = report.by_rule("copies")
    assert (found.frames, found.severity) == ((1, 4, 8, 9), "note")
    assert "environments: 8 = 1, 9 = 4" in found.what
    assert not report.errors
    (exact,) = check_frames([*CELLS, CELLS[6].copy()]).by_rule("copies")
    assert (exact.frames, exact.severity) == ((6, 8), "warning")


def test_near_copies_and_copies_that_differ() -> None:
    near = CELLS[0].copy()
    near.rattle(0.003, seed=1)
    report = check_frames([*CELLS, labelled(near)])
    assert only(report, "near-copies", "note").frames == (0, 8)
    assert not report.by_rule("copies")

    def lift(results: dict[str, np.ndarray], atoms: Atoms) -> None:
        results["energy"] = results["energy"] + 0.05 * len(atoms)

    twin = CELLS[2].repeat((1, 1, 2))
    report = check_frames(changed([*CELLS, labelled(twin)], lift, [8]))
    found = only(report, "copies-differ")
    assert found.frames == (2, 8)
    assert "50 meV/atom" in found.what


def test_test_frames_that_the_fit_has_seen() -> None:
    turned = CELLS[3].copy()
    turned.rotate(50.0, "x", rotate_cell=True)
    other = copper(2, strain=0.02, rattle=0.03, seed=99)
    report = check_frames(CELLS, [other[0], labelled(turned), other[1]])
    found = only(report, "shared-with-test", "warning")
    assert found.frames == (9,)
    assert found.where == "test, frame 1"
    assert "1 of 3 test frames" in found.what
    assert "test 1 = train 3" in found.what


def test_copies_of_the_published_split_of_silicon(silicon: Silicon) -> None:
    """Frames 22 to 24 of the test set are symmetry copies of training frames, as data/MANIFEST.toml says."""
    train = [a for a in silicon.train if a.info["config_type"] == "Elastic"]
    test = [a for a in silicon.test if a.info["config_type"] == "Elastic"]
    found = copies(train, test)
    assert {test[k].info["index"] for k in found} == {22, 23, 24}
    for k, s in found.items():
        assert abs(test[k].get_potential_energy() - train[s].get_potential_energy()) < 0.01


def test_distances_of_fingerprints() -> None:
    """They do not see rotation, order of atoms and supercell, and grow with displacements."""
    first = CELLS[0]
    turned = first[[2, 0, 3, 1]].repeat((1, 2, 1))
    turned.rotate(20.0, (1, 1, 0), rotate_cell=True)
    moved = [first.copy() for _ in range(3)]
    for size, atoms in zip((0.01, 0.03, 0.1), moved, strict=True):
        atoms.rattle(size, seed=3)
    prints = Fingerprints(to_frames([first, turned, *moved], labels=False))
    assert prints.between(0, 1) < 1e-7
    assert np.abs(prints.mean_sf[0] - prints.mean_sf[1]).max() < 1e-8
    distances = [prints.between(0, k) for k in (2, 3, 4)]
    assert distances == sorted(distances)
    assert 0.0005 < distances[0] < 0.01 < distances[2]
    slab = bulk("Cu", cubic=True)
    slab.pbc = (True, True, False)
    slab.cell[2] = 0.0
    assert np.isfinite(Fingerprints(to_frames([slab], labels=False)).mean_sf).all()


def test_robust_statistics() -> None:
    x = np.array([1.0, 2.0, 3.0, 4.0, 1e6])
    assert deviations(x, 0.1)[:4].max() < 2.0 < deviations(x, 0.1)[4]
    assert deviations(np.ones(3), 0.1).max() == 0.0
    assert slope(np.array([1.0, 2.0, -3.0, 0.0]), np.array([2.0, 4.0, -6.0, 9.0])) == 2.0
    assert slope(np.zeros(2), np.ones(2)) == 0.0


def test_test_frames_near_those_of_the_fit_and_copies_with_other_energies() -> None:
    near = CELLS[3].copy()
    near.rattle(0.003, seed=2)
    found = only(check_frames(CELLS, [labelled(near)]), "near-shared", "note")
    assert found.frames == (8,)
    assert "test 0 = train 3" in found.what

    for step, severity in ((0.005, "warning"), (0.05, "error")):
        twin = CELLS[2].repeat((1, 1, 2))
        energy = CELLS[2].get_potential_energy() * 2 + step * len(twin)
        twin.calc = SinglePointCalculator(twin, energy=energy, forces=np.zeros((8, 3)))
        differ = only(check_frames(CELLS, [twin]), "copies-differ", severity)
        assert differ.frames == (2, 8)
        assert f"{1e3 * step:.3g} meV/atom" in differ.what


def test_a_crystal_that_has_lost_its_cell() -> None:
    lost = Atoms(CELLS[5].numbers, CELLS[5].positions, info={"config_type": "bulk"})
    lost.calc = SinglePointCalculator(lost, **{k: CELLS[5].calc.results[k] for k in ("energy", "forces")})
    found = only(check_frames([*CELLS[:5], lost, *CELLS[6:]]), "not-periodic", "warning")
    assert found.frames == (5,)
    assert "7 other frames of bulk are periodic" in found.what
    lost.info["config_type"] = "cluster"
    assert not check_frames([*CELLS[:5], lost, *CELLS[6:]]).by_rule("not-periodic")


def test_an_element_of_two_frames() -> None:
    structures = copper(24, strain=0.02, rattle=0.03, seed=9)
    for k in (4, 7):
        structures[k].symbols[0] = "Ni"
        structures[k] = labelled(structures[k])
    found = only(check_frames(structures), "rare-element", "warning")
    assert found.frames == (4, 7)
    assert "Ni is in 2 of 24 frames only" in found.what


def stretched(atoms: Atoms, factor: float) -> Atoms:
    """All lengths times a factor, labels as they were."""
    large = atoms.copy()
    large.positions *= factor
    large.cell = factor * atoms.cell
    large.calc = SinglePointCalculator(large, **atoms.calc.results)
    return large


def test_lengths_in_nm_are_named_and_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    known = Fingerprints._vectors
    monkeypatch.setattr(Fingerprints, "_vectors", lambda self, k: seen.append(k) or known(self, k))
    found = only(check_frames([stretched(atoms, 0.1) for atoms in CELLS]), "short-bond")
    assert found.frames == tuple(range(8))
    assert "Lengths look like nm" in found.what
    assert "by 10" in found.fix
    assert not seen
    report = check_frames([stretched(CELLS[0], 0.1), *CELLS[1:], CELLS[7]])
    assert only(report, "short-bond").frames == (0,)
    assert report.by_rule("copies")[0].frames == (7, 8)  # the others are compared, under their own numbers


def test_two_atoms_that_are_meant_to_be_near_are_not_crushed() -> None:
    """A scan of a dimer in a box, as repulsion is fitted to: a warning, and no word of nm."""
    dimers = []
    for distance in (0.3, 0.5, 0.8):
        atoms = Atoms("Cu2", [[0, 0, 0], [distance, 0, 0]], cell=[9.0] * 3, pbc=True)
        atoms.calc = SinglePointCalculator(atoms, energy=30.0 / distance, forces=[[-90.0, 0, 0], [90.0, 0, 0]])
        dimers.append(atoms)
    found = only(check_frames(dimers), "short-bond", "warning")
    assert found.frames == (0, 1, 2)
    assert "nm" not in found.what


@pytest.mark.parametrize("name", ["H2O", "C6H6"])
def test_nearest_atoms_against_all_distances(name: str) -> None:
    """The tree looks no farther than it must, and finds what a table of all distances has."""
    rng = np.random.default_rng(3)
    atoms = molecule(name, cell=[[6.0, 0, 0], [2.0, 7.0, 0], [-3.0, 1.0, 8.0]], pbc=(True, True, False))
    for _ in range(10):
        atoms.positions = rng.uniform(-9.0, 9.0, atoms.positions.shape)
        d_ee = atoms.get_all_distances(mic=True) / (radii := covalent_radii[atoms.numbers])
        share_ee = d_ee * radii / np.add.outer(radii, radii)
        np.fill_diagonal(share_ee, 6.0 / (2.0 * radii))  # its own image along the shortest vector
        (frame,) = to_frames([atoms], labels=False)
        assert shortest(frame).share == pytest.approx(share_ee.min())


def test_lengths_in_bohr_by_file() -> None:
    structures = [*CELLS, labelled(molecule("CH4"), "molecule"), labelled(Atoms("Cu"), "isolated_atom")]
    report = check_frames([stretched(atoms, 1.0 / Bohr) for atoms in structures], CELLS[:2])
    found = only(report, "lengths-in-bohr", "warning")
    assert found.frames == tuple(range(9))
    assert found.where == "train, frames 0-8 (9 in all)"
    assert "look like Bohr" in found.what
    assert found.fix.startswith("multiply cell and positions by 0.529177")


def test_loose_solids_and_gases_are_not_in_bohr() -> None:
    """Pb has the widest bonds of the elements (1.20), F2 of molecules (1.25); noble gases and far atoms have none."""
    assert not check_frames([Atoms("F2", [[0, 0, 0], [x, 0, 0]]) for x in (1.41, 1.42, 1.43)]).by_rule(
        "lengths-in-bohr"
    )
    for name, structure, a in (("Pb", "fcc", 4.95), ("LiH", "rocksalt", 4.08), ("Ar", "fcc", 5.4)):
        report = check_frames([bulk(name, structure, a=a * (1.0 + 0.01 * k)) for k in range(-3, 4)])
        assert not report.by_rule("lengths-in-bohr"), name
    assert check_frames([bulk("Al", a=4.05 / Bohr)]).by_rule("lengths-in-bohr")
    assert not check_frames([Atoms("Cu2", [[0, 0, 0], [9.0, 0, 0]])]).by_rule("lengths-in-bohr")

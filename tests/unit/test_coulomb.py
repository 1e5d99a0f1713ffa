"""The Coulomb baseline: published lattice energies, slabs, molecules, derivatives."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, make_supercell, molecule
from ase.units import Bohr, Hartree
from scipy.special import erfc

from gapkit.baselines import coulomb
from gapkit.baselines.coulomb import Coulomb
from gapkit.numerics.ewald import pair_sum
from gapkit.testing.differences import agrees, slope
from gapkit.testing.zoo import zoo
from gapkit.typing import FloatArray
from tests.contributions import arrays, energy, evaluate, same

E2 = Hartree * Bohr
ALL = ("energy", "forces", "stress")
SKEW = np.array([[1, 0, 0], [5, 1, 0], [-3, 2, 1]])
POINTS = Coulomb({"Na": 1, "Cl": -1}, width=0.0)


def shaken(atoms: Atoms, seed: int = 0, size: float = 0.1) -> Atoms:
    """Strained and rattled."""
    rng = np.random.default_rng(seed)
    atoms = atoms.copy()
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + rng.uniform(-size, size, (3, 3)) / 2), scale_atoms=True)
    atoms.positions += rng.normal(0.0, size, atoms.positions.shape)
    return atoms


def monolayer(a: float = 2.8) -> Atoms:
    """Square checkerboard of ions, primitive cell of two."""
    plane = [[a, a, 0.0], [a, -a, 0.0], [0.0, 0.0, 0.0]]
    return Atoms("NaCl", positions=[[0.0, 0.0, 0.0], [a, 0.0, 0.0]], cell=plane, pbc=[True, True, False])


def slab() -> Atoms:
    """Four ions on a skewed plane lattice, with a dipole; nothing is said about the third direction."""
    x = [[0.0, 0.0, 0.0], [1.0, 1.5, 1.0], [2.0, 0.5, 2.9], [0.3, 2.0, 3.5]]
    return Atoms(
        "Na2Cl2", positions=x, cell=[[4.0, 0.0, 0.0], [1.0, 5.0, 0.0], [0.0, 0.0, 0.0]], pbc=[True, True, False]
    )


# E = -M e²/(4πε0 d) per formula unit. NaCl, CsCl, ZnS: R. E. Crandall and J. P. Buhler, J. Phys. A 20, 5497 (1987) and
# Y. Sakamoto, J. Chem. Phys. 28, 164 (1958); wurtzite and fluorite: Q. C. Johnson and D. H. Templeton, ibid. 34, 2004
# (1961), here with the digits of later tables
MADELUNG: dict[str, tuple[Callable[[], Atoms], dict[str, float], float, int, float]] = {
    "NaCl": (lambda: bulk("NaCl", "rocksalt", a=5.64), {"Na": 1, "Cl": -1}, 2.82, 2, 1.747564594633),
    "CsCl": (lambda: bulk("CsCl", "cesiumchloride", a=4.0), {"Cs": 1, "Cl": -1}, 12**0.5, 2, 1.762674773070),
    "ZnS": (lambda: bulk("ZnS", "zincblende", a=5.4), {"Zn": 1, "S": -1}, 1.35 * 3**0.5, 2, 1.638055053389),
    "wurtzite": (
        lambda: bulk("ZnS", "wurtzite", a=3.0, c=24.0**0.5, u=0.375),
        {"Zn": 2, "S": -2},
        0.375 * 24.0**0.5,
        2,
        4 * 1.641321627,
    ),
    "CaF2": (lambda: bulk("CaF2", "fluorite", a=5.0), {"Ca": 2, "F": -1}, 1.25 * 3**0.5, 3, 5.03878488),
}


@pytest.mark.parametrize("form", ["primitive", "skewed", "supercell", "long"])
@pytest.mark.parametrize("name", MADELUNG)
def test_madelung_constants(name: str, form: str) -> None:
    build, charges, distance, formula, constant = MADELUNG[name]
    atoms = build()
    matrices = {"primitive": np.eye(3), "skewed": SKEW, "supercell": 2 * np.eye(3), "long": np.diag([1, 1, 9])}
    atoms = make_supercell(atoms, matrices[form])
    energies_e, forces_ec, virial_cc = arrays(evaluate(Coulomb(charges, width=0.0), atoms))
    total = energies_e.sum()
    assert -total * formula / len(atoms) * distance / E2 == pytest.approx(constant, rel=1e-8)
    for symbol in charges:  # atoms of one kind are equivalent in all these crystals
        assert np.ptp(energies_e[atoms.symbols == symbol]) < 1e-8
    assert np.trace(virial_cc) == pytest.approx(-total, rel=1e-6)  # E goes as 1/a
    if name != "wurtzite":  # in which the tetrahedra feel a field
        assert forces_ec == pytest.approx(0.0, abs=1e-7)
        assert virial_cc == pytest.approx(np.eye(3) * -total / 3, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize(
    ("cell", "constant"),  # energy per charge and e²/a: a Wigner crystal, E. Wigner, Trans. Faraday Soc. 34, 678 (1938)
    [
        (np.eye(3), -2.837297479 / 2),
        ((np.ones((3, 3)) - 2 * np.eye(3)) / 2, -0.895929256 * (8 * math.pi / 3) ** (1 / 3)),
    ],
    ids=["sc", "bcc"],
)
def test_charges_in_a_uniform_background(cell: FloatArray, constant: float) -> None:
    atoms = Atoms("Na", cell=3.0 * cell, pbc=True)
    lone = Coulomb({"Na": 1}, width=0.0, excess="background")
    energies_e, _, virial_cc = arrays(evaluate(lone, atoms))
    assert energies_e[0] * 3.0 / E2 == pytest.approx(constant, rel=1e-8)
    assert virial_cc == pytest.approx(np.eye(3) * -energies_e[0] / 3, rel=1e-7, abs=1e-7)


def test_square_monolayer() -> None:
    """M = 4(√2 - 1)|ζ(½)|β(½) = 1.6155426267128: J. M. Borwein et al., Lattice Sums Then and Now (2013), ch. 1."""
    atoms = monolayer()
    for structure in (atoms, atoms.repeat((3, 2, 1)), make_supercell(atoms, [[1, 0, 0], [3, 1, 0], [0, 0, 1]])):
        energies_e = arrays(evaluate(POINTS, structure))[0]
        assert -energies_e * 2 * 2.8 / E2 == pytest.approx(np.full(len(structure), 1.6155426267128), rel=1e-8)


def test_slabs_do_not_care_for_the_third_lattice_vector_or_the_frame() -> None:
    expected = arrays(evaluate(POINTS, slab()))
    for vector in ([0.0, 0.0, 5.0], [1.0, 2.0, 0.0], [3.0, -1.0, -40.0]):
        atoms = slab()
        atoms.set_cell([*atoms.cell[:2], vector])
        same(evaluate(POINTS, atoms), evaluate(POINTS, slab()), 1e-12)
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    atoms = slab()
    atoms.set_cell((atoms.cell.array @ turn)[[2, 0, 1]])
    atoms.pbc, atoms.positions = [False, True, True], atoms.positions @ turn + 7.0
    energies_e, forces_ec, virial_cc = arrays(evaluate(POINTS, atoms))
    assert energies_e == pytest.approx(expected[0], abs=1e-10)
    assert forces_ec @ turn.T == pytest.approx(expected[1], abs=1e-10)
    assert turn @ virial_cc @ turn.T == pytest.approx(expected[2], abs=1e-10)


def test_vacuum_makes_slabs_and_molecules_of_periodic_boxes() -> None:
    loose = Coulomb({"Na": 1, "Cl": -1}, width=0.0, vacuum=8.0)
    boxed = slab()
    boxed.set_cell([*boxed.cell[:2], [1.3, -2.0, 15.0]])
    boxed.pbc = True
    boxed.positions += [0.7, 0.2, 13.5]  # through the boundary
    boxed.wrap()
    assert np.ptp(boxed.positions[:, 2]) > 10.0
    same(evaluate(loose, boxed), evaluate(POINTS, slab()), 1e-9)
    assert abs(energy(POINTS, boxed) - energy(POINTS, slab())) > 0.5
    crystal = shaken(bulk("NaCl", "rocksalt", a=5.64, cubic=True))
    same(evaluate(loose, crystal), evaluate(POINTS, crystal), 1e-12)
    lone = Atoms("NaClNa2Cl2", positions=np.random.default_rng(1).uniform(0.0, 5.0, (6, 3)))
    packed = lone.copy()
    packed.set_cell([[16.0, 0.0, 0.0], [4.0, 16.0, 0.0], [-3.0, 5.0, 17.0]])
    packed.pbc = True
    packed.positions -= [3.0, 1.0, 4.0]
    packed.wrap()
    same(evaluate(loose, packed), evaluate(POINTS, lone), 1e-11)


def test_vacuum_is_measured_at_right_angles() -> None:
    tilted = slab()
    tilted.set_cell([*tilted.cell[:2], [16.0, 0.0, 9.0]])  # 9 - 3.5 Å of vacuum, along 18 Å
    tilted.pbc = True
    for vacuum, counts in ((5.4, True), (5.6, False)):
        loose = Coulomb({"Na": 1, "Cl": -1}, width=0.0, vacuum=vacuum)
        same(evaluate(loose, tilted), evaluate(POINTS, slab() if counts else tilted), 1e-9)


@pytest.mark.parametrize(("repeat", "width"), [((1, 1, 1), 1.0), ((1, 1, 1), 2.5), ((5, 1, 1), 0.0), ((1, 6, 1), 0.5)])
def test_slabs_have_vacuum_enough(repeat: tuple[int, int, int], width: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wide Gaussians in a small cell, and long cells with long waves."""
    atoms = slab()
    atoms.set_cell(0.7 * atoms.cell.array, scale_atoms=True)
    atoms = shaken(atoms.repeat(repeat), size=0.3)
    baseline = Coulomb({"Na": 1, "Cl": -1}, width=width)
    found = evaluate(baseline, atoms)
    monkeypatch.setattr(coulomb, "_ACCURACY", 1e-15)
    best = evaluate(baseline, atoms)
    for mine, theirs in zip(arrays(found), arrays(best), strict=True):
        assert mine == pytest.approx(theirs, abs=5e-9 * np.abs(theirs).max())
    if width:  # what width takes from points is a sum over near pairs
        points = evaluate(Coulomb({"Na": 1, "Cl": -1}, width=0.0), atoms).energies_e
        steps = np.array(list(itertools.product(range(-14, 15), repeat=2))) @ atoms.cell.array[:2]
        q_e = np.where(atoms.symbols == "Na", 1.0, -1.0)
        taken_e = np.zeros(len(atoms))
        for i, j in itertools.product(range(len(atoms)), repeat=2):
            r = np.linalg.norm(atoms.positions[j] + steps - atoms.positions[i], axis=1)
            r = r[r > 0.0]
            taken_e[i] += 0.5 * E2 * q_e[i] * q_e[j] * float((erfc(r / (2.0 * width)) / r).sum())
        assert best.energies_e == pytest.approx(points - taken_e, abs=1e-9)


def test_a_dipole_costs_a_slab_nothing_but_its_lattice_of_dipoles() -> None:
    """A capacitor: the energy of two distant charged layers per area is that of the field between them."""
    a, d = 3.0, 30.0
    atoms = Atoms("NaCl", positions=[[0.0, 0.0, 0.0], [1.0, 2.0, d]], cell=[a, a, 0.0], pbc=[True, True, False])
    apart = energy(POINTS, atoms)
    atoms.positions[1, 2] = d + 1.0
    assert (energy(POINTS, atoms) - apart) / E2 == pytest.approx(2.0 * math.pi / a**2, rel=1e-8)


def test_molecules_are_double_loops_and_far_fragments_are_points() -> None:
    water = molecule("H2O")
    charged = Coulomb({"H": 0.4, "O": -0.8})
    e, x = charged.charges, water.positions
    expected = 0.0
    for i, j in itertools.combinations(range(3), 2):
        r, q = math.dist(x[i], x[j]), e[water[i].symbol] * e[water[j].symbol]  # type: ignore[index]
        expected += E2 * q * math.erf(r / 1.0) / r
    assert energy(charged, water) == pytest.approx(expected, rel=1e-13)
    ions = Coulomb({"H": 0.5, "O": -0.8}, excess="background")  # +0.2 e on each
    far = water.copy()
    far.positions += [400.0, 0.0, 0.0]
    pair = energy(ions, water + far) - 2.0 * energy(ions, water)
    assert pair == pytest.approx(E2 * 0.04 / 400.0, rel=1e-4)


@pytest.mark.parametrize("width", [0.0, 0.5, 1.3])
def test_supercells_order_and_rotation(width: float) -> None:
    baseline = Coulomb({"Na": 1, "Cl": -1}, width=width)
    atoms = shaken(bulk("NaCl", "rocksalt", a=5.64, cubic=True))
    energies_e, forces_ec, virial_cc = arrays(evaluate(baseline, atoms))
    eight = arrays(evaluate(baseline, atoms.repeat(2)))
    assert eight[0].sum() == pytest.approx(8.0 * energies_e.sum(), rel=1e-9)
    assert eight[1] == pytest.approx(np.tile(forces_ec, (8, 1)), abs=1e-8)
    assert eight[2] == pytest.approx(8.0 * virial_cc, rel=1e-7, abs=1e-6)
    rng = np.random.default_rng(1)
    order, turn = rng.permutation(8), np.linalg.qr(rng.normal(size=(3, 3)))[0]
    moved = atoms[order]
    moved.positions += rng.integers(-3, 4, (8, 3)) @ atoms.cell.array + 0.3
    moved.set_cell(SKEW @ atoms.cell.array @ turn)
    moved.positions = moved.positions @ turn
    other = arrays(evaluate(baseline, moved))
    assert other[0] == pytest.approx(energies_e[order], abs=1e-9)
    assert other[1] == pytest.approx(forces_ec[order] @ turn, abs=1e-9)
    assert other[2] == pytest.approx(turn.T @ virial_cc @ turn, abs=1e-8)


@pytest.mark.parametrize("excess", ["share", "background"])
def test_derivatives_over_the_zoo(excess: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coulomb, "_ACCURACY", 1e-15)  # the derivatives of a truncated sum are truncated elsewhere
    rng = np.random.default_rng(2)
    baseline = Coulomb("initial_charges", excess=excess, width=0.7)
    for name, atoms in zoo(("Na", "Cl")).items():
        if name in ("wire", "atom") or (name, excess) == ("slab", "background"):
            continue
        atoms.set_initial_charges(rng.normal(size=len(atoms)))
        step_ec, e_cc = rng.normal(size=(len(atoms), 3)), rng.normal(size=(3, 3))
        e_cc += e_cc.T
        _, forces_ec, virial_cc = arrays(evaluate(baseline, atoms))

        def moved(x: float, grown: FloatArray, step_ec: FloatArray, atoms: Atoms = atoms) -> float:
            other = atoms.copy()
            other.set_cell(atoms.cell.array @ (np.eye(3) + x * grown))
            other.positions = (atoms.positions + x * step_ec) @ (np.eye(3) + x * grown)
            return energy(baseline, other)

        numeric = slope(lambda x: moved(x, 0.0 * e_cc, step_ec))  # noqa: B023
        agrees(-np.sum(forces_ec * step_ec), numeric, f"forces of {name}", accuracy=1e-9)
        numeric = slope(lambda x: moved(x, e_cc, 0.0 * step_ec))  # noqa: B023
        agrees(np.sum(virial_cc * e_cc), numeric, f"virial of {name}", accuracy=1e-8)


def test_pieces_and_blocks_are_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    atoms = shaken(bulk("NaCl", "rocksalt", a=5.64, cubic=True).repeat((4, 4, 6)))
    whole = evaluate(POINTS, atoms)
    calls: list[int] = []

    def counted(i_p: Any, *others: Any) -> Any:
        calls.append(len(i_p))
        return pair_sum(i_p, *others)

    monkeypatch.setattr(coulomb, "pair_sum", counted)
    monkeypatch.setattr(coulomb, "_PAIRS_IN_LIST", 30_000)
    monkeypatch.setattr(coulomb, "_PAIRS_AT_ONCE", 10_000)
    same(evaluate(POINTS, atoms), whole, 1e-10)
    assert len(calls) > 5
    assert max(calls) < 15_000
    calls.clear()
    cluster = Atoms(atoms.symbols[:300], atoms.positions[:300])
    parts = evaluate(POINTS, cluster)
    assert len(calls) == 10
    monkeypatch.undo()
    same(parts, evaluate(POINTS, cluster), 1e-9)

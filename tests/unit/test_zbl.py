"""Repulsion of nuclei: numbers of another program, its limits, the switch, and the radii that the data give."""

from __future__ import annotations

import copy
import json
import math
from typing import Any

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.data import chemical_symbols, covalent_radii

from gapkit.atoms.frame import Frame
from gapkit.atoms.labels import to_frame
from gapkit.atoms.neighbours import NeighbourList
from gapkit.baselines.base import Contribution
from gapkit.baselines.zbl import CONTACT, INNER, MARGIN, UNSEEN, ZBL
from gapkit.errors import ConfigError, SpeciesError
from gapkit.testing.differences import agrees, slope

EVERYTHING = ("energy", "forces", "stress")
COULOMB = 1e10 * units._e / (4.0 * math.pi * units._eps0)  # e²/4πε0, eV Å

# Energy relative to 1.5 Å (eV) and force (eV/Å) at 0.3, 0.8 and 1.5 Å: pair style zbl of LAMMPS 22Jul2025, inside its
# inner radius. It takes 14.399645 for e²/4πε0.
LAMMPS = {
    "H-H": ((16.24921335, 101.26762699), (1.60624652, 6.25940345), (0.0, 0.65508438)),
    "C-H": ((79.72796525, 534.75194468), (6.66491582, 27.44433256), (0.0, 2.43687123)),
    "C-O": ((506.86706438, 3671.73745241), (35.38894703, 154.47222616), (0.0, 11.31044800)),
    "O-Ti": ((1540.34437132, 11812.74501985), (93.25681248, 427.15174637), (0.0, 26.47591922)),
    "Si-Si": ((1703.09992451, 13088.06496), (102.55196036, 470.60736807), (0.0, 28.98037335)),
    "Mo-Mo": ((10770.71293350, 90880.34890656), (495.42355247, 2496.23121115), (0.0, 111.66050341)),
    "U-W": ((32446.16228649, 289915.71286942), (1227.53814603, 6594.90179846), (0.0, 238.86178424)),
}


def frame(atoms: Atoms) -> Frame:
    return to_frame(atoms, labels=False, where="t.xyz, frame 7")


def dimer(pair: str, r: float) -> Frame:
    return frame(Atoms(pair.split("-"), [[0, 0, 0], [0, 0, r]]))


def by_hand(z: int, other: int, r: complex, inner: float, outer: float, smoothness: int = 4) -> complex:
    """One pair in plain numbers; f is one minus the regularised incomplete beta function I_u(s+1, s+1), a sum."""
    x = r * (z**0.23 + other**0.23) / 0.4685
    phi = 0.0
    for c, d in zip((0.02817, 0.28022, 0.50986, 0.18175), (-0.20162, -0.4029, -0.94229, -3.1998), strict=True):
        phi += c * np.exp(d * x)
    u = (r - inner) / (outer - inner)
    if u.real >= 1.0:
        return 0.0
    n = 2 * smoothness + 1
    f = 1.0 if u.real <= 0.0 else sum(math.comb(n, k) * u**k * (1 - u) ** (n - k) for k in range(smoothness + 1))
    return COULOMB * z * other / r * phi * f


@pytest.mark.parametrize("pair", LAMMPS)
def test_energies_and_forces_of_another_program(pair: str) -> None:
    baseline = ZBL(inner=4.0, outer=5.0).prepared([dimer(pair, 9.0)])
    found = [baseline.evaluate(dimer(pair, r), ("forces",)) for r in (0.3, 0.8, 1.5)]
    energies = np.array([part.energies_e.sum() for part in found])
    energy, force = np.array(LAMMPS[pair]).T
    assert energies - energies[2] == pytest.approx(energy, rel=1e-7, abs=1e-12)
    assert [part.forces_ec[1, 2] for part in found] == pytest.approx(force, rel=1e-7)


def test_bare_nuclei_when_they_meet() -> None:
    baseline = ZBL(inner=0.5, outer=1.0).prepared([dimer("Mo-O", 3.0)])
    r = np.array([0.011, 0.012])
    screened = [float(baseline.evaluate(dimer("Mo-O", x), ()).energies_e.sum()) for x in r]
    ratio = np.array(screened) * r / (COULOMB * 42 * 8)
    assert ((ratio > 0.85) & (ratio < 0.95)).all()
    # φ is linear there, and 1 at contact: the weights of the exponentials sum to 1
    assert ratio[0] - r[0] * (ratio[1] - ratio[0]) / (r[1] - r[0]) == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("smoothness", [2, 4])
@pytest.mark.parametrize("r", [0.2, 0.69, 0.71, 0.9, 1.3, 1.49, 1.51, 4.0])
def test_switched_pair_by_hand(r: float, smoothness: int) -> None:
    """The slope of the numbers by hand is exact: a complex step."""
    baseline = ZBL({"O-Si": 0.7}, {("Si", "O"): 1.5}, smoothness).prepared([dimer("Si-O", 3.0)])
    found = baseline.evaluate(dimer("Si-O", r), EVERYTHING)
    energy, step = by_hand(14, 8, r, 0.7, 1.5, smoothness), 1e-30
    assert found.energies_e == pytest.approx(np.full(2, 0.5 * energy), rel=1e-9, abs=1e-13)
    force = -np.imag(by_hand(14, 8, r + 1j * step, 0.7, 1.5, smoothness)) / step
    assert found.forces_ec == pytest.approx(np.array([[0, 0, -force], [0, 0, force]]), rel=1e-9, abs=1e-12)
    assert found.virial_cc == pytest.approx(np.diag([0, 0, -force * r]), rel=1e-9, abs=1e-12)


def test_a_distance_at_which_the_unit_step_would_be_at_its_origin() -> None:
    found = ZBL(inner=0.75, outer=1.0).prepared([dimer("O-Si", 3.0)]).evaluate(dimer("O-Si", 0.5), ("forces",))
    assert found.energies_e.sum() == pytest.approx(by_hand(14, 8, 0.5, 0.75, 1.0), rel=1e-9)
    assert np.isfinite(found.forces_ec).all()


def test_repulsive_at_every_distance_between_all_elements() -> None:
    """Switching must not turn the slope, from hydrogen to plutonium; each pair of elements is one dimer of a frame."""
    first, second = np.array([(a, b) for a in range(1, 95) for b in range(a, 95)]).T
    elements = frame(Atoms(np.arange(1, 95), 30.0 * np.arange(94)[:, None] * [1, 0, 0]))
    baseline = ZBL().prepared([elements])
    outer = np.array(
        [
            baseline.outer["-".join(sorted((chemical_symbols[a], chemical_symbols[b])))]
            for a, b in zip(first, second, strict=True)
        ]
    )
    assert outer == pytest.approx(UNSEEN * (covalent_radii[first] + covalent_radii[second]), rel=1e-12)
    spots = 12.0 * np.stack(np.unravel_index(np.arange(len(first)), (17, 17, 17)), axis=1)
    before = np.full(len(first), np.inf)
    for fraction in np.linspace(0.1, 0.99, 20):
        apart = np.stack([spots, spots + (fraction * outer)[:, None] * [0, 0, 1]], axis=1).reshape(-1, 3)
        found = baseline.evaluate(frame(Atoms(np.stack([first, second], axis=1).ravel(), apart)), ("forces",))
        energy, force = found.energies_e.reshape(-1, 2).sum(axis=1), found.forces_ec.reshape(-1, 2, 3)[:, 1, 2]
        assert (force > 0.0).all()
        assert (energy < before).all()
        before = energy
    assert (before > 0.0).all()


@pytest.mark.parametrize("smoothness", [2, 4])
@pytest.mark.parametrize("edge", [0.7, 1.5])
def test_two_continuous_derivatives_at_both_radii(edge: float, smoothness: int) -> None:
    baseline = ZBL(inner=0.7, outer=1.5, smoothness=smoothness).prepared([dimer("O-Si", 3.0)])

    def force(r: float) -> float:
        return float(baseline.evaluate(dimer("O-Si", r), ("forces",)).forces_ec[1, 2])

    scale = abs(force(0.7))
    for h in (1e-3, 1e-4):
        left, right = (force(edge) - force(edge - h)) / h, (force(edge + h) - force(edge)) / h
        # a third derivative that jumps leaves a difference of order h, a second one that jumps would not
        assert abs(right - left) < 200.0 * scale * h
        assert abs(force(edge + h) - force(edge - h)) < 20.0 * scale * h


def test_a_little_closer_than_the_data_is_hardly_felt() -> None:
    """Atoms of other structures of the same kind; and much closer is."""
    seen = ZBL().prepared([dimer("H-O", 0.94)])
    old = ZBL(outer=0.94, inner=0.6 * 0.94, smoothness=2).prepared([dimer("H-O", 0.94)])

    def force(baseline: ZBL, r: float) -> float:
        return float(baseline.evaluate(dimer("H-O", r), ("forces",)).forces_ec[1, 2])

    assert force(seen, 0.915) == 0.0
    assert 0.0 < force(seen, 0.90) < 0.02 < 1.0 < force(old, 0.90)
    assert force(seen, 0.7) > 30.0


def crowded(kind: str) -> Atoms:
    """Structures in which atoms are far too close, with pairs in all parts of the switch."""
    if kind == "molecule":
        atoms = molecule("CH3CH2OH")
        atoms.positions *= 0.6
    elif kind == "images":
        atoms = bulk("Mo", a=1.3)  # one atom among its own images
        atoms.set_cell(atoms.cell.array @ [[1.0, 0.1, 0.0], [0.0, 0.9, 0.2], [0.1, 0.0, 1.1]])
    else:
        scaled = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
        atoms = Atoms("SrTiO3", scaled_positions=scaled, cell=2.4 * np.eye(3), pbc=True)
        atoms.rattle(0.1, seed=1)
    return atoms


@pytest.mark.parametrize("kind", ["molecule", "images", "perovskite"])
def test_laws_by_differences(kind: str) -> None:
    atoms = crowded(kind)
    elements = sorted(set(atoms.symbols))
    baseline = ZBL().prepared([frame(Atoms(elements, 9.0 * np.eye(3)[: len(elements)]))])
    rng = np.random.default_rng(3)
    move_ec, strain_cc = rng.normal(size=(len(atoms), 3)), rng.normal(size=(3, 3))
    strain_cc += strain_cc.T

    def energy(x: float, strain: float = 0.0) -> float:
        moved = atoms.copy()
        moved.positions = (moved.positions + x * move_ec) @ (np.eye(3) + strain * strain_cc)
        moved.cell[:] = moved.cell.array @ (np.eye(3) + strain * strain_cc)
        return float(baseline.evaluate(frame(moved), ()).energies_e.sum())

    found = baseline.evaluate(frame(atoms), EVERYTHING)
    assert found.energies_e.min() > 0.1
    assert found.forces_ec.sum(axis=0) == pytest.approx(np.zeros(3), abs=1e-9)
    assert found.virial_cc == pytest.approx(found.virial_cc.T, rel=1e-12)
    agrees(-np.sum(found.forces_ec * move_ec), slope(energy), "F = -dE/dx")
    agrees(np.sum(found.virial_cc * strain_cc), slope(lambda s: energy(0.0, s)), "virial = dE/dε")


def same(one: Contribution, other: Contribution) -> None:
    for name in ("energies_e", "forces_ec", "virial_cc"):
        assert getattr(one, name) == pytest.approx(getattr(other, name), rel=1e-12, abs=1e-12)


def test_pairs_of_the_model_serve_and_blocks_of_centres_add_up() -> None:
    structure = frame(crowded("perovskite"))
    baseline = ZBL().prepared([frame(bulk("NaCl", "rocksalt", a=9.0)), structure])
    baseline = ZBL(inner=0.9, outer={**baseline.outer, "O-Ti": 1.9}).prepared([structure])
    alone = baseline.evaluate(structure, EVERYTHING)
    pairs = NeighbourList(4.0).pairs(structure)
    same(baseline.evaluate(structure, EVERYTHING, pairs), alone)
    blocks = [baseline.evaluate(structure, EVERYTHING, block) for block in pairs.blocks(2)]
    assert len(blocks) == 3
    same(blocks[0].plus(blocks[1]).plus(blocks[2]), alone)


@pytest.mark.parametrize("kinds", [(), ("forces",), ("stress",), EVERYTHING])
def test_only_what_is_asked_for(kinds: Any) -> None:
    baseline = ZBL(inner=0.5, outer=1.0).prepared([dimer("H-O", 3.0)])
    for r in (0.7, 2.0):  # with a pair in reach, and without
        found = baseline.evaluate(dimer("H-O", r), kinds)
        assert (found.forces_ec is not None) == ("forces" in kinds)
        assert (found.virial_cc is not None) == ("stress" in kinds)
        assert (found.energies_e > 0.0).all() == (r < 1.0)
    lone = baseline.evaluate(frame(Atoms("O")), kinds)
    assert lone.energies_e.tolist() == [0.0]


def test_radii_come_from_the_data_where_nothing_changes() -> None:
    water = [molecule("H2O") for _ in range(3)]
    for seed, atoms in enumerate(water):
        atoms.rattle(0.05, seed=seed)
    argon = Atoms("ArH", [[0, 0, 0], [0, 0, 3.5]])  # beyond contact, like any H and Ar of other frames
    frames = [frame(atoms) for atoms in [*water, argon, Atoms("Ar")]]
    held = [structure.positions_ec.copy() for structure in frames]
    ready = ZBL().prepared(frames)
    oh = min(d for atoms in water for d in (atoms.get_distance(0, 1), atoms.get_distance(0, 2)))
    hh = min(atoms.get_distance(1, 2) for atoms in water)
    h, ar = covalent_radii[[1, 18]]
    assert ready.outer == pytest.approx(
        {"H-O": MARGIN * oh, "H-H": MARGIN * hh, "O-O": UNSEEN * 2 * covalent_radii[8], "Ar-H": UNSEEN * (h + ar),
         "Ar-O": UNSEEN * (covalent_radii[8] + ar), "Ar-Ar": UNSEEN * 2 * ar}, rel=1e-12,
    )  # fmt: skip
    assert ready.inner == pytest.approx({name: INNER * r for name, r in ready.outer.items()}, rel=1e-12)
    assert ready.reach == max(ready.outer.values())
    for structure, positions_ec in zip(frames, held, strict=True):
        found = ready.evaluate(structure, EVERYTHING)
        for part in (found.energies_e, found.forces_ec, found.virial_cc):
            assert np.abs(part).max() < 1e-12
        assert np.array_equal(structure.positions_ec, positions_ec)
    assert ready.evaluate(dimer("H-O", 0.9 * oh), ()).energies_e.sum() > 0.1


@pytest.mark.parametrize(("beyond", "seen"), [(-0.01, True), (0.01, False)])
def test_contact_ends_at_van_der_waals_radii(beyond: float, seen: bool) -> None:
    r = 2 * covalent_radii[14] + CONTACT + beyond
    expected = MARGIN * r if seen else UNSEEN * 2 * covalent_radii[14]
    assert ZBL().prepared([dimer("Si-Si", r)]).outer == pytest.approx({"Si-Si": expected}, rel=1e-12)


def test_shortest_distance_to_an_image() -> None:
    crystal = bulk("Mo", a=3.0)
    assert ZBL().prepared([frame(crystal)]).outer == pytest.approx({"Mo-Mo": MARGIN * 1.5 * math.sqrt(3.0)}, rel=1e-12)


def test_given_radii() -> None:
    frames = [dimer("Si-O", 1.7), dimer("Si-Si", 2.4)]
    free = ZBL().prepared(frames)
    assert ZBL(inner=0.3, outer=0.8).prepared(frames).outer == dict.fromkeys(("O-O", "O-Si", "Si-Si"), 0.8)
    some = ZBL(inner={"Si-O": 0.3}, outer={("Si", "O"): 0.8, "C-C": 0.1}).prepared(frames)
    assert some.outer == {**free.outer, "O-Si": 0.8}  # the structures have no carbon
    assert some.inner == {**free.inner, "O-Si": 0.3}
    again = some.prepared([dimer("Si-O", 0.2), dimer("C-Si", 1.9)])
    assert again.outer["O-Si"] == 0.8
    assert again.outer["C-Si"] == pytest.approx(MARGIN * 1.9, rel=1e-12)
    for name in ("H-C", "C-H"):  # names go by the alphabet, also where atomic numbers do not
        assert ZBL(outer={name: 0.5}).prepared([dimer(name, 1.1)]).outer["C-H"] == 0.5


def test_prepared_settings_are_json_and_make_the_same_baseline() -> None:
    given = {("Si", "O"): 0.9}
    open_settings = ZBL(outer=given)
    ready = open_settings.prepared([dimer("Si-O", 1.7)])
    assert (open_settings.get_params(), given) == (
        {"inner": None, "outer": given, "smoothness": 4},
        {("Si", "O"): 0.9},
    )
    params = json.loads(json.dumps(ready.get_params()))
    assert params == ready.get_params()
    assert list(params["outer"]) == ["O-O", "O-Si", "Si-Si"]
    again = ZBL(**params)
    assert again.prepared([dimer("Si-O", 1.0)]).get_params() == params
    for other in (again, copy.deepcopy(ready)):
        same(other.evaluate(dimer("Si-O", 0.6), EVERYTHING), ready.evaluate(dimer("Si-O", 0.6), EVERYTHING))


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"outer": 0.0}, ConfigError, r"ZBL.outer=0.0 is not a positive number"),
        ({"inner": {"O-Si": -1}}, ConfigError, r"ZBL.inner of O-Si=-1 is not a positive number"),
        ({"outer": "wide"}, ConfigError, r"ZBL.outer='wide' is not a positive number"),
        ({"inner": 1.0, "outer": 1.0}, ConfigError, r"ZBL.inner of O-O \(1 Å\) is not below outer \(1 Å\)"),
        ({"inner": {"Si-O": 3.0}}, ConfigError, r"ZBL.inner of O-Si \(3 Å\) is not below outer \(1.649 Å\)"),
        ({"outer": {"O-Si": 1.0, ("Si", "O"): 1.0}}, ConfigError, r"ZBL.outer of O-Si is given twice"),
        ({"outer": {"OSi": 1.0}}, ConfigError, r"names 'OSi', which is no pair. Fix: write two elements"),
        ({"outer": {8: 1.0}}, ConfigError, r"names 8, which is no pair"),
        ({"outer": {("O", "Si", "O"): 1.0}}, ConfigError, r"which is no pair"),
        ({"outer": {"O-Sj": 1.0}}, SpeciesError, r"names 'Sj', which is not an element. Fix: did you mean"),
        ({"outer": {"O-X": 1.0}}, SpeciesError, r"names 'X', which is not an element"),
        ({"smoothness": [2]}, ConfigError, r"ZBL.smoothness=\[2\] does not exist"),
        ({"smoothness": 3}, ConfigError, r"ZBL.smoothness=3 does not exist. Fix: give 4 or 2"),
        ({"outer": {(8, 14): 1.0}}, SpeciesError, r"names 8, which is not an element"),
    ],
)
def test_settings_that_are_refused(settings: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        ZBL(**settings).prepared([dimer("Si-O", 1.7)])


def test_evaluation_needs_radii() -> None:
    with pytest.raises(ConfigError, match=r"has not been prepared. Fix: use what ZBL.prepared\(frames\) returns"):
        ZBL(inner=0.5).evaluate(dimer("Si-O", 0.5), ())
    ready = ZBL().prepared([dimer("Si-O", 1.7)])
    with pytest.raises(SpeciesError, match=r"no radii of C-O, only of O-O, O-Si, Si-Si \(t.xyz, frame 7\). Fix: give"):
        ready.evaluate(dimer("C-O", 0.9), ())
    apart = dimer("C-O", 2.5)
    assert not ready.evaluate(apart, (), NeighbourList(4.0).pairs(apart)).energies_e.any()

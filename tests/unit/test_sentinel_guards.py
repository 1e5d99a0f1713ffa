"""The guards of the sentinel that no σ replaces: bonds, forces, temperature, numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.calculator import Calculator
from ase.data import covalent_radii
from ase.md.verlet import VelocityVerlet
from ase.neighborlist import neighbor_list

from gapkit import GAPCalculator
from gapkit.uncertainty import Sentinel
from gapkit.uncertainty.guards import ShortBonds
from tests.samples import fitted


class Given(Calculator):
    """A foreign calculator that returns what it was given."""

    implemented_properties: list[str] = ["energy", "forces"]  # noqa: RUF012 (ASE declares it so)

    def __init__(self) -> None:
        super().__init__()
        self.energy, self.force = 0.0, 1.0

    def calculate(self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = ()) -> None:
        super().calculate(atoms, properties, system_changes)
        forces = np.zeros((len(atoms), 3))
        forces[5, 1] = self.force
        self.results = {"energy": self.energy, "forces": forces}


def watched(**options: Any) -> tuple[Sentinel, Atoms, Given]:
    """Guards alone, over 16 atoms."""
    atoms = bulk("Si", a=5.4) * 2
    calc = Given()
    atoms.calc = calc
    return Sentinel(fitted(), None, atoms=atoms, **options), atoms, calc


def kinds(sentinel: Sentinel) -> list[str]:
    return [flag.kind for flag in sentinel.flags]


def test_nothing_is_flagged_in_a_quiet_structure() -> None:
    sentinel, _, _ = watched(max_temperature=1000.0)
    for _ in range(3):
        sentinel()
    assert sentinel.flags == []
    assert sentinel.exact_evaluations == 0


def test_a_force_is_flagged_once_until_it_is_well_below() -> None:
    sentinel, _, calc = watched()
    for force in (10.0, 51.0, 60.0, 45.0, 52.0, 36.0, 55.0, 34.0, 51.0, -50.5):
        calc.force = force
        calc.reset()
        sentinel()
    assert kinds(sentinel) == ["force", "force"]  # 34 is below 0.7 of 50, 36 is not
    flag = sentinel.flags[0]
    assert (flag.atom, flag.symbol, flag.value, flag.limit, flag.unit) == (5, "Si", 51.0, 50.0, "eV/Å")
    expected = fitted().predict(bulk("Si", a=5.4) * 2, {"forces_std", "extrapolation"})
    assert flag.sigma == pytest.approx(np.sqrt(np.mean(expected.forces_std[5] ** 2)), rel=1e-9)
    assert flag.extrapolation == pytest.approx(expected.extrapolation[5], rel=1e-9)
    assert flag.message.startswith("force 51 eV/Å on Si 5, above 50 eV/Å (extrapolation")


def test_temperature() -> None:
    sentinel, atoms, _ = watched(max_temperature=500.0)
    for t in (400.0, 600.0, 450.0, 600.0, 300.0, 501.0):
        momenta = np.random.default_rng(0).normal(size=(16, 3))
        atoms.set_momenta(momenta)
        atoms.set_momenta(momenta * np.sqrt(t / atoms.get_temperature()))
        sentinel()
    assert kinds(sentinel) == ["temperature", "temperature"]
    assert sentinel.flags[0].message.startswith("kinetic temperature 600 K, above 500 K")
    assert sentinel.flags[0].atom == -1
    assert sentinel.flags[0].sigma > 0.0


@pytest.mark.parametrize("what", ["energy", "force"])
def test_what_is_no_number(what: str) -> None:
    sentinel, _, calc = watched(max_force=1e-6)
    setattr(calc, what, np.nan)
    calc.reset()
    sentinel()
    (flag,) = sentinel.flags
    assert flag.kind == "not finite"
    assert flag.atom == (5 if what == "force" else -1)
    assert ("atom 5" in flag.message) == (what == "force")
    assert np.isnan(flag.sigma)


def test_bond_across_the_boundary() -> None:
    sentinel, atoms, _ = watched()
    distance = atoms.get_distance(0, 1, mic=True)
    for share in (1.0, 0.6, 0.45, 0.5, 0.45, 0.8, 0.45):
        atoms.positions[1] = atoms.positions[0] + share * distance * np.array([1.0, 1.0, 1.0]) / np.sqrt(3)
        atoms.translate([0.9, -0.2, 0.3])
        atoms.wrap()
        sentinel()
    assert kinds(sentinel) == ["bond", "bond"]
    flag = sentinel.flags[0]
    assert flag.limit == pytest.approx(covalent_radii[14])
    assert flag.value == pytest.approx(0.45 * distance)
    assert "are 1.05 Å apart, below 1.11 Å" in flag.message


def test_guards_can_be_switched_off_or_moved() -> None:
    for options, expected in (
        ({}, ["force"]),
        ({"max_force": None}, []),
        ({"max_force": 80.0}, []),
        ({"max_force": 80.0, "shortest_bond": 1.2}, ["bond"]),
        ({"max_force": None, "shortest_bond": None}, []),
    ):
        sentinel, _, calc = watched(**options)
        calc.force = 70.0
        sentinel()
        assert kinds(sentinel) == expected


def brute(atoms: Atoms, share: float) -> float:
    """Largest ratio of limit and distance over all pairs, by ASE."""
    i, j, d = neighbor_list("ijd", atoms, 4.0)
    return float((share * (covalent_radii[atoms.numbers[i]] + covalent_radii[atoms.numbers[j]]) / d).max())


@pytest.mark.parametrize("pbc", [True, False, [True, False, True]])
def test_remembered_pairs_miss_nothing(pbc: Any) -> None:
    """Atoms that walk, unwrapped, in a cell that breathes and shears: the same as a search at every step."""
    rng = np.random.default_rng(2)
    atoms = Atoms("Si4C4H8", rng.uniform(0, 5, (16, 3)), cell=[[5, 0, 0], [1, 5.5, 0], [0, -1, 6]], pbc=pbc)
    bonds, found = ShortBonds(0.6), 0
    searches = []
    original = bonds._search
    bonds._search = lambda a: (searches.append(1), original(a))  # type: ignore[method-assign, func-returns-value]
    for _ in range(300):
        atoms.positions += rng.normal([0.03, 0.0, 0.01], 0.03, (16, 3))
        atoms.set_cell(atoms.cell.array + rng.normal(scale=0.004, size=(3, 3)), scale_atoms=True)
        ratio, expected = bonds.read(atoms).ratio, brute(atoms, 0.6)
        if expected > 0.8:  # far above the limit it may know no pair
            assert ratio == pytest.approx(expected, rel=1e-9)
            found += 1
        else:
            assert ratio < 0.8 + 1e-9
    assert found > 100
    assert len(searches) < 150


def test_other_elements_or_numbers_are_searched_anew() -> None:
    bonds = ShortBonds(0.5)
    atoms = Atoms("H2", [[0, 0, 0], [0, 0, 0.5]])
    assert bonds.read(atoms).ratio < 1.0
    atoms.numbers[:] = 14
    assert bonds.read(atoms).ratio > 1.0
    assert bonds.read(Atoms("H")).ratio == 0.0


def test_guards_work_in_a_run_with_a_model() -> None:
    """A collision: one atom is shot at its neighbour."""
    atoms = bulk("Si", a=5.4) * 2
    atoms.calc = GAPCalculator(fitted())
    atoms.set_velocities(np.where(np.arange(16)[:, None] == 0, 2.0, 0.0) * np.array([1.0, 1.0, 0.7]))
    dynamics = VelocityVerlet(atoms, 0.2 * units.fs)
    sentinel = Sentinel(atoms.calc, None, max_force=10.0, max_temperature=1e5).attach(dynamics)
    dynamics.run(40)
    assert "bond" in kinds(sentinel)
    assert sentinel.flags[0].step > 0


def test_a_cell_that_shrinks_around_atoms_that_stay() -> None:
    atoms = Atoms("Si2", [[0.5, 2, 2], [8.5, 2, 2]], cell=[12, 8, 8], pbc=True)
    bonds = ShortBonds(0.5)
    for length in (12.0, 11.4, 10.7, 9.2, 9.0):
        atoms.set_cell([length, 8, 8])
        reading = bonds.read(atoms)
    assert reading.value == pytest.approx(1.0)
    assert reading.ratio > 1.0

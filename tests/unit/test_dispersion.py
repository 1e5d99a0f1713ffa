"""DFT-D3: against the library's own interface to ASE, published energies and differences; and without the library."""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.units import Bohr, Hartree

from gapkit.atoms.frame import Frame
from gapkit.atoms.labels import to_frame
from gapkit.baselines.dispersion import HEAVIEST, Dispersion
from gapkit.errors import ConfigError, DataError, SpeciesError
from gapkit.testing.differences import agrees, slope

EVERYTHING = ("energy", "forces", "stress")


@pytest.fixture
def library() -> Any:
    """The ASE calculator of the library."""
    return pytest.importorskip("dftd3.ase").DFTD3


def frame(atoms: Atoms) -> Frame:
    return to_frame(atoms, labels=False, where="t.xyz, frame 7")


def ice(pbc: Any = True) -> Atoms:
    """Two water molecules in a cell so large that few pairs end at the library's cutoffs."""
    atoms = molecule("H2O") + molecule("H2O")
    atoms.positions[3:] += [2.2, 1.5, 1.1]
    atoms.set_cell([[9.0, 0.3, 0.0], [0.0, 8.6, 0.5], [0.4, 0.0, 9.3]])
    atoms.pbc = pbc
    atoms.rattle(0.05, seed=2)
    return atoms


def silicon() -> Atoms:
    atoms = bulk("Si", cubic=True)
    atoms.rattle(0.1, seed=0)
    return atoms


@pytest.mark.parametrize("make", [ice, silicon, lambda: molecule("CH3CH2OH")])
@pytest.mark.parametrize(("functional", "damping"), [("pbe", "bj"), ("b3lyp", "zero")])
def test_numbers_are_those_of_the_library(library: Any, make: Any, functional: str, damping: str) -> None:
    atoms = make()
    found = Dispersion(functional, damping).prepared([frame(atoms)]).evaluate(frame(atoms), EVERYTHING)
    # s9 = 0 leaves out three-body terms; given parameters are needed for that
    published = {
        "bj": {"s6": 1.0, "s8": 0.7875, "a1": 0.4289, "a2": 4.4407, "s9": 0.0},
        "zero": {"s6": 1.0, "s8": 1.703, "rs6": 1.261, "rs8": 1.0, "s9": 0.0},
    }[damping]
    atoms.calc = library(damping=f"d3{damping}", params_tweaks=published)
    assert found.energies_e.sum() == pytest.approx(atoms.get_potential_energy(), rel=1e-12)
    assert found.forces_ec == pytest.approx(atoms.get_forces(), rel=1e-10, abs=1e-14)
    if atoms.pbc.any():
        stress_cc = atoms.get_stress(voigt=False)
        assert found.virial_cc == pytest.approx(stress_cc * atoms.get_volume(), rel=1e-10, abs=1e-14)


def test_two_argon_atoms_by_hand(library: Any) -> None:
    """The published formula, and the published coefficients of argon, in atomic units."""
    a1, a2, s8 = 0.4289, 4.4407, 0.7875  # PBE with damping "bj"
    c6 = 64.6462
    c8 = 3.0 * c6 * 3.44677275**2
    f = a1 * np.sqrt(c8 / c6) + a2
    for r in (2.5, 3.8, 7.0):
        found = Dispersion().evaluate(frame(Atoms("Ar2", [[0, 0, 0], [0, 0, r]])), ()).energies_e
        x = r / Bohr
        by_hand = -c6 / (x**6 + f**6) - s8 * c8 / (x**8 + f**8)
        assert found == pytest.approx(np.full(2, 0.5 * Hartree * by_hand), rel=1e-5)


@pytest.mark.parametrize("pbc", [False, True, [True, True, False], [False, False, True]])
def test_laws_by_differences(library: Any, pbc: Any) -> None:
    atoms, baseline = ice(pbc), Dispersion()
    if not np.all(pbc):
        atoms.cell[~atoms.pbc] = 0.0
    rng = np.random.default_rng(3)
    move_ec, strain_cc = rng.normal(size=(6, 3)), rng.normal(size=(3, 3))
    strain_cc += strain_cc.T

    def energy(x: float, strain: float = 0.0) -> float:
        moved = atoms.copy()
        moved.positions += x * move_ec
        deformation = np.eye(3) + strain * strain_cc
        moved.positions = moved.positions @ deformation
        moved.cell[:] = moved.cell.array @ deformation
        return float(baseline.evaluate(frame(moved), ()).energies_e.sum())

    found = baseline.evaluate(frame(atoms), EVERYTHING)
    assert found.virial_cc == pytest.approx(found.virial_cc.T, rel=1e-12, abs=1e-14)
    agrees(-np.sum(found.forces_ec * move_ec), slope(energy, 1e-3), "F = -dE/dx", 1e-7)
    agrees(np.sum(found.virial_cc * strain_cc), slope(lambda s: energy(0.0, s), 1e-3), "virial = dE/dε", 1e-7)


def test_a_slab_is_a_slab_whatever_its_third_vector(library: Any) -> None:
    """The library is wrong about directions that are not periodic, so it is given empty space instead."""
    slab = ice([True, True, False])
    wide = slab.copy()
    normal = np.cross(*slab.cell.array[:2])
    wide.cell[2] = 90.0 * normal / np.linalg.norm(normal)
    wide.pbc = True
    expected = Dispersion().evaluate(frame(wide), EVERYTHING)
    for third in (slab.cell.array[2], np.zeros(3), [50.0, 3.0, 7.0]):
        slab.cell[2] = third
        for shift in (0.0, 40.0):
            slab.positions[:, 2] += shift
            found = Dispersion().evaluate(frame(slab), EVERYTHING)
            assert found.energies_e == pytest.approx(expected.energies_e, rel=1e-9)
            assert found.forces_ec == pytest.approx(expected.forces_ec, rel=1e-8, abs=1e-10)
            assert found.virial_cc == pytest.approx(expected.virial_cc, rel=1e-8, abs=1e-10)
    far = ice([False, False, True])
    far.positions[3:] += [40.0, 0.0, 0.0]  # the two molecules are out of each other's reach
    parts = [Dispersion().evaluate(frame(part), ()).energies_e for part in (far[:3], far[3:])]
    assert Dispersion().evaluate(frame(far), ()).energies_e == pytest.approx(np.concatenate(parts), rel=1e-6)


def test_energies_of_atoms_are_local(library: Any) -> None:
    """Those of two molecules far apart are those of each alone."""
    near, both = molecule("CH3CH2OH"), molecule("CH3CH2OH") + molecule("H2O")
    both.positions[len(near) :] += [40.0, 0.0, 0.0]
    alone = Dispersion().evaluate(frame(near), ()).energies_e
    assert alone.std() > 0.003  # eV; even shares have none
    assert Dispersion().evaluate(frame(both), ()).energies_e[: len(near)] == pytest.approx(alone, rel=1e-6)


@pytest.mark.parametrize("kinds", [(), ("forces",), ("stress",), EVERYTHING])
def test_only_what_is_asked_for_and_nothing_for_an_atom(library: Any, kinds: Any) -> None:
    found = Dispersion().evaluate(frame(Atoms("Pu")), kinds)
    assert found.energies_e.tolist() == [0.0]
    assert (found.forces_ec is not None) == ("forces" in kinds)
    assert (found.virial_cc is not None) == ("stress" in kinds)
    assert Dispersion().reach == np.inf


def test_settings_are_json(library: Any) -> None:
    ready = Dispersion("scan").prepared([frame(silicon())])
    assert json.loads(json.dumps(ready.get_params())) == ready.get_params() == {"functional": "scan", "damping": "bj"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"functional": "pbee"}, r"no parameters of functional='pbee' with damping='bj'. Fix: name the density"),
        ({"functional": None}, r"no parameters of functional=None"),
        ({"functional": 3}, r"no parameters of functional=3"),
        ({"functional": "r2scan", "damping": "zero"}, r"no parameters of functional='r2scan' with damping='zero'"),
        ({"damping": "bjj"}, r"no damping 'bjj'. Fix: did you mean 'bj'"),
        ({"damping": None}, r"no damping None. Fix: valid names are bj, zero"),
    ],
)
def test_settings_that_are_refused(library: Any, settings: Any, message: str) -> None:
    for check in (lambda b: b.prepared([]), lambda b: b.evaluate(frame(silicon()), ())):
        with pytest.raises(ConfigError, match=message):
            check(Dispersion(**settings))


def test_elements_without_coefficients(library: Any) -> None:
    """The library would end the whole process."""
    heavy = frame(Atoms(["H", HEAVIEST + 1], [[0, 0, 0], [0, 0, 2]]))
    for check in (lambda: Dispersion().prepared([heavy]), lambda: Dispersion().evaluate(heavy, ())):
        with pytest.raises(SpeciesError, match=r"no coefficients of Am \(t.xyz, frame 7, atom 1\). Fix: leave Disp"):
            check()


def test_failures_of_the_library(library: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = pytest.importorskip("dftd3.interface").DispersionModel

    def broken(self: Any, parameters: Any, grad: bool) -> Any:
        raise RuntimeError("out of luck")

    monkeypatch.setattr(model, "get_dispersion", broken)
    with pytest.raises(DataError, match=r"dftd3 failed: out of luck \(t.xyz, frame 7\). Fix: check the structure"):
        Dispersion().evaluate(frame(silicon()), ("forces",))
    nothing = {"gradient": np.full((8, 3), np.nan), "virial": np.zeros((3, 3))}
    monkeypatch.setattr(model, "get_dispersion", lambda self, parameters, grad: nothing)
    with pytest.raises(DataError, match=r"dftd3 gives NaN or infinite numbers \(t.xyz, frame 7\)"):
        Dispersion().evaluate(frame(silicon()), ("forces",))


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dftd3", None)
    for check in (lambda b: b.prepared([]), lambda b: b.evaluate(frame(silicon()), ())):
        with pytest.raises(ConfigError, match=r"dftd3, which is not installed. Fix: pip install gapkit\[d3\]"):
            check(Dispersion())

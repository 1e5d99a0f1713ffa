"""Ions: what electrostatics give to a model whose kernels see a few Å."""

from __future__ import annotations

import itertools
from functools import lru_cache

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.units import Bohr, Hartree

from gapkit import GAP, Coulomb, GAPCalculator, Noise, SoapTerm, load

R_CUT = 4.0
CHARGES = {"Na": 1.0, "Cl": -1.0}
TRUE_SCALE = 0.8  # of the charges behind the labels
E2 = Hartree * Bohr


def repulsion(atoms: Atoms) -> tuple[float, np.ndarray, np.ndarray]:
    """A Born repulsion of neighbours; energy, forces, virial. Written with ASE's list, not with gapkit's."""
    from ase.neighborlist import neighbor_list

    i, r, vector = neighbor_list("idD", atoms, 6.0)
    energy_p = 800.0 * np.exp(-r / 0.33)
    gradient_pc = (-energy_p / 0.33 / r)[:, None] * vector
    forces = np.zeros((len(atoms), 3))
    np.add.at(forces, i, gradient_pc)
    return 0.5 * energy_p.sum(), forces, 0.5 * vector.T @ gradient_pc


def electrostatics(atoms: Atoms) -> tuple[float, np.ndarray]:
    """Point charges of a cluster, by plain loops."""
    q = [TRUE_SCALE * CHARGES[s] for s in atoms.symbols]
    energy, forces = 0.0, np.zeros((len(atoms), 3))
    for a, b in itertools.combinations(range(len(atoms)), 2):
        vector = atoms.positions[b] - atoms.positions[a]
        r = np.linalg.norm(vector)
        energy += E2 * q[a] * q[b] / r
        forces[a] -= E2 * q[a] * q[b] / r**3 * vector
        forces[b] += E2 * q[a] * q[b] / r**3 * vector
    return energy, forces


def label(atoms: Atoms) -> Atoms:
    """A cluster with the energy and the forces of ions that repel at short distance."""
    short, long = repulsion(atoms), electrostatics(atoms)
    atoms.calc = SinglePointCalculator(atoms, energy=short[0] + long[0], forces=short[1] + long[1])
    return atoms


def cluster(rng: np.random.Generator, shape: tuple[int, int, int], stretch: float) -> Atoms:
    """A rattled block of rock salt, neutral."""
    block = bulk("NaCl", "rocksalt", a=5.6 * stretch, cubic=True).repeat(2)
    keep = (block.positions < np.array(shape) * 2.8 * stretch - 0.1).all(axis=1)
    atoms = Atoms(block.symbols[keep], block.positions[keep])
    atoms.rattle(0.12, rng=rng)
    return label(atoms)


@lru_cache(maxsize=1)
def training() -> list[Atoms]:
    rng = np.random.default_rng(5)
    alone = [label(Atoms(s)) for s in CHARGES]
    shapes = [(2, 1, 1), (2, 2, 1), (2, 2, 2), (4, 2, 1), (4, 1, 1)]
    frames = [cluster(rng, shapes[k % len(shapes)], s) for k, s in enumerate(np.tile(np.linspace(0.94, 1.08, 8), 5))]
    return [*alone, *frames]


@lru_cache(maxsize=3)
def fitted(scale: float | str | None) -> GAP:
    soap = {"r_cut": R_CUT, "n_max": 5, "l_max": 4, "sigma": 0.5}
    soap["weighting"] = {"function": "poly", "r0": R_CUT, "c": 1.0, "m": 1.0}
    baselines = [] if scale is None else [Coulomb(CHARGES, scale=scale, excess="background", width=0.4)]
    noise = Noise(energy=1e-3, forces=0.02)
    return GAP([SoapTerm(soap, n_sparse=120)], noise, baselines=baselines).fit(training())


def fragments(distance: float) -> Atoms:
    """Na2Cl+ and NaCl2-, whose nearest atoms are `distance` apart."""
    positive = Atoms("NaClNa", [(-5.2, 0, 0), (-2.6, 0, 0), (0, 0, 0)])
    negative = Atoms("ClNaCl", [(0, 0, 0), (2.6, 0, 0), (5.2, 0, 0)])
    negative.positions += (distance, 0.3, 0.0)
    return positive + negative


def pull(model: GAP, near: float, far: float) -> float:
    """Energy that it takes to move the fragments apart."""
    return model.predict(fragments(far)).energy - model.predict(fragments(near)).energy


def true_pull(near: float, far: float) -> float:
    return electrostatics(fragments(far))[0] - electrostatics(fragments(near))[0]


@pytest.mark.parametrize("scale", [TRUE_SCALE, "fit"])
def test_charged_fragments_attract_beyond_the_cutoff(scale: float | str) -> None:
    near, far = 2.0 * R_CUT, 4.0 * R_CUT
    expected = true_pull(near, far)
    assert expected > 0.3  # eV
    assert pull(fitted(scale), near, far) == pytest.approx(expected, rel=0.03)
    p = fitted(scale).predict(fragments(near))
    net = np.asarray(p.forces)[:3].sum(axis=0)
    assert net == pytest.approx(electrostatics(fragments(near))[1][:3].sum(axis=0), abs=0.03 * np.linalg.norm(net))


def test_without_electrostatics_they_do_not() -> None:
    assert abs(pull(fitted(None), 2.0 * R_CUT, 4.0 * R_CUT)) < 1e-6  # rounding of weights of 1e5 eV


def test_charges_are_found_from_the_data() -> None:
    (baseline,) = fitted("fit").state_.baselines
    assert baseline.get_params()["scale"] == pytest.approx(TRUE_SCALE, rel=0.03)


def test_tails_help_inside_too() -> None:
    """Held-out clusters: ionic tails are no function of what lies within 4 Å."""
    rng = np.random.default_rng(6)
    new = [cluster(rng, (4, 2, 2), s) for s in (0.96, 1.0, 1.05)]

    def error(model: GAP) -> float:
        return max(float(np.abs(model.predict(a).forces - a.get_forces()).max()) for a in new)

    assert error(fitted("fit")) < 0.5 * error(fitted(None))


def test_saved_model_keeps_its_charges(tmp_path: object) -> None:
    fitted("fit").save(f"{tmp_path}/ions.gap")
    twin, atoms = load(f"{tmp_path}/ions.gap"), fragments(6.0)
    assert twin.predict(atoms).energy == fitted("fit").predict(atoms).energy
    assert "coulomb" in twin.predict(atoms).by_term


def test_dynamics_see_the_charges() -> None:
    """The calculator keeps neighbours of the terms from step to step, and electrostatics has none."""
    atoms, model = fragments(9.0), fitted("fit")
    atoms.calc = GAPCalculator(model)
    assert model.reach == np.inf
    for step in (0.0, 0.2, 0.4):
        moved = fragments(9.0 + step)
        atoms.set_positions(moved.positions)
        assert atoms.get_forces() == pytest.approx(np.asarray(model.predict(moved).forces), abs=1e-9)

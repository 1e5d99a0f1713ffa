"""ASE's molecular dynamics, optimisers, cell filters, phonons and readers with a model as the calculator."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io.trajectory import Trajectory
from ase.md.langevin import Langevin
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS
from ase.phonons import Phonons

from gapkit import GAP, GAPCalculator, Noise, PairTerm, SoapTerm, load
from tests.samples import atom, crystal, fitted, label, soap_arguments, unguarded

try:
    from ase.filters import ExpCellFilter, FrechetCellFilter
except ImportError:  # where they stood before ASE 3.23
    from ase.constraints import ExpCellFilter, FrechetCellFilter


@lru_cache(maxsize=1)
def fcc_model() -> GAP:
    """A model of close packing, which the pair potential of the labels prefers: phonons are stable there."""
    frames = [atom()]
    rng = np.random.default_rng(0)
    for scale in np.linspace(0.94, 1.08, 8):
        atoms = bulk("Si", "fcc", a=3.15 * scale, cubic=True)
        atoms.positions += rng.uniform(-0.12, 0.12, (4, 3))
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + rng.uniform(-0.03, 0.03, (3, 3))), scale_atoms=True)
        frames.append(label(atoms))
    terms = [PairTerm(3.5, n_sparse=12), SoapTerm(soap_arguments(), zeta=2, n_sparse=8, delta=0.1)]
    return GAP(terms, Noise(energy=0.001, forces=0.02, stress=0.01)).fit(frames)


def hot(skin: float = 1.0, model: GAP | None = None) -> Atoms:
    """32 atoms of close packing at about 700 K; the third shell is at 3.63 Å, the cutoff at 3.6."""
    atoms = bulk("Si", "fcc", a=2.96, cubic=True) * 2
    rng = np.random.default_rng(1)
    atoms.positions += rng.normal(scale=0.03, size=(32, 3))
    atoms.calc = GAPCalculator(model or fcc_model(), skin=skin)
    velocities = rng.normal(size=(32, 3)) * np.sqrt(700 * units.kB / atoms.get_masses())[:, None]
    atoms.set_velocities(velocities - velocities.mean(axis=0))
    return atoms


def test_verlet_conserves_energy_and_momentum() -> None:
    atoms, energies = hot(), []
    dynamics = VelocityVerlet(atoms, 1.0 * units.fs)
    dynamics.attach(lambda: energies.append(atoms.get_total_energy()), interval=1)
    dynamics.run(80)
    kinetic = atoms.get_kinetic_energy()
    assert kinetic > 0.5
    assert np.std(energies) < 2e-3 * kinetic
    assert np.abs(atoms.get_momenta().sum(axis=0)).max() < 1e-9


def test_skin_does_not_change_the_trajectory() -> None:
    """Half of the smaller skin is left behind several times within the run, half of the larger never."""
    found = []
    for skin in (0.0, 0.1, 1.0):
        atoms = hot(skin)
        start = atoms.get_positions()
        VelocityVerlet(atoms, 2.0 * units.fs).run(100)
        found.append(atoms.get_positions())
        assert 0.12 < np.linalg.norm(found[0] - start, axis=1).max() < 0.5
    assert found[1] == pytest.approx(found[0], abs=1e-9)
    assert found[2] == pytest.approx(found[0], abs=1e-9)


def test_langevin_runs_with_a_loaded_model(tmp_path: Path) -> None:
    fcc_model().save(tmp_path / "a.gap")
    found = []
    for model in (fcc_model(), load(tmp_path / "a.gap")):
        atoms = hot(model=model)
        options = {"temperature_K": 700, "friction": 0.02, "fixcm": False, "rng": np.random.default_rng(4)}
        Langevin(atoms, 1.0 * units.fs, **options).run(20)
        found.append(atoms.get_positions())
    assert np.isfinite(found[0]).all()
    assert np.array_equal(found[0], found[1])


@pytest.mark.filterwarnings("ignore:Use FrechetCellFilter:DeprecationWarning")
@pytest.mark.parametrize("cell_filter", [None, FrechetCellFilter, ExpCellFilter])
def test_relaxation(cell_filter: Any) -> None:
    atoms = bulk("Si", "fcc", a=3.2, cubic=True)
    atoms.rattle(0.03, seed=3)
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.005 * np.array([[1, 0.5, 0], [0.5, -1, 0], [0, 0, 0.3]])))
    atoms.calc = GAPCalculator(fcc_model())
    before = atoms.get_potential_energy()
    optimiser = BFGS(atoms if cell_filter is None else cell_filter(atoms), logfile=None)
    assert optimiser.run(fmax=1e-4, steps=150)
    assert atoms.get_potential_energy() < before - 1e-3
    assert np.abs(atoms.get_forces()).max() < 1e-4
    if cell_filter is not None:
        assert np.abs(atoms.get_stress()).max() * atoms.get_volume() < 1e-3
        assert atoms.get_potential_energy() < before - 0.05  # the cell was too wide


def test_phonons(tmp_path: Path) -> None:
    """Three acoustic branches that vanish at Γ without being forced to, and real frequencies elsewhere."""
    atoms = bulk("Si", "fcc", a=3.15)
    atoms.calc = GAPCalculator(fcc_model())
    assert BFGS(FrechetCellFilter(atoms), logfile=None).run(fmax=1e-6, steps=100)
    phonons = Phonons(atoms, GAPCalculator(fcc_model()), supercell=(3, 3, 3), delta=0.01, name=str(tmp_path / "phonon"))
    phonons.run()
    phonons.read(acoustic=False)
    at_gamma, along = phonons.band_structure(np.array([[0.0, 0.0, 0.0], [0.5, 0.5, 0.0]]), verbose=False)
    assert np.abs(at_gamma).max() < 0.02 * along.max()
    assert along.min() > 0.3 * along.max()
    force_constants = phonons.get_force_constant()
    total = force_constants.sum(axis=0)
    assert np.abs(total).max() < 1e-6 * np.abs(force_constants).max()


def test_trajectory_and_single_point_keep_the_results(tmp_path: Path) -> None:
    atoms = crystal(3).copy()
    atoms.calc = GAPCalculator(fitted(), to_atoms=True)
    atoms.get_stress()
    with Trajectory(tmp_path / "run.traj", "w", atoms) as trajectory:
        trajectory.write()
    frozen = SinglePointCalculator(atoms, **atoms.calc.results)
    for twin in (ase.io.read(tmp_path / "run.traj"), frozen.get_atoms()):
        assert twin.get_potential_energy() == atoms.get_potential_energy()
        assert np.array_equal(twin.get_forces(), atoms.get_forces())
        assert np.array_equal(twin.get_stress(), atoms.get_stress())
        assert np.array_equal(twin.get_potential_energies(), atoms.get_potential_energies())


def test_predictions_of_a_model_are_labels_of_the_next(tmp_path: Path) -> None:
    """What the calculator writes, `fit` reads: through a file, with its stress and its signs."""
    frames = []
    for k in range(8):
        atoms = crystal(k).copy()
        atoms.calc = GAPCalculator(unguarded())
        atoms.get_stress()
        frames.append(atoms)
    ase.io.write(tmp_path / "train.xyz", frames)
    read = ase.io.read(tmp_path / "train.xyz", ":")
    noise = Noise(energy=1e-4, forces=1e-3, stress=1e-3)
    student = GAP(unguarded().terms, noise, baselines=[], e0={"Si": -2.5}).fit(read)
    test = crystal(3)
    teacher = unguarded().predict(test)
    assert student.predict(test).energy == pytest.approx(teacher.energy, abs=0.01)
    assert student.predict(test).forces == pytest.approx(teacher.forces, abs=0.05)
    assert student.predict(test).stress == pytest.approx(teacher.stress, abs=0.003)

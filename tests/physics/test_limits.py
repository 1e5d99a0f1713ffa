"""Limits of a fit: laws 14 (ignorance), 17 (blocks and order) and the exact stress of the issue."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from sklearn.base import clone

from gapkit import GAP, Noise, PairTerm, SoapTerm
from gapkit.testing import ALGEBRA, alike, near, same_evidence, zoo
from gapkit.units import VOIGT
from tests.physics.conftest import Fitted, soap
from tests.physics.toy import labelled

STD = {"energy", "energy_std", "energies_std"}
EVERYTHING = STD | {"energies", "forces"}


def dimer(symbols: str, r: float) -> Atoms:
    return Atoms(symbols, positions=[[0.0, 0.0, 0.0], [0.6 * r, 0.8 * r, 0.0]])


def fitted_to_pure_dimers(term: Any) -> GAP:
    """Silicon has only met silicon, oxygen only oxygen."""
    frames = [labelled(dimer(symbols, r)) for symbols in ("Si2", "O2") for r in (1.6, 1.9, 2.2)]
    return GAP([term], Noise(0.01, 0.1, None), e0={"Si": -1.4, "O": -0.8}).fit(frames)


def test_a_bond_never_seen_has_its_prior_variance() -> None:
    """E = f(r) g(r) of a dimer: σ is f δ, and half of it for each atom."""
    model = fitted_to_pure_dimers(PairTerm(r_cut=4.0, width=1.0, delta=0.7, n_sparse=5))
    for r, f in ((1.9, 1.0), (3.5, 0.5), (4.1, 0.0)):
        p = model.predict(dimer("SiO", r), STD)
        near(p.energy, -2.2, ALGEBRA, "a bond without data has an energy")
        std = [p.energy_epistemic_std, *p.energies_epistemic_std]
        near(std, 0.7 * f * np.array([1.0, 0.5, 0.5]), ALGEBRA, "σ is not the prior's")
    assert model.predict(dimer("Si2", 1.9), STD).energy_epistemic_std < 0.1


def test_an_environment_orthogonal_to_all_has_its_prior_variance() -> None:
    """Without the centre in its own density, the spectra of Si in Si and of Si in O have no feature in common."""
    weighting = {"function": "poly", "r0": 4.0, "c": 1.0, "m": 1.0, "w0": 0.0}
    arguments = {"species": ["Si", "O"], "r_cut": 4.0, "n_max": 2, "l_max": 2, "sigma": 0.5, "weighting": weighting}
    model = fitted_to_pure_dimers(SoapTerm(arguments, zeta=2, delta=1.3, n_sparse={"Si": 3, "O": 3}))
    p = model.predict(dimer("SiO", 1.9), STD)
    near(p.energy, -2.2, ALGEBRA, "an environment without data has an energy")
    std = [p.energy_epistemic_std, *p.energies_epistemic_std]
    near(std, 1.3 * np.array([np.sqrt(2.0), 1.0, 1.0]), ALGEBRA, "σ is not the prior's")
    assert max(model.predict(dimer("Si2", 1.9), STD).energies_epistemic_std) < 0.1


def test_uncertainty_grows_away_from_the_data(silicon_sum: Fitted) -> None:
    squeezed = zoo(["Si"], seed=7)["supercell"]
    known = silicon_sum.model.predict(squeezed, STD)
    squeezed.set_cell(0.8 * squeezed.cell.array, scale_atoms=True)
    unknown = silicon_sum.model.predict(squeezed, STD)
    assert unknown.energies_epistemic_std.min() > known.energies_epistemic_std.max()


def test_block_sizes_change_nothing(silicon_sum: Fitted, monkeypatch: pytest.MonkeyPatch) -> None:
    """Centres of a prediction and of a covariance, bytes of training rows, structures together, rows of a fold."""
    others = list(zoo(["Si"], seed=7).values())
    before = [silicon_sum.model.predict(atoms, EVERYTHING) for atoms in others]
    monkeypatch.setattr("gapkit.model.memory.BLOCK", 3)
    monkeypatch.setattr("gapkit.gp.term.BLOCK", 2)
    monkeypatch.setattr("gapkit.gp.covariance._SITES", 3)
    monkeypatch.setattr("gapkit.gp.covariance._BYTES", 2e4)
    monkeypatch.setattr("gapkit.model.memory._FOLDS", (7,))
    monkeypatch.setattr("gapkit.model.memory.BLOCK_BYTES", 2e4)
    monkeypatch.setattr("gapkit.model.memory.TOGETHER", 1)
    again = clone(silicon_sum.model).fit(silicon_sum.frames, rng=0)
    same_evidence(again, silicon_sum.model, "block size changes the evidence")
    for atoms, p in zip(others, before, strict=True):
        alike(silicon_sum.model.predict(atoms, EVERYTHING), p, "block size changes a prediction")
        alike(again.predict(atoms, EVERYTHING), p, "block size changes a fit")


def test_order_of_frames_changes_nothing(silicon_sum: Fitted, tmp_path: Path) -> None:
    """On the same sparse points."""
    rng = np.random.default_rng(0)
    np.save(tmp_path / "points.npy", rng.normal(size=(20, 24)))
    term = SoapTerm(soap(4.5, 3, 3), zeta=3, method=tmp_path / "points.npy")
    order = rng.permutation(len(silicon_sum.frames))
    one = GAP([term], Noise(0.005, 0.05, 0.01)).fit(silicon_sum.frames)
    other = GAP([term], Noise(0.005, 0.05, 0.01)).fit([silicon_sum.frames[k] for k in order])
    same_evidence(other, one, "order of frames changes the evidence")
    for atoms in zoo(["Si"], seed=7).values():
        alike(other.predict(atoms, EVERYTHING), one.predict(atoms, EVERYTHING), "order of frames")


def stress_is_strain_derivative(model: GAP, atoms: Atoms, n_points: int = 41) -> None:
    """Each component to 1e-6 of the largest; a polynomial through many energies averages their rounding."""
    predicted = model.predict(atoms, {"stress"}).stress
    strains = np.linspace(-0.0002, 0.0002, n_points)  # few pairs cross the cutoff in that range
    for v, (a, b) in enumerate(VOIGT):
        way = np.zeros((3, 3))
        way[a, b] += 0.5
        way[b, a] += 0.5
        energies = []
        for h in strains:
            strained = atoms.copy()
            strained.set_cell(atoms.cell.array @ (np.eye(3) + h * way), scale_atoms=True)
            energies.append(model.predict(strained, {"energy"}).energy)
        slope = np.polynomial.Polynomial.fit(strains, energies, 3).deriv()(0.0) / atoms.get_volume()
        assert abs(predicted[v] - slope) <= 1e-6 * np.abs(predicted).max()


@pytest.mark.parametrize("name", ["supercell", "skewed"])
def test_stress_of_a_stress_trained_fit_is_the_strain_derivative(silicon_sum: Fitted, name: str) -> None:
    stress_is_strain_derivative(silicon_sum.model, zoo(["Si"], seed=7)[name])

"""Covariance of forces and stress: against differences of energies, and by the laws of mechanics."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ase import Atoms

from gapkit import GAP, ConfigError, PairTerm
from gapkit.atoms.labels import to_frame
from gapkit.atoms.neighbours import NeighbourList
from gapkit.gp import covariance
from gapkit.gp.covariance import energy_prior, force_covariance_prior, force_prior, virial_prior
from tests.samples import atom, cluster, crystal, fitted, fitted_two


def pairs_of(model: GAP, atoms: Atoms) -> Any:
    return NeighbourList(model.reach).pairs(to_frame(atoms, labels=False))


def energy_covariance(model: GAP, one: Atoms, other: Atoms) -> float:
    """Prior covariance of two total energies, from the variance of both together."""
    terms = model.state_.terms
    single = [energy_prior(terms, [pairs_of(model, atoms)]) for atoms in (one, other)]
    return 0.5 * (energy_prior(terms, [pairs_of(model, one), pairs_of(model, other)]) - sum(single))


def moved(atoms: Atoms, e: int, c: int, h: float) -> Atoms:
    copy = atoms.copy()
    copy.positions[e, c] += h
    return copy


def strained(atoms: Atoms, v: int, h: float) -> Atoms:
    a, b = [(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)][v]
    strain = np.zeros((3, 3))
    strain[a, b] += 0.5 * h
    strain[b, a] += 0.5 * h
    copy = atoms.copy()
    copy.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
    return copy


def mixed_difference(function: Any, step: float = 1e-3) -> float:
    """∂²f/∂a∂b at zero, by central differences of fourth order in each."""
    points = [(-2.0, 1 / 12), (-1.0, -2 / 3), (1.0, 2 / 3), (2.0, -1 / 12)]
    return sum(p * q * function(a * step, b * step) for a, p in points for b, q in points) / step**2


MODELS = {"one element": (fitted, "Si4"), "two elements": (fitted_two, "SiCSi2")}


@pytest.mark.parametrize("name", MODELS)
def test_force_covariance_is_the_second_difference_of_that_of_energies(name: str) -> None:
    make, symbols = MODELS[name]
    model, atoms = make(), cluster(3, symbols)
    found = force_covariance_prior(model.state_.terms, pairs_of(model, atoms))
    for (i, a), (j, b) in [((0, 0), (0, 0)), ((1, 2), (1, 0)), ((0, 1), (3, 1)), ((2, 0), (1, 2))]:
        expected = mixed_difference(
            lambda x, y, i=i, a=a, j=j, b=b: energy_covariance(model, moved(atoms, i, a, x), moved(atoms, j, b, y))
        )
        assert found[3 * i + a, 3 * j + b] == pytest.approx(expected, abs=2e-6 * np.abs(found).max())


def test_virial_covariance_is_the_second_difference_of_that_of_energies() -> None:
    model, atoms = fitted(), crystal(5)
    found = virial_prior(model.state_.terms, pairs_of(model, atoms))
    for u, v in [(0, 0), (0, 2), (3, 3), (5, 1)]:
        expected = mixed_difference(
            lambda x, y, u=u, v=v: energy_covariance(model, strained(atoms, u, x), strained(atoms, v, y))
        )
        assert found[u, v] == pytest.approx(expected, abs=2e-6 * np.abs(found).max())


@pytest.mark.parametrize("atoms", [crystal(4), cluster(4, "Si6")], ids=["crystal", "cluster"])
def test_laws_of_mechanics_hold_in_every_sample(atoms: Atoms) -> None:
    model = fitted()
    prior = force_covariance_prior(model.state_.terms, pairs_of(model, atoms))
    scale = np.abs(prior).max()  # the posterior is a difference of numbers of this size
    for total in (prior, model.predict(atoms, {"forces_covariance"}).forces_covariance):
        assert total == pytest.approx(total.T, abs=1e-12 * scale)
        assert np.linalg.eigvalsh(total).min() > -1e-11 * scale
        n = len(atoms)
        net = total.reshape(3 * n, n, 3).sum(axis=1)
        assert np.abs(net).max() < 1e-11 * scale  # forces of every sample add up to zero
        if not atoms.pbc.any():
            spins = np.stack([np.cross(np.eye(3)[c], atoms.positions).ravel() for c in range(3)])
            assert np.abs(total @ spins.T).max() < 1e-11 * scale * np.abs(atoms.positions).max()


def test_variances_are_the_diagonal() -> None:
    model = fitted_two()
    for atoms in (crystal(2, symbols="SiC"), cluster(2, "SiCSi2C2")):
        terms, pairs = model.state_.terms, pairs_of(model, atoms)
        whole = force_covariance_prior(terms, pairs)
        assert force_prior(terms, pairs).ravel() == pytest.approx(np.diagonal(whole), rel=1e-12)
        p = model.predict(atoms, {"forces_std", "forces_covariance"})
        assert p.forces_epistemic_std.ravel() ** 2 == pytest.approx(np.diagonal(p.forces_covariance), abs=1e-10)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model, atoms = fitted_two(), crystal(2, symbols="SiC")
    terms, pairs = model.state_.terms, pairs_of(model, atoms)
    before = force_prior(terms, pairs), virial_prior(terms, pairs), energy_prior(terms, [pairs])
    monkeypatch.setattr(covariance, "_SITES", 3)
    monkeypatch.setattr(covariance, "_BYTES", 1.0)
    after = force_prior(terms, pairs), virial_prior(terms, pairs), energy_prior(terms, [pairs])
    for one, other in zip(before, after, strict=True):
        assert other == pytest.approx(one, rel=1e-11)


def test_sites_without_sparse_points_keep_their_prior() -> None:
    """A bond of two elements that the training data never had together."""
    frames = [atom("Si"), atom("C"), cluster(1, "Si4"), cluster(2, "C4")]
    model = GAP(fitted_two().state_.settings, fitted_two().noise).fit(frames)
    apart = model.predict(Atoms("Si4", cluster(1, "Si4").positions), {"forces_std"})
    foreign = model.predict(Atoms("Si2C2", cluster(1, "Si4").positions), {"forces_std"})
    one, other = (np.sqrt(np.mean(p.forces_epistemic_std**2)) for p in (apart, foreign))
    assert other > 10.0 * one


def test_too_large_for_memory_says_what_to_do() -> None:
    model = GAP(fitted().state_.settings, fitted().noise, max_memory=2_000)
    model.state_ = fitted().state_
    with pytest.raises(ConfigError, match=r"forces_std of 2 atoms needs .* raise max_memory"):
        model.predict(crystal(1), {"forces_std"})


def test_more_memory_than_the_usual_ceiling_can_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = fitted().predict(crystal(1), {"forces_std"}).forces_std
    monkeypatch.setattr("gapkit.model.memory.PREDICTION_BYTES", 2_000.0)
    monkeypatch.setattr("gapkit.model.predict.PREDICTION_BYTES", 2_000.0)
    model = GAP(fitted().state_.settings, fitted().noise)
    model.state_ = fitted().state_
    with pytest.raises(ConfigError, match="raise max_memory"):
        model.predict(crystal(1), {"forces_std"})
    model.max_memory = "1MB"  # as the error says
    assert model.predict(crystal(1), {"forces_std"}).forces_std == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("theta", [0.05, 0.15, 0.17, 0.8])
def test_short_length_scales_have_the_same_covariance(theta: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the series of the kernel would underflow, its values are summed."""
    model = GAP([PairTerm(r_cut=5.5, n_sparse=4, theta=theta)], fitted().noise).fit([atom(), cluster(1), cluster(2)])
    terms, pairs = model.state_.terms, pairs_of(model, cluster(5, "Si6"))
    found = force_prior(terms, pairs), virial_prior(terms, pairs), energy_prior(terms, [pairs])
    monkeypatch.setattr("gapkit.gp.series.WIDEST", 0.0)
    direct = force_prior(terms, pairs), virial_prior(terms, pairs), energy_prior(terms, [pairs])
    for one, other in zip(found, direct, strict=True):
        assert one == pytest.approx(other, rel=1e-9, abs=1e-9 * np.abs(other).max())

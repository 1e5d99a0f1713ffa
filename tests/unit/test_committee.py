"""Samples of the posterior: ordinary models, in one pass, and with the covariance that the model says they have."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms

from gapkit import GAP, Committee, ConfigError, SpeciesError, load
from gapkit.atoms.labels import to_frame
from gapkit.atoms.neighbours import NeighbourList
from gapkit.gp.design import frame_rows
from tests.samples import cluster, crystal, fitted, fitted_two


def test_members_are_models() -> None:
    members = fitted().sample(3, rng=1)
    assert isinstance(members, Committee)
    assert len(members) == len(list(members)) == 3
    assert all(isinstance(member, GAP) for member in members)
    assert isinstance(members[:2], Committee)
    assert fitted().sample(2, rng=1)[1].predict(crystal(1)).energy == members[1].predict(crystal(1)).energy
    assert members[0].predict(crystal(1)).energy != members[1].predict(crystal(1)).energy


def test_one_pass_says_what_each_member_says() -> None:
    for model, atoms in ((fitted(), crystal(1)), (fitted_two(), cluster(2, "SiCSi2C2"))):
        members = model.sample(3, rng=2)
        for together, member in zip(members.predict(atoms), members, strict=True):
            alone = member.predict(atoms)
            assert together.energy == pytest.approx(alone.energy, abs=1e-11)
            assert together.forces == pytest.approx(alone.forces, abs=1e-11)
            assert (together.stress is None) == (alone.stress is None)
            if alone.stress is not None:
                assert together.stress == pytest.approx(alone.stress, abs=1e-12)
            assert together.by_term == pytest.approx(alone.by_term, abs=1e-11)
        assert [p.energies.sum() for p in members.predict(atoms, {"energies"})] == pytest.approx(
            [p.energy for p in members.predict(atoms, {"energy"})], abs=1e-11
        )


def test_their_covariance_is_the_analytic_one() -> None:
    """To four standard errors: that of a variance of n samples is √(2/n) of it."""
    model, n = fitted(), 4000
    for atoms in (crystal(8), cluster(8)):
        p = model.predict(atoms, {"energy", "forces", "forces_std"})
        found = model.sample(n, rng=3).predict(atoms, {"energy", "forces"})
        force_nf = np.array([q.forces.ravel() for q in found])
        energy_n = np.array([q.energy for q in found])
        data = _data_part(model, atoms)
        assert np.var(energy_n) == pytest.approx(data["energy"], rel=4.0 * np.sqrt(2.0 / n))
        assert np.var(force_nf, axis=0) == pytest.approx(data["forces"], rel=5.0 * np.sqrt(2.0 / n))
        assert np.abs(energy_n.mean() - p.energy) < 4.0 * np.sqrt(data["energy"] / n)
        # no sample shows what the sparse points do not span
        assert (np.var(force_nf, axis=0) < 1.2 * p.forces_epistemic_std.ravel() ** 2).all()


def _data_part(model: GAP, atoms: Atoms) -> dict[str, np.ndarray]:
    """k*ᵀA⁻¹k* of energy and forces."""
    pairs = NeighbourList(model.reach).pairs(to_frame(atoms, labels=False))
    rows = frame_rows(model.state_.terms, pairs, {"forces"})
    variances = model.state_.posterior.variances
    return {
        "energy": variances(rows.energy_m[None], np.zeros(1))[0][0],
        "forces": variances(rows.forces_nm, np.zeros(len(rows.forces_nm)))[0],
    }


def test_a_member_can_be_saved(tmp_path: Path) -> None:
    member = fitted().sample(1)[0]
    member.save(tmp_path / "member.gap")
    assert load(tmp_path / "member.gap").predict(crystal(1)).energy == member.predict(crystal(1)).energy


def test_what_a_committee_cannot_do() -> None:
    members = fitted().sample(2)
    with pytest.raises(ConfigError, match="committee cannot give 'forces_std'"):
        members.predict(crystal(1), {"forces_std"})
    with pytest.raises(SpeciesError, match="Species not covered"):
        members.predict(crystal(1, symbols="SiC"))
    with pytest.raises(ConfigError, match="n=0"):
        fitted().sample(0)

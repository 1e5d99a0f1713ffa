"""Leaving structures out of a fit in one pass against honest refits on the same sparse points."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms

from gapkit import GAP, ConfigError, DataError, Noise, Residuals, SoapTerm
from gapkit.atoms.labels import to_frames
from gapkit.model.residuals import residuals
from gapkit.typing import KINDS
from tests.samples import cluster, crystal, fitted, frames, fresh, model, soap_arguments


def soap_model(**changes: object) -> GAP:
    """Without the pair term, whose weights of 1e5 magnify rounding to 1e-7 of the errors that are compared, and with
    so few points that theirs stay small, too: with eight, rounding is 1e-9 to 1e-8 whatever the order of operations."""
    return model(**{"terms": [SoapTerm(soap_arguments(), zeta=2, n_sparse=5)], **changes})


def refit(fit: GAP, structures: list[Atoms], keep: list[bool]) -> GAP:
    """The same sparse points, with the labels of some of the structures."""
    return fresh(fit, [a for a, k in zip(structures, keep, strict=True) if k])


def assert_same(found: Residuals, expected: Residuals, mine: np.ndarray) -> None:
    for name in ("error_xc", "data_xc", "prior_xc", "std_xc"):
        value, other = getattr(found, name)[mine], getattr(expected, name)
        assert value == pytest.approx(other, abs=1e-8 * np.abs(other).max()), name
    for name in ("aleatoric_x", "atom_x", "species_x"):
        assert np.array_equal(getattr(found, name)[mine], getattr(expected, name)), name


def test_leaving_a_frame_out_is_a_refit() -> None:
    structures = frames(8)
    fit = soap_model().fit(structures)
    found = fit.leave_one_out(structures)
    assert set(found) == set(KINDS)
    for s in range(1, len(structures)):
        honest = refit(fit, structures, [k != s for k in range(len(structures))]).residuals([structures[s]])
        for kind, expected in honest.items():
            assert_same(found[kind], expected, found[kind].frame_x == s)
    in_sample = fit.residuals(structures)
    for kind in KINDS:  # and it is no residual of the fit
        assert (found[kind].data_xc > in_sample[kind].data_xc).all()
        assert np.mean(found[kind].error_xc ** 2) > np.mean(in_sample[kind].error_xc ** 2)


def test_leaving_a_group_out_is_a_refit() -> None:
    structures = frames(8)
    fit = soap_model().fit(structures)
    found = fit.leave_one_out(structures, by="config_type")
    for group in ("crystal", "cluster"):
        own = [s for s, a in enumerate(structures) if a.info.get("config_type") == group]
        honest = refit(fit, structures, [s not in own for s in range(len(structures))])
        for kind, expected in honest.residuals([structures[s] for s in own]).items():
            assert_same(found[kind], expected, np.isin(found[kind].frame_x, own))


def test_masks_and_own_sigmas_are_those_of_the_fit() -> None:
    structures = frames(6)
    structures[2].arrays["force_mask"] = np.array([True, False, False, False])
    structures[3].info["energy_sigma"] = 0.01
    structures[4].arrays["force_atom_sigma"] = np.linspace(0.02, 0.3, 4)
    fit = soap_model(noise=Noise(0.002, 0.05, None)).fit(structures)
    found = fit.leave_one_out(structures)
    assert set(found) == {"energy", "forces"}  # stresses were not in the fit
    assert found["forces"].atom_x[found["forces"].frame_x == 2].tolist() == [1, 2, 3]
    for s in (2, 3, 4):
        honest = refit(fit, structures, [k != s for k in range(len(structures))]).residuals([structures[s]])
        for kind in found:
            assert_same(found[kind], honest[kind], found[kind].frame_x == s)


def test_residuals_are_errors_of_predictions() -> None:
    fit, structures = fitted(), [crystal(11), cluster(12)]
    found = fit.residuals(structures)
    for s, atoms in enumerate(structures):
        p = fit.predict(atoms, {"energy", "forces", "energy_std", "forces_std"})
        n = len(atoms)
        forces, energy = found["forces"], found["energy"]
        mine = forces.frame_x == s
        assert forces.error_xc[mine] == pytest.approx(p.forces - atoms.get_forces(), abs=1e-9)
        assert forces.std_xc[mine] == pytest.approx(p.forces_std, rel=1e-9)
        assert n * energy.error_xc[s, 0] == pytest.approx(p.energy - atoms.get_potential_energy(), abs=1e-9)
        assert n * energy.std_xc[s, 0] == pytest.approx(p.energy_std, rel=1e-9)
    stress = found["stress"]
    p = fit.predict(structures[0], {"stress", "stress_std"})
    assert stress.frame_x.tolist() == [0]
    assert stress.error_xc[0] == pytest.approx(p.stress - structures[0].get_stress(), abs=1e-10)
    assert stress.std_xc[0] == pytest.approx(p.stress_std, rel=1e-9)
    assert stress.aleatoric_x[0] == pytest.approx(0.02 * np.sqrt(2.0) / structures[0].get_volume())
    assert forces.rms_error_x == pytest.approx(np.linalg.norm(forces.error_xc, axis=1) / np.sqrt(3.0))
    assert forces.rms_std_x == pytest.approx(np.linalg.norm(forces.std_xc, axis=1) / np.sqrt(3.0))


def test_workers_change_nothing() -> None:
    structures = frames(6)
    one, two = soap_model().fit(structures), soap_model(n_jobs=2).fit(structures)
    for kind, expected in one.leave_one_out(structures).items():
        found = two.leave_one_out(structures)[kind]
        assert np.array_equal(found.error_xc, expected.error_xc)
        assert np.array_equal(found.frame_x, expected.frame_x)


def test_what_was_not_in_the_fit_cannot_be_left_out() -> None:
    structures = frames(6)
    with pytest.raises(DataError, match=r"not in the fit \(frame 1\).*training frames"):
        fitted().leave_one_out([structures[1], crystal(77)])
    with pytest.raises(ConfigError, match=r"by='group' does not exist.*config_type"):
        fitted().leave_one_out(structures, by="group")


def test_a_whole_group_needs_data_and_another_group() -> None:
    structures = frames(4)
    fit, crystals = soap_model().fit(structures), [structures[1], structures[3]]
    fit.state_ = replace(fit.state_, rows=[p for p in fit.state_.rows if p.key.group in ("", "crystal")])
    with pytest.raises(ConfigError, match="all frames of the fit are of config_type 'crystal'"):
        fit.leave_one_out(crystals, by="config_type")
    fit.state_ = replace(fit.state_, rows=None)
    with pytest.raises(ConfigError, match="saved without its compressed data"):
        fit.leave_one_out(crystals, by="config_type")


def test_isolated_atoms_have_no_residual() -> None:
    structures = frames(4)
    found = residuals(fitted().state_, to_frames(structures), 1, 1e9)
    assert 0 not in found["energy"].frame_x


def test_the_ceiling_on_memory_holds_and_can_be_raised() -> None:
    structures, large = frames(4), cluster(3)
    for given in (2_000, "2kB"):
        fit = soap_model(max_memory=given)
        fit.state_ = fitted().state_
        for ask in (fit.residuals, fit.leave_one_out):
            with pytest.raises(ConfigError, match=r"forces_std.* of . atoms needs .* raise max_memory"):
                ask(structures)
    need = 72 * len(large) * len(fitted().state_.posterior.weights_m)
    fit = soap_model(max_memory=need)
    fit.state_ = fitted().state_
    assert fit.predict(large, {"forces_std"}).forces_std.shape == (4, 3)

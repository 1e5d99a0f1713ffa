"""Rows of validation frames that are kept: the errors of any weights of the same sparse points, without a kernel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms

from gapkit import (
    GAP,
    ACSFTerm,
    Cohesion,
    ConfigError,
    DataError,
    External,
    Noise,
    PairTerm,
    SoapTerm,
    SpeciesError,
    evaluate,
    load,
)
from gapkit.units import GPA
from tests.samples import atom, cluster, crystal, fitted, fitted_two, frames, model, soap_arguments, two_species

KINDS = ("energy", "forces", "stress")


def validation() -> list[Atoms]:
    """Crystals and clusters, one of which masks forces, one without energies, and the isolated atom."""
    masked = cluster(7)
    masked.arrays["force_mask"] = np.array([1, 0, 1, 1])  # as in gap_fit, 1 leaves out
    return [crystal(11), masked, crystal(12, kinds=("forces",)), atom(), cluster(13, kinds=("energy",))]


def assert_same(found: Any, made: GAP, structures: list[Atoms]) -> None:
    """Errors are those of `gapkit.evaluate`."""
    expected = evaluate(made, structures)
    assert set(found) == {k for k in KINDS if expected.comparison(k) is not None}
    for kind, errors in found.items():
        comparison = expected.comparison(kind)
        unit = GPA if kind == "stress" else 1.0
        assert errors.mae == pytest.approx(unit * comparison.mae, abs=1e-9)
        assert errors.rmse == pytest.approx(unit * comparison.rmse, abs=1e-9)
        assert errors.n == len(comparison.true_n)


def test_errors_are_those_of_evaluate() -> None:
    assert_same(fitted().held_out(validation()).errors(fitted()), fitted(), validation())
    new = [crystal(21, symbols="SiC"), cluster(22, "SiCSi2C2"), atom("C")]
    assert_same(fitted_two().held_out(new).errors(fitted_two()), fitted_two(), new)


def test_the_mask_and_the_missing_labels_count() -> None:
    held = fitted().held_out(validation())
    assert {kind: errors.n for kind, errors in held.errors(fitted()).items()} == {
        "energy": 4,
        "forces": 6 + 3 + 6,
        "stress": 6,
    }
    assert held.n_frames == 5
    assert held.kinds == KINDS


def test_no_kernel_is_evaluated_for_other_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    made = model().fit(frames())
    held = made.held_out(validation())
    changes = [Noise(0.1, 0.3, None), Noise(1e-4, 0.01, 0.001)]
    monkeypatch.setattr("gapkit.gp.term.SparseTerm.blocks", None)
    found = [held.errors(made.refit(noise)) for noise in changes]
    members = list(made.sample(2))
    sampled = [held.errors(member) for member in members]
    monkeypatch.undo()
    assert found[0]["forces"].mae != pytest.approx(found[1]["forces"].mae, rel=0.05)
    for noise, errors in zip(changes, found, strict=True):
        assert_same(errors, made.refit(noise), validation())
    for member, errors in zip(members, sampled, strict=True):
        assert_same(errors, member, validation())


def test_baselines_and_their_forces_and_stresses_count() -> None:
    baselines = [External("morse", {"r0": 2.2, "rho0": 4.0, "rcut1": 1.0, "rcut2": 1.6}), Cohesion()]
    made = model(baselines=baselines).fit(frames())
    errors = made.held_out(validation()).errors(made)
    assert_same(errors, made, validation())
    assert errors["forces"].rmse < 1e-3  # the labels are those of this calculator


def test_alchemical_and_other_terms() -> None:
    embedded = SoapTerm(soap_arguments(), zeta=2, n_sparse=8, embedding=2, alchemical=True)
    acsf = ACSFTerm({"r_cut": 3.6, "g2_params": [[1.0, 2.0]]}, n_sparse=6)
    made = GAP([embedded, acsf, PairTerm(3.5, n_sparse=6)], Noise()).fit(two_species())
    new = [crystal(21, symbols="SiC"), cluster(22, "SiCSi2C2")]
    held = made.held_out(new)
    assert_same(held.errors(made), made, new)
    assert_same(held.errors(made.refit(Noise(0.5))), made, new)


def test_a_model_from_its_file_is_the_same_model(tmp_path: Path) -> None:
    fitted().save(tmp_path / "a.gap", data=True)
    kept = load(tmp_path / "a.gap")
    assert fitted().held_out(validation()).errors(kept) == fitted().held_out(validation()).errors(fitted())


def test_another_model_is_refused() -> None:
    held = fitted().held_out(validation())
    terms = [PairTerm(r_cut=3.5, n_sparse=6), SoapTerm(soap_arguments(), zeta=2, n_sparse=9)]
    for other in (
        model().fit(frames(8), rng=1),  # other points
        model(terms=terms).fit(frames()),
        model(terms=terms[:1]).fit(frames()),
        model(terms=[terms[0], SoapTerm(soap_arguments(), zeta=3, n_sparse=8)]).fit(frames()),
    ):
        with pytest.raises(ConfigError, match=r"other sparse points.*Fix: call held_out of this model"):
            held.errors(other)
    for other in (model(baselines=[]).fit(frames()), model(e0={"Si": -2.4}).fit(frames())):
        with pytest.raises(ConfigError, match="other e0 or baselines"):
            held.errors(other)


def test_memory_and_threads() -> None:
    made = model(n_jobs=2).fit(frames())
    assert made.held_out(validation()).errors(made) == fitted().held_out(validation()).errors(fitted())
    made.max_memory = "10kB"
    with pytest.raises(ConfigError, match=r"25 rows of \d+ sparse points need .* Fix: raise max_memory"):
        made.held_out(validation())
    made.max_memory = "50MB"
    assert_same(made.held_out(validation()).errors(made), made, validation())


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(SpeciesError, match="The model knows Si"):
        fitted().held_out([crystal(1, symbols="SiC")])
    with pytest.raises(DataError, match="No frame has an energy, forces or a stress"):
        fitted().held_out([Atoms("Si")])
    unseen = cluster(3, kinds=("forces",))
    unseen.arrays["force_mask"] = np.ones(4, dtype=int)
    with pytest.raises(DataError, match="No frame has a label that counts"):
        fitted().held_out([unseen])

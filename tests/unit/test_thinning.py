"""Fewer sparse points from the factors against fits on exactly these points."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms

from gapkit import GAP, ACSFTerm, ConfigError, Noise, PairTerm, SoapTerm, load
from gapkit.descriptors.wider import all_features
from gapkit.gp.posterior import solve
from gapkit.model.fitting import prior_factor, sigmas_of
from gapkit.model.thinning import staying
from tests.samples import (
    atom,
    cluster,
    crystal,
    fitted,
    fitted_two,
    frames,
    fresh,
    model,
    numbers,
    soap_arguments,
    two_species,
)


def on_file(fit: GAP, structures: list[Atoms], n: int, folder: Path, **changes: Any) -> GAP:
    """A fit from scratch on the first n sparse points of the SOAP term of a model, given as a file."""
    (points,) = fit.state_.terms[-1].points.values()
    np.save(folder / "points.npy", all_features(points)[1:n])  # the isolated atom is added by the term itself
    terms = [PairTerm(r_cut=3.5, n_sparse=6), SoapTerm(soap_arguments(), zeta=2, method=str(folder / "points.npy"))]
    return model(terms=terms, **changes).fit(structures)


@pytest.mark.parametrize("n", [2, 3, 7])
def test_it_is_the_fit_on_the_points_that_stay(n: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    structures = frames()
    fit = model().fit(structures)
    before = numbers(fit)
    monkeypatch.setattr("gapkit.gp.term.SparseTerm.blocks", None)  # no kernel row is made
    thin = fit.thinned(n)
    monkeypatch.undo()
    assert thin.state_.terms[1].n_columns == n
    assert np.array_equal(numbers(fit), before)
    expected = on_file(fit, structures, n, tmp_path)
    assert numbers(thin) == pytest.approx(numbers(expected), rel=1e-9, abs=1e-9)
    assert thin.log_evidence_ == pytest.approx(expected.log_evidence_, rel=1e-9)
    ours, theirs = thin.training_["errors"], expected.training_["errors"]
    assert [e["rms"] for e in ours] == pytest.approx([e["rms"] for e in theirs], rel=1e-9)
    assert np.array_equal(thin.state_.hashes, expected.state_.hashes)


def test_what_the_fit_learned_is_learned_again(tmp_path: Path) -> None:
    structures = frames(8)
    terms = [PairTerm(r_cut=3.5, n_sparse=6), SoapTerm(soap_arguments(), zeta=2, n_sparse=8, delta=None)]
    fit = model(terms=terms, noise=None).fit(structures)
    thin = fit.thinned(4)
    (points,) = fit.state_.terms[1].points.values()
    np.save(tmp_path / "points.npy", all_features(points)[1:4])
    terms[1] = SoapTerm(soap_arguments(), zeta=2, method=str(tmp_path / "points.npy"), delta=None)
    expected = model(terms=terms, noise=None).fit(structures)
    assert thin.state_.noise.forces == pytest.approx(expected.state_.noise.forces, rel=1e-9)
    assert thin.state_.noise.forces != fit.state_.noise.forces
    assert thin.state_.terms[1].delta == pytest.approx(expected.state_.terms[1].delta, rel=1e-6)
    assert thin.noise is None


def brute(fit: GAP, thin: GAP, structures: list[Atoms]) -> None:
    """The thin model against rows of all structures on its points."""
    expected, probe = fresh(thin, structures), crystal(9, symbols="SiC" if len(fit.species_) > 1 else "Si")
    assert numbers(thin, probe) == pytest.approx(numbers(expected, probe), rel=1e-9, abs=1e-9)
    assert thin.log_evidence_ == pytest.approx(expected.log_evidence_, rel=1e-9)


def test_species_share_what_stays() -> None:
    fit, structures = fitted_two(), two_species()
    counts = {c: len(p.x_md) for c, p in fit.state_.terms[1].points.items()}
    thin = fit.thinned(5)
    assert {c: len(p.x_md) for c, p in thin.state_.terms[1].points.items()} == {(6,): 3, (14,): 2}
    assert thin.state_.settings[1].n_sparse == thin.terms[1].n_sparse == 5
    brute(fit, thin, structures)
    uneven = fit.thinned({"C": 2})
    assert {c: len(p.x_md) for c, p in uneven.state_.terms[1].points.items()} == {(6,): 2, (14,): counts[(14,)]}
    assert uneven.terms[1].n_sparse == {"C": 2, "Si": counts[(14,)]}
    brute(fit, uneven, structures)
    assert fit.state_.settings[1].n_sparse == 8


@pytest.mark.parametrize(
    "changes",
    [{"embedding": 2, "alchemical": True}, {"embedding": 2}],
    ids=["alchemical", "embedded"],
)
def test_every_kind_of_soap(changes: dict[str, Any]) -> None:
    structures = two_species()
    fit = model(terms=[SoapTerm(soap_arguments(), zeta=2, n_sparse=10, **changes)]).fit(structures)
    brute(fit, fit.thinned(6), structures)


def test_symmetry_functions_and_several_terms() -> None:
    structures = frames()
    terms = [ACSFTerm({"r_cut": 3.5}, n_sparse=5), SoapTerm(soap_arguments(), zeta=2, n_sparse=9)]
    fit = model(terms=terms).fit(structures)
    thin = fit.thinned(6)
    assert [t.n_columns for t in thin.state_.terms] == [5, 6]  # a term with fewer keeps all
    brute(fit, thin, structures)


def test_many_rows_are_made_a_triangle_again() -> None:
    structures = frames(12)
    fit = model(terms=[SoapTerm(soap_arguments(), zeta=2, n_sparse=20)]).fit(structures)
    thin = fit.thinned(6)
    assert max(len(part.factor_nm) for part in thin.state_.rows) == 7
    assert [part.n_rows for part in thin.state_.rows] == [part.n_rows for part in fit.state_.rows]
    brute(fit, thin, structures)


def test_origins_follow() -> None:
    fit = fitted()
    thin, first = fit.thinned(4), fit.state_.slices[1].start
    assert [thin.origin(first + k) for k in range(4)] == [fit.origin(first + k) for k in range(4)]
    used = {int(s) for s in thin.state_.terms[1].origins[(14,)].frame_m if s >= 0}
    assert set(thin.state_.sources) == used
    assert len(used) < len(fit.state_.sources)


def test_the_thin_model_does_what_models_do(tmp_path: Path) -> None:
    structures = frames()
    thin = model().fit(structures).thinned(4)
    thin.save(tmp_path / "thin.gap", data=True)
    assert np.array_equal(numbers(load(tmp_path / "thin.gap")), numbers(thin))
    again = load(tmp_path / "thin.gap").thinned(3)
    assert numbers(again) == pytest.approx(numbers(fitted().thinned(3)), rel=1e-9, abs=1e-9)
    errors = thin.leave_one_out(structures)["forces"].error_xc
    expected = fresh(thin, structures).leave_one_out(structures)["forces"].error_xc
    assert errors == pytest.approx(expected, abs=1e-8)
    other = Noise(energy=0.01, forces=0.2, stress=None)
    assert numbers(thin.refit(other)) == pytest.approx(numbers(fresh(thin, structures)), rel=1e-9, abs=1e-9)


def test_points_that_extend_added_can_go_again() -> None:
    structures, more = frames(), [crystal(41), cluster(42), crystal(43)]
    soap = [SoapTerm(soap_arguments(), zeta=2, n_sparse=8)]
    fit = model(terms=soap).fit(structures)
    expected = fresh(fit, [*structures, *more])
    fit.extend(more, n_sparse=4)
    assert fit.state_.terms[0].n_columns == 12
    thin = fit.thinned(8)
    assert thin.predict(crystal(9)).forces == pytest.approx(expected.predict(crystal(9)).forces, abs=1e-7)
    assert thin.log_evidence_ == pytest.approx(expected.log_evidence_, rel=1e-7)


def test_the_summary_of_an_earlier_fit_is_thinned_too() -> None:
    structures, more = frames(), [crystal(41), cluster(42), crystal(43)]
    fit = model(terms=[SoapTerm(soap_arguments(), zeta=2, n_sparse=8)]).fit(structures)
    expected = fresh(fit.thinned(5), [*structures, *more])
    fit.state_ = replace(fit.state_, rows=None)  # as a model that was saved without data
    thin = fit.extend(more, n_sparse=4).thinned(5)
    assert thin.predict(crystal(9)).forces == pytest.approx(expected.predict(crystal(9)).forces, abs=1e-5)


def test_a_model_of_another_method_is_thinned_by_the_same_rule() -> None:
    fit = model(terms=[SoapTerm(soap_arguments(), zeta=2, n_sparse=8)]).fit(frames())
    fit.fine_tune([atom(), crystal(51), cluster(52)], difference=0.1)
    state, columns = fit.state_, staying(fit.state_.terms, 5)
    thin = fit.thinned(5).state_
    used, sigmas = sigmas_of(state.rows, state.noise)
    part = [replace(p, factor_nm=p.factor_nm[:, [*columns, -1]]) for p in used]
    expected = solve(prior_factor(thin.terms), part, sigmas)
    assert thin.posterior.weights_m == pytest.approx(expected.weights_m, rel=1e-7)


def test_what_cannot_be_thinned_is_said() -> None:
    fit = fitted()
    for n in (0, 9, 2.5, True):
        with pytest.raises(ConfigError, match=r"n_sparse=.* outside its range.*from 1 to 8"):
            fit.thinned(n)
    with pytest.raises(ConfigError, match=r"from 2 to 8"):
        fitted_two().thinned(1)
    with pytest.raises(ConfigError, match=r"names 'Al'.*valid names are Si"):
        fit.thinned({"Al": 3})
    with pytest.raises(ConfigError, match=r"n_sparse\['Si'\]=9"):
        fit.thinned({"Si": 9})
    with pytest.raises(ConfigError, match="no term of the model has environments"):
        model(terms=[PairTerm(r_cut=3.5, n_sparse=6)]).fit(frames()).thinned(3)
    bare = model()
    bare.state_ = replace(fit.state_, rows=None)
    with pytest.raises(ConfigError, match="saved without its compressed data"):
        bare.thinned(3)

"""A model as scikit-learn sees it: clone, parameters, cross-validation and grid search over lists of Atoms."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from dscribe.descriptors import SOAP
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, KFold, ParameterGrid, cross_val_score
from sklearn.utils.validation import check_is_fitted

from gapkit import GAP, GapkitError, Keys, Noise, PairTerm, SoapTerm
from tests.samples import E0, cluster, crystal, fitted, frames, model, soap_arguments

DATA = [crystal(k) if k % 2 else cluster(k) for k in range(12)]
FOLDS = KFold(3, shuffle=True, random_state=0)


def pair_model(**changes: Any) -> GAP:
    """A quick model that needs no isolated atom in its data."""
    terms, noise = [PairTerm(3.5, n_sparse=8)], Noise(0.01, 0.05, 0.05)
    return GAP(**{"terms": terms, "noise": noise, "baselines": [], "e0": E0, **changes})


def test_clone_has_the_same_settings_and_no_fit() -> None:
    original = model(e0=E0, keys=Keys(energy="energy"), n_jobs=2)
    twin = clone(original)
    assert repr(twin.get_params()) == repr(original.get_params())
    assert twin.noise is not original.noise
    assert twin.terms[0] is not original.terms[0]
    learned = clone(fitted())
    assert not hasattr(learned, "state_")
    with pytest.raises(NotFittedError):
        learned.predict(crystal())


def test_clone_fits_the_same_model() -> None:
    soap = SOAP(**soap_arguments(species=["Si"]), periodic=True)
    original = GAP([SoapTerm(soap, zeta=2, n_sparse=6)], Noise(0.01, 0.1, 0.1))
    twins = [original, clone(original), clone(clone(original))]
    energies = {one.fit(frames()).predict(crystal(9)).energy for one in twins}
    assert len(energies) == 1


def test_parameters_are_read_and_set_by_name() -> None:
    one = model()
    assert {"terms", "noise", "e0", "keys", "n_jobs", "noise__energy", "noise__groups"} <= set(one.get_params())
    one.set_params(noise__forces=0.7, n_jobs=2, e0={"Si": -1.0})
    assert (one.noise.forces, one.n_jobs, one.e0) == (0.7, 2, {"Si": -1.0})
    with pytest.raises(ValueError, match="force"):
        one.set_params(noise__force=0.1)
    with pytest.raises(ValueError, match="noice"):
        one.set_params(noice=None)


def test_fitted_or_not() -> None:
    check_is_fitted(fitted())
    with pytest.raises(NotFittedError):
        check_is_fitted(model())


def test_repr_is_short_and_harmless() -> None:
    assert "PairTerm(n_sparse=6, r_cut=3.5)" in repr(model())
    assert "SoapTerm" in repr(fitted())


def test_cross_validation_scores_are_those_by_hand() -> None:
    scores = cross_val_score(pair_model(), DATA, cv=FOLDS, error_score="raise")
    expected = []
    for train, test in FOLDS.split(DATA):
        one = pair_model().fit([DATA[k] for k in train])
        expected.append(one.score([DATA[k] for k in test]))
    assert scores == pytest.approx(expected, rel=1e-12)
    assert scores.min() > 0.9


def test_grid_search_over_noise() -> None:
    search = GridSearchCV(pair_model(), {"noise__forces": [1e-3, 0.05, 100.0]}, cv=FOLDS, error_score="raise").fit(DATA)
    scores = search.cv_results_["mean_test_score"]
    assert search.best_params_["noise__forces"] == [1e-3, 0.05, 100.0][int(np.argmax(scores))]
    assert np.argmin(scores) == 2
    assert search.best_estimator_.noise.forces == search.best_params_["noise__forces"]
    assert search.predict([crystal(20)])[0].energy == search.best_estimator_.predict(crystal(20)).energy
    assert search.score(DATA) > 0.9


def test_grid_search_over_terms_and_whole_noises() -> None:
    grid = {
        "terms": [
            [PairTerm(3.5, n_sparse=3, theta=3.0)],
            [PairTerm(3.5, n_sparse=8)],
            [SoapTerm(soap_arguments(), n_sparse=4)],
        ],
        "noise": [Noise(0.01, 0.05, 0.05), Noise(0.01, None, None)],
    }
    search = GridSearchCV(pair_model(), grid, cv=FOLDS, error_score="raise").fit(DATA)
    assert len(search.cv_results_["params"]) == len(ParameterGrid(grid)) == 6
    best = search.best_params_
    assert isinstance(best["terms"][0], PairTerm)
    assert best["terms"][0].n_sparse == 8
    assert best["noise"].forces == 0.05
    assert isinstance(search.best_estimator_, GAP)


def test_grid_search_with_processes_carries_errors_home() -> None:
    """An error of gapkit survives the way from a process, with its fix."""
    search = GridSearchCV(pair_model(), {"noise__forces": [0.05, 0.1]}, cv=2, n_jobs=2, error_score="raise")
    assert search.fit(DATA).best_score_ > 0.8
    wrong = GridSearchCV(pair_model(), {"noise__forces": [-1.0]}, cv=2, n_jobs=2, error_score="raise")
    with pytest.raises(GapkitError, match="not a positive number") as error:
        wrong.fit(DATA)
    assert "> 0" in error.value.fix


def test_a_combination_that_fails_is_a_low_score_where_the_user_wants_that() -> None:
    search = GridSearchCV(pair_model(), {"noise__forces": [0.05, -1.0]}, cv=2, error_score=-9.0, refit=True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        search.fit(DATA)
    assert any("not a positive number" in str(w.message) for w in caught)
    assert search.best_params_ == {"noise__forces": 0.05}


def test_search_leaves_the_data_alone() -> None:
    before = [(a.positions.copy(), a.cell.array.copy(), dict(a.info), a.calc.results["energy"]) for a in DATA]
    cross_val_score(pair_model(), DATA, cv=2, error_score="raise")
    for atoms, (positions, cell, info, energy) in zip(DATA, before, strict=True):
        assert isinstance(atoms, Atoms)
        assert np.array_equal(atoms.positions, positions)
        assert np.array_equal(atoms.cell.array, cell)
        assert atoms.info == info
        assert atoms.calc.results["energy"] == energy

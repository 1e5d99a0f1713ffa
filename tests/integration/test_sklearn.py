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
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    ParameterGrid,
    cross_val_score,
    cross_validate,
    learning_curve,
)
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.validation import check_is_fitted

from gapkit import GAP, GapkitError, Keys, Noise, PairTerm, SoapTerm, TrajectoryKFold, evaluate, trajectories
from gapkit.tuning import Scorer, Scorers
from tests.conftest import Silicon
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


# ------------------------------------------------------------- scorers, trajectories, pipelines, learning curves

RUNS = [f"run{k // 2}" for k in range(12)]


def only_labelled(structures: list[Atoms]) -> list[Atoms]:
    """A step of a pipeline: frames with forces."""
    return [atoms for atoms in structures if "forces" in atoms.calc.results]


def test_cross_validation_by_groups_with_scorers() -> None:
    for scorer in (Scorer("energy", "mae"), Scorer("forces")):
        options: dict[str, Any] = {"groups": RUNS, "cv": GroupKFold(3), "error_score": "raise"}
        scores = cross_val_score(pair_model(), DATA, scoring=scorer, **options)
        expected = []
        for train, test in GroupKFold(3).split(DATA, groups=RUNS):
            assert not {RUNS[s] for s in train} & {RUNS[s] for s in test}
            one = evaluate(pair_model().fit([DATA[s] for s in train]), [DATA[s] for s in test])
            expected.append(-getattr(getattr(one, scorer.kind), scorer.measure))
        assert scores == pytest.approx(expected, rel=1e-8)


def test_trajectories_are_groups_of_scikit_learn() -> None:
    structures = [cluster(k, symbols) for symbols in ("Si4", "Si5", "Si6") for k in range(4)]
    groups = trajectories(structures)
    scores = cross_val_score(
        pair_model(), structures, groups=groups, cv=GroupKFold(3), scoring=Scorer("forces"), error_score="raise"
    )
    assert scores.shape == (3,)
    found = list(TrajectoryKFold(3).split(structures))
    assert all(not set(groups[train]) & set(groups[test]) for train, test in found)
    ours = cross_val_score(pair_model(), structures, cv=TrajectoryKFold(3), error_score="raise")
    assert len(ours) == TrajectoryKFold(3).get_n_splits(structures) == 3


def test_several_scores_at_once() -> None:
    by_name = {"energy": Scorer("energy"), "forces": Scorer("forces", "mae")}
    found = cross_validate(pair_model(), DATA, cv=FOLDS, scoring=by_name, error_score="raise", return_train_score=True)
    assert {"test_energy", "test_forces", "train_energy", "train_forces"} <= set(found)
    assert found["test_forces"].max() < 0.0
    both = cross_validate(pair_model(), DATA, cv=FOLDS, scoring=Scorers(), error_score="raise")
    assert both["test_forces_mae"] == pytest.approx(found["test_forces"], rel=1e-8)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_search_with_several_scores(n_jobs: int) -> None:
    search = GridSearchCV(
        pair_model(),
        {"noise__forces": [0.05, 100.0]},
        cv=GroupKFold(3),
        scoring=Scorers(("energy", "forces")),
        refit="forces_rmse",
        n_jobs=n_jobs,
        error_score="raise",
    ).fit(DATA, groups=RUNS)
    assert search.best_params_ == {"noise__forces": 0.05}
    assert {"mean_test_energy_mae", "mean_test_forces_rmse"} <= set(search.cv_results_)
    assert Scorer("forces")(search, DATA) == Scorer("forces")(search.best_estimator_, DATA)


def test_a_search_over_settings_of_a_pipeline_of_frames() -> None:
    with_rest = [*DATA, *[cluster(k, kinds=("energy",)) for k in range(3)]]
    pipe = Pipeline([("labelled", FunctionTransformer(only_labelled)), ("gap", pair_model())])
    search = GridSearchCV(pipe, {"gap__noise__forces": [0.05, 100.0]}, cv=FOLDS, scoring=Scorer("forces"))
    search.set_params(error_score="raise").fit(with_rest)
    assert search.best_params_ == {"gap__noise__forces": 0.05}
    fitted_pipe = search.best_estimator_
    assert len(fitted_pipe.named_steps["gap"].state_.hashes) == len(DATA)
    assert fitted_pipe.predict([crystal(20)])[0].energy == fitted_pipe[-1].predict(crystal(20)).energy
    assert fitted_pipe.score(with_rest) > 0.9


def test_learning_curve_of_scikit_learn() -> None:
    sizes, train, test = learning_curve(
        pair_model(), DATA, None, groups=RUNS, train_sizes=[2, 4, 8], cv=GroupKFold(3), scoring=Scorer("forces")
    )
    assert sizes.tolist() == [2, 4, 8]
    assert train.shape == test.shape == (3, 3)
    assert test.mean(axis=1)[2] > test.mean(axis=1)[0]


def test_real_silicon_by_trajectories(silicon: Silicon) -> None:
    """On a few small frames; the strained cells are one trajectory and stay together."""
    few = [atoms for atoms in silicon.train if atoms.info["config_type"] == "Surface"][:8]
    few += [atoms for atoms in silicon.train if atoms.info["config_type"] == "Elastic"][:4]
    noise = Noise(0.01, 0.1, None)
    one = GAP([SoapTerm(soap_arguments(), n_sparse=20)], noise, e0={"Si": -0.8}, baselines=[])
    scores = cross_validate(one, few, cv=TrajectoryKFold(2), scoring=Scorers(), error_score="raise")
    assert scores["test_forces_rmse"].shape == (2,)
    assert -1.0 < scores["test_forces_rmse"].min() < scores["test_forces_mae"].max() < 0.0

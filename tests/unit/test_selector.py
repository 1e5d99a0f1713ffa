"""The transformer of sparse points: the choice of `select`, features whose products are the kernel."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from ase.neighborlist import neighbor_list
from dscribe.descriptors import SOAP
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from gapkit import GapkitError, GapkitWarning
from gapkit.numerics.select import METHODS, select
from gapkit.tuning import SparseSelector
from tests.samples import R_CUT, cluster, soap_arguments

SEEDED = np.random.default_rng(0)
CENTRES = SEEDED.uniform(0.2, 1.0, (6, 12))
X = np.abs(np.repeat(CENTRES, 10, axis=0) + SEEDED.normal(0, 0.05, (60, 12)))


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=1)[:, None]


@pytest.mark.parametrize("method", METHODS)
def test_points_are_those_of_select(method: str) -> None:
    chosen = SparseSelector(8, method=method, random_state=3).fit(X)
    assert np.array_equal(chosen.indices_, select(unit(X), 8, method, 3))
    assert np.allclose(chosen.points_, unit(X)[chosen.indices_], atol=1e-14)
    assert np.array_equal(chosen.get_support(indices=True), np.sort(chosen.indices_))
    assert np.array_equal(np.flatnonzero(chosen.get_support()), np.sort(chosen.indices_))


@pytest.mark.parametrize("zeta", [1, 2, 4])
def test_products_of_features_are_the_part_of_the_kernel_that_the_points_span(zeta: int) -> None:
    chosen = SparseSelector(8, zeta=zeta).fit(X)
    features = chosen.transform(X)
    assert features.shape == (60, 8)
    k_nm = (unit(X) @ chosen.points_.T) ** zeta
    k_mm = (chosen.points_ @ chosen.points_.T) ** zeta
    assert np.allclose(features @ features.T, k_nm @ np.linalg.solve(k_mm, k_nm.T), atol=1e-8)
    mine = features[chosen.indices_]
    assert np.allclose(mine @ mine.T, k_mm, atol=1e-10)


def test_all_points_give_the_whole_kernel() -> None:
    features = SparseSelector(60).fit_transform(X)
    assert np.allclose(features @ features.T, (unit(X) @ unit(X).T) ** 4, atol=1e-8)


def test_scale_of_the_vectors_does_not_matter_and_zeros_have_no_features() -> None:
    chosen = SparseSelector(8).fit(X)
    scaled = X * np.linspace(0.5, 2.0, len(X))[:, None]
    assert np.allclose(chosen.transform(scaled), chosen.transform(X), atol=1e-10)
    assert not chosen.transform(np.zeros((1, 12))).any()


def test_more_points_than_distinct_vectors() -> None:
    twice = np.repeat(X[:5], 3, axis=0)
    with pytest.warns(GapkitWarning, match="5"):
        chosen = SparseSelector(9).fit(twice)
    assert chosen.transform(X).shape == (60, 5)
    assert list(chosen.get_feature_names_out()) == [f"sparseselector{m}" for m in range(5)]


def test_a_sparse_process_on_a_property_of_atoms() -> None:
    """A sum over the neighbours of an atom, from SOAP vectors, by a pipeline and a search over the number of points."""
    soap = SOAP(**soap_arguments(species=["Si"]), periodic=False)
    structures = [cluster(k) for k in range(30)]
    x = np.concatenate([soap.create(atoms) for atoms in structures])
    pairs = [neighbor_list("id", atoms, R_CUT) for atoms in structures]
    y = np.concatenate([np.bincount(i, (1 - (d / R_CUT) ** 2) ** 2, minlength=4) for i, d in pairs])
    pipe = make_pipeline(SparseSelector(), StandardScaler(with_std=False), Ridge(1e-8))
    search = GridSearchCV(pipe, {"sparseselector__n_sparse": [2, 20]}, cv=3, error_score="raise").fit(x, y)
    assert search.best_params_ == {"sparseselector__n_sparse": 20}
    assert search.best_score_ > 0.95
    names = search.best_estimator_[:-2].get_feature_names_out()
    assert len(names) == 20


def test_clones_pickles_and_errors() -> None:
    chosen = SparseSelector(5, method="leverage", zeta=2).fit(X)
    twin = clone(chosen)
    assert repr(twin) == "SparseSelector(method='leverage', n_sparse=5, zeta=2)"
    with pytest.raises(NotFittedError):
        twin.transform(X)
    assert np.array_equal(pickle.loads(pickle.dumps(chosen)).transform(X), chosen.transform(X))
    wrong: list[dict[str, Any]] = [{"method": "fartest"}, {"n_sparse": 0}, {"zeta": 0}, {"zeta": 1.5}]
    for settings in wrong:
        with pytest.raises(GapkitError):
            SparseSelector(**settings).fit(X)
    with pytest.raises(ValueError, match="NaN"):
        SparseSelector(2).fit(np.where(X[0, 0] == X, np.nan, X))
    with pytest.raises(ValueError, match="features"):
        chosen.transform(X[:, :5])


@parametrize_with_checks([SparseSelector(n_sparse=3)])
@pytest.mark.filterwarnings("ignore::gapkit.GapkitWarning")
def test_rules_of_scikit_learn(estimator: Any, check: Any) -> None:
    check(estimator)

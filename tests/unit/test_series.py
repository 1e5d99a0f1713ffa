"""The series of a kernel over sites is the double sum over pairs of sites."""

from __future__ import annotations

import numpy as np
import pytest

from gapkit.gp import series
from gapkit.gp.series import Series
from gapkit.kernels.gaussian import Gaussian
from gapkit.kernels.polynomial import DotProduct

THETA = 1.3


def sites(n: int, n_features: int, rng: np.random.Generator) -> np.ndarray:
    """Features far from zero, spread over a length scale or two."""
    return rng.uniform(0.0, 2.0, (n, n_features)) + [5.0, -3.0, 1.0][:n_features]


def direct(x_sd: np.ndarray, w_st: np.ndarray, rows_std: np.ndarray) -> np.ndarray:
    """Σ_ss' of the kernel with w + ∂·∇ on either side, from its formula, shape (T, T)."""
    apart_ijd = x_sd[:, None] - x_sd
    k_ij = np.exp(-0.5 * np.sum(apart_ijd**2, axis=2) / THETA**2)
    left_itj = -np.einsum("itd,ijd->itj", rows_std, apart_ijd) / THETA**2
    right_jti = np.einsum("jtd,ijd->jti", rows_std, apart_ijd) / THETA**2
    total = np.einsum("it,ij,ju->tu", w_st, k_ij, w_st)
    total += np.einsum("itj,ij,ju->tu", left_itj, k_ij, w_st) + np.einsum("it,ij,jui->tu", w_st, k_ij, right_jti)
    total += np.einsum("itj,ij,jui->tu", left_itj, k_ij, right_jti)
    return total + np.einsum("itd,ij,jud->tu", rows_std, k_ij, rows_std) / THETA**2


@pytest.mark.parametrize("n_features", [1, 2, 3])
def test_series_is_the_double_sum(n_features: int, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(series, "_FUNCTIONS_PER_SITE", 1e9)  # few sites would be summed by pairs
    monkeypatch.setattr(series, "_BATCH", 50_000)
    x_sd = sites(40, n_features, rng)
    w_st, rows_std = rng.normal(size=(40, 2)), rng.normal(size=(40, 2, n_features))
    found = Series.of(Gaussian(THETA), x_sd)
    assert found is not None
    for weights, rows in ((w_st, rows_std), (w_st, None), (None, rows_std)):
        seen_tn = found.sums(weights, rows)
        exact = direct(x_sd, 0.0 * w_st if weights is None else w_st, 0.0 * rows_std if rows is None else rows_std)
        assert seen_tn @ seen_tn.T == pytest.approx(exact, rel=1e-12, abs=1e-12 * np.abs(exact).max())


def test_series_is_used_where_it_pays(rng: np.random.Generator) -> None:
    kernel = Gaussian(THETA)
    assert Series.of(kernel, sites(2, 1, rng)) is not None
    assert Series.of(kernel, sites(20, 3, rng)) is None
    many = Series.of(kernel, sites(4000, 3, rng))
    assert many is not None
    assert 1000 < many.n_functions <= 4 * 4000
    assert Series.of(Gaussian(0.05), sites(4000, 1, rng)) is None  # where its functions underflow
    assert Series.of(kernel, rng.normal(size=(9, 4))) is None
    assert Series.of(DotProduct(2), sites(9, 1, rng)) is None

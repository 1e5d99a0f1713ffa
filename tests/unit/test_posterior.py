"""Weights, variance and evidence against dense formulas, in floats and in decimals."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from gapkit.gp.compress import CompressedRows, RowKey
from gapkit.gp.posterior import Posterior, solve
from gapkit.numerics.factor import jittered_cholesky, qr_triangle
from tests.reference.gaussian_process import arithmetic
from tests.reference.gaussian_process import solve as eliminate

M, SIGMAS, SIZES = 6, (0.1, 0.5, 2.0), (40, 3, 12)


class Data:
    """Rows of three parts with their σ, and K of the sparse points."""

    def __init__(self, rank: int = M) -> None:
        rng = np.random.default_rng(1)
        root = rng.normal(size=(M, rank))
        self.k_mm = root @ root.T + (0.1 * np.eye(M) if rank == M else 0.0)
        self.prior_mm, _ = jittered_cholesky(self.k_mm)
        self.rows = [rng.normal(size=(n, rank)) @ root.T for n in SIZES]
        self.targets = [rng.normal(size=n) for n in SIZES]
        self.scales = [rng.uniform(0.5, 3.0, n) for n in SIZES]
        self.new = rng.normal(size=(5, rank)) @ root.T
        self.k_nm, self.y = np.concatenate(self.rows), np.concatenate(self.targets)
        self.sigma = np.concatenate([s * scale for s, scale in zip(SIGMAS, self.scales, strict=True)])

    def compressed(self) -> list[CompressedRows]:
        parts = []
        for k, (rows, y, scale) in enumerate(zip(self.rows, self.targets, self.scales, strict=True)):
            whole = np.column_stack([rows, y]) / scale[:, None]
            factor = qr_triangle(whole) if len(whole) > M else whole
            parts.append(CompressedRows(RowKey("abc"[k], "forces"), factor, len(y), float(np.log(scale).sum())))
        return parts

    def posterior(self) -> Posterior:
        return solve(self.prior_mm, self.compressed(), SIGMAS)


def test_weights_are_the_least_squares_solution() -> None:
    data = Data()
    stack = np.concatenate([data.prior_mm, data.k_nm / data.sigma[:, None]])
    expected = np.linalg.lstsq(stack, np.append(np.zeros(M), data.y / data.sigma), rcond=None)[0]
    assert data.posterior().weights_m == pytest.approx(expected, rel=1e-11)


def test_factor_is_that_of_k_plus_data() -> None:
    data = Data()
    a_mm = data.k_mm + (data.k_nm / data.sigma[:, None] ** 2).T @ data.k_nm
    factor = data.posterior().data_mm
    assert factor.T @ factor == pytest.approx(a_mm, rel=1e-12, abs=1e-12)


def test_evidence_is_the_normal_density_of_the_labels() -> None:
    data = Data()
    q_nn = data.k_nm @ np.linalg.solve(data.k_mm, data.k_nm.T)
    density = scipy.stats.multivariate_normal(cov=q_nn + np.diag(data.sigma**2))
    assert data.posterior().log_evidence == pytest.approx(density.logpdf(data.y), rel=1e-12)


def test_variance_is_the_dense_formula() -> None:
    data = Data()
    a_mm = data.k_mm + (data.k_nm / data.sigma[:, None] ** 2).T @ data.k_nm
    prior = np.full(5, 50.0)
    explained, known = (np.einsum("xm,mx->x", data.new, np.linalg.solve(k, data.new.T)) for k in (data.k_mm, a_mm))
    assert data.posterior().variance(data.new, prior) == pytest.approx(prior - explained + known, rel=1e-12)
    many = data.posterior().variance_of_many(data.new, prior)
    assert many == pytest.approx(prior - explained + known, rel=1e-10)
    assert np.abs(explained - known).min() > 1.0  # what the data say is not small


@pytest.mark.parametrize(
    ("spacing", "sigma", "n", "product"),
    [
        (0.8, 1e-3, 0, True),
        (0.8, 1e-3, 40, True),
        (0.8, 1.0, 2, True),
        (0.8, 1e6, 40, True),
        (0.05, 1e-6, 40, False),  # singular to rounding
        (0.05, 1.0, 0, False),
    ],
)
def test_variance_of_many_is_that_of_few(spacing: float, sigma: float, n: int, product: bool) -> None:
    """Of data that say everything, something and nothing; and where one product would not do."""
    rng, x = np.random.default_rng(n), np.arange(0.0, 3.2, spacing)
    prior_mm, _ = jittered_cholesky(np.exp(-0.5 * (x[:, None] - x) ** 2))
    labelled, new = rng.uniform(0.0, 3.0, n), np.linspace(-1.0, 4.0, 50)
    rows = np.column_stack([np.exp(-0.5 * (labelled[:, None] - x) ** 2), np.zeros(n)])
    posterior = solve(prior_mm, [CompressedRows(RowKey("a", "energy"), np.asfortranarray(rows), n, 0.0)], [sigma])
    assert (posterior._learned_mm is not None) == product
    k_xm = np.exp(-0.5 * (new[:, None] - x) ** 2)
    few, many = (f(k_xm, np.ones(50)) for f in (posterior.variance, posterior.variance_of_many))
    assert many == pytest.approx(few, rel=1e-6)
    assert few.min() < 0.5 or sigma > 1e5 or n == 0


def test_small_variances_of_many_are_solved_for() -> None:
    """At a sparse point that the data know exactly, rounding of a large prior would be all of the variance."""
    k_mm = 1e8 * np.array([[1.0, 0.5], [0.5, 1.0]])
    rows = np.column_stack([k_mm, np.zeros(2)])
    posterior = solve(
        jittered_cholesky(k_mm)[0], [CompressedRows(RowKey("a", "energy"), np.asfortranarray(rows), 2, 0.0)], [1e-3]
    )
    assert posterior._learned_mm is not None
    few, many = (f(k_mm, np.diagonal(k_mm)) for f in (posterior.variance, posterior.variance_of_many))
    assert 0.0 < few.max() < 1e-5
    assert many == pytest.approx(few, rel=1e-12)


def test_variance_never_falls_below_what_the_data_leave() -> None:
    """Where rounding makes k** - k*ᵀK⁻¹k* negative, the posterior term stays."""
    data = Data()
    posterior = data.posterior()
    at_points = posterior.variance(data.k_mm, np.diagonal(data.k_mm) - 1e-9)
    known = np.einsum("xm,mx->x", data.k_mm, np.linalg.solve(posterior.data_mm.T @ posterior.data_mm, data.k_mm))
    assert at_points == pytest.approx(known, rel=1e-9)


def test_nearly_singular_kernel_matrix_in_decimals() -> None:
    """Rank 3 of 6 up to jitter: predictions, evidence and variance keep their digits."""
    data = Data(rank=3)
    posterior = data.posterior()
    with arithmetic(60) as convert:
        u, k_nm, new = convert(data.prior_mm), convert(data.k_nm), convert(data.new)
        scaled = k_nm / convert(data.sigma)[:, None] ** 2
        a_mm = u.T @ u + k_nm.T @ scaled
        exact = new @ eliminate(a_mm, (scaled.T @ convert(data.y))[:, None])[0][:, 0]
        known = (new * eliminate(a_mm, new.T.copy())[0].T).sum(axis=1)
        explained = (new * eliminate(u.T @ u, new.T.copy())[0].T).sum(axis=1)
        log_det_a, log_det_k = eliminate(a_mm, new.T.copy())[1], eliminate(u.T @ u, new.T.copy())[1]
        fit = scaled.T @ convert(data.y)
        quadratic = (convert(data.y) / convert(data.sigma)) @ (convert(data.y) / convert(data.sigma))
        misfit = float(quadratic - fit @ eliminate(a_mm, fit[:, None])[0][:, 0])
    evidence = -0.5 * (misfit + log_det_a - log_det_k + 2 * np.log(data.sigma).sum() + len(data.y) * np.log(2 * np.pi))
    assert data.new @ posterior.weights_m == pytest.approx(exact.astype(float), rel=1e-10)
    assert posterior.log_evidence == pytest.approx(evidence, rel=1e-10)
    prior = explained.astype(float) + 1.0
    assert posterior.variance(data.new, prior) == pytest.approx(1.0 + known.astype(float), rel=1e-8)


def test_no_data_is_the_prior() -> None:
    data = Data()
    posterior = solve(data.prior_mm, [], [])
    assert not posterior.weights_m.any()
    assert posterior.log_evidence == 0.0
    assert posterior.variance(data.new, np.full(5, 50.0)) == pytest.approx(np.full(5, 50.0), rel=1e-12)

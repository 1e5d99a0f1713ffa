"""The reference processes against linear regression on explicit features, and the sparse one against the exact one."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from ase import Atoms

from tests.reference.gaussian_process import (
    Functional,
    PairGP,
    ReferenceGP,
    SoapGP,
    SparseReference,
    all_functionals,
    arithmetic,
    labelled,
    log_normal,
    solve,
)
from tests.reference.soap_legendre import jacobian
from tests.reference.spanning import SpanningCase, feature_map, spanning_case


def cosine(r: np.ndarray) -> np.ndarray:
    """Smooth cutoff at 3 Å."""
    inside = np.real(r) < 3.0
    return np.where(inside, np.cos(np.pi * np.where(inside, r, 0.0) / 6.0) ** 4, 0.0)


def rows_of(case: SpanningCase, structures: list[Atoms]) -> tuple[list[Functional], np.ndarray, np.ndarray]:
    """Labelled observables, their explicit features (n, F) for both species side by side, labels."""
    observables, features, labels = [], [], []
    for atoms in structures:
        kinds = ("energy", "force", "stress") if atoms.pbc.any() else ("energy", "force")
        mine, y = labelled(atoms, kinds)
        q_ed, dq_ebd = jacobian(atoms, case.soap, normalise=True)
        moved_ebf = np.array(
            [feature_map(q + 1e-30j * dq, case.zeta).imag / 1e-30 for q, dq in zip(q_ed, dq_ebd, strict=True)]
        )
        scale_b = -np.ones(3 * len(atoms))
        if atoms.pbc.any():
            scale_b = np.append(scale_b, np.full(6, 1.0 / atoms.get_volume()))
        phi_erf = np.concatenate(
            [feature_map(q_ed, case.zeta)[:, None], scale_b[:, None] * moved_ebf[:, : len(scale_b)]], axis=1
        )
        by_species = [phi_erf[atoms.numbers == z].sum(axis=0) for z in case.inducing]
        observables += mine
        features.append(case.delta * np.concatenate(by_species, axis=1))
        labels.append(y)
    return observables, np.concatenate(features), np.concatenate(labels)


def noise_of(observables: list[Functional]) -> np.ndarray:
    return np.array([o.sigma(0.05, 0.2, 0.3) for o in observables])


def regression(
    phi_nf: np.ndarray, y_n: np.ndarray, sigma_n: np.ndarray, new_mf: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float]:
    """Bayesian linear regression with unit prior: mean, variance, log evidence."""
    scaled = phi_nf / sigma_n[:, None]
    precision = np.eye(phi_nf.shape[1]) + scaled.T @ scaled
    mean = new_mf @ np.linalg.solve(precision, scaled.T @ (y_n / sigma_n))
    variance = np.einsum("mf,fm->m", new_mf, np.linalg.solve(precision, new_mf.T))
    evidence = scipy.stats.multivariate_normal(cov=phi_nf @ phi_nf.T + np.diag(sigma_n**2)).logpdf(y_n)
    return mean, variance, float(evidence)


@pytest.mark.parametrize(("material", "zeta"), [("HO", 1), ("HO", 2), ("Si", 2)])
def test_exact_process_is_linear_regression_on_explicit_features(material: str, zeta: int) -> None:
    case = spanning_case(material, zeta)
    observables, phi, y = rows_of(case, case.structures)
    new, new_phi, _ = rows_of(case, case.tests)
    sigma = noise_of(observables)
    gp = ReferenceGP([SoapGP(case.soap, zeta, case.delta)]).fit(observables, y, sigma)
    mean, variance, evidence = regression(phi, y, sigma, new_phi)
    assert np.max(np.abs(gp.mean(new) - mean)) < 1e-10 * np.max(np.abs(y))
    assert np.max(np.abs(gp.variance(new) - variance)) < 1e-11
    assert gp.log_evidence() == pytest.approx(evidence, rel=1e-10)


@pytest.mark.parametrize(("material", "zeta"), [("HO", 2), ("Si", 2)])
def test_sparse_is_exact_where_inducing_points_span_the_features(material: str, zeta: int) -> None:
    case = spanning_case(material, zeta)
    observables, _, y = rows_of(case, case.structures)
    new = rows_of(case, case.tests)[0] + all_functionals(case.tests[0], ("local",))
    term, sigma = SoapGP(case.soap, zeta, case.delta), noise_of(observables)
    exact = ReferenceGP([term]).fit(observables, y, sigma)
    sparse = SparseReference([term], [case.inducing]).fit(observables, y, sigma)
    assert np.max(np.abs(sparse.mean(new) - exact.mean(new))) < 1e-10 * np.max(np.abs(y))
    assert np.max(np.abs(sparse.variance(new) - exact.variance(new))) < 1e-11
    assert sparse.log_evidence() == pytest.approx(exact.log_evidence(), rel=1e-10)


def test_decimal_and_float_agree_and_decimal_is_exact() -> None:
    """With 40 digits sparse and exact agree to far more than float64 holds, although K_mm is numerically singular."""
    case = spanning_case("Si", 2)
    observables, _, y = rows_of(case, case.structures[:8])
    new = rows_of(case, case.tests[:1])[0]
    term, sigma = SoapGP(case.soap, 2, case.delta), noise_of(observables)
    exact = ReferenceGP([term], digits=40).fit(observables, y, sigma)
    sparse = SparseReference([term], [case.inducing], digits=50).fit(observables, y, sigma)
    assert np.max(np.abs(sparse.mean(new) - exact.mean(new))) < 1e-14 * np.max(np.abs(y))
    assert np.max(np.abs(sparse.variance(new) - exact.variance(new))) < 1e-15
    with pytest.raises(np.linalg.LinAlgError, match="not positive definite"):
        SparseReference([term], [case.inducing], digits=None).fit(observables, y, 1e-4 * sigma)


def test_sparse_with_few_points_is_regression_on_projected_features() -> None:
    """DTC: likelihood from the projection P on the inducing features, prior variance from all of them."""
    case = spanning_case("HO", 2)
    inducing = {z: p[:5] for z, p in case.inducing.items()}
    observables, phi, y = rows_of(case, case.structures)
    new, new_phi, _ = rows_of(case, case.tests)
    width = phi.shape[1] // 2
    basis = np.zeros((2 * width, 10))
    for s, p in enumerate(inducing.values()):
        q = p / np.linalg.norm(p, axis=1, keepdims=True)
        basis[s * width : (s + 1) * width, 5 * s : 5 * (s + 1)] = np.linalg.qr(feature_map(q, 2).T)[0]
    sigma = noise_of(observables)
    sparse = SparseReference([SoapGP(case.soap, 2, case.delta)], [inducing]).fit(observables, y, sigma)
    mean, variance, evidence = regression(phi @ basis, y, sigma, new_phi @ basis)
    variance += np.sum(new_phi**2, axis=1) - np.sum((new_phi @ basis) ** 2, axis=1)
    assert np.max(np.abs(sparse.mean(new) - mean)) < 1e-10 * np.max(np.abs(y))
    assert np.max(np.abs(sparse.variance(new) - variance)) < 1e-11
    assert sparse.log_evidence() == pytest.approx(evidence, rel=1e-11)


def test_sparse_sum_of_terms_approaches_the_exact_one_and_jitter_enters_k_mm() -> None:
    case = spanning_case("HO", 1)
    terms_ = [SoapGP(case.soap, 1, case.delta), PairGP(2.5, cosine, 0.8, 0.7)]
    observables, _, y = rows_of(case, case.structures[:6])
    new, sigma = rows_of(case, case.tests)[0], noise_of(observables)
    grid = {pair: np.linspace(0.6, 2.6, 14) for pair in [(1, 1), (1, 8), (8, 8)]}
    exact = ReferenceGP(terms_).fit(observables, y, sigma)
    sparse = SparseReference(terms_, [case.inducing, grid]).fit(observables, y, sigma)
    assert np.max(np.abs(sparse.mean(new) - exact.mean(new))) < 1e-6 * np.max(np.abs(y))
    assert np.max(np.abs(sparse.variance(new) - exact.variance(new))) < 1e-6

    jittered = SparseReference(terms_, [case.inducing, grid], jitter=1e-2).fit(observables, y, sigma)
    by_float = SparseReference(terms_, [case.inducing, grid], jitter=1e-2, digits=None).fit(observables, y, sigma)
    assert jittered.weights() == pytest.approx(by_float.weights(), rel=1e-8)
    assert jittered.variance(new) == pytest.approx(by_float.variance(new), abs=1e-10)
    assert jittered.log_evidence() == pytest.approx(by_float.log_evidence(), rel=1e-10)
    assert np.max(np.abs(jittered.variance(new) - sparse.variance(new))) > 1e-4


def test_noise_convention_by_hand() -> None:
    atoms = Atoms("Si4", positions=np.eye(4, 3), cell=[2.0, 3.0, 4.0], pbc=True)
    rows = [Functional(atoms, "energy"), Functional(atoms, "force", (0, 0)), Functional(atoms, "stress", (2,))]
    assert [o.sigma(0.01, 0.1, 0.3) for o in rows] == pytest.approx([0.02, 0.1, 0.3 * 2.0 / 24.0], rel=1e-15)


def test_digits_are_digits() -> None:
    with arithmetic(50) as convert:
        assert len(str(convert([1.0])[0] / 3)) == 52
    with arithmetic(None) as convert:
        assert convert([1.0]).dtype == float


def test_gaussian_elimination_and_normal_density() -> None:
    rng = np.random.default_rng(0)
    root = rng.normal(size=(6, 6))
    a, b = root @ root.T + np.eye(6), rng.normal(size=(6, 2))
    x, log_det = solve(a, b)
    assert x == pytest.approx(np.linalg.solve(a, b), rel=1e-12)
    assert log_det == pytest.approx(np.linalg.slogdet(a)[1], rel=1e-13)
    assert log_normal(b[:, 0], a) == pytest.approx(scipy.stats.multivariate_normal(cov=a).logpdf(b[:, 0]), rel=1e-13)

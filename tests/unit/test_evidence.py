"""The scale of σ that the data ask for, against a search for the largest evidence."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.optimize

from gapkit import GAP, PairTerm, SoapTerm
from gapkit.gp.compress import CompressedRows, RowKey
from gapkit.gp.evidence import learn_baseline_scales, learn_deltas, learn_scale
from gapkit.gp.noise import Noise
from gapkit.gp.posterior import solve
from gapkit.numerics.factor import jittered_cholesky
from gapkit.typing import Kind
from tests.samples import frames, model, soap_arguments

M = 5


def part(kind: Kind, sigma: float, n: int = 200, own: bool = False, seed: int = 0) -> CompressedRows:
    """Rows whose targets are a function of the model plus noise of σ; divided by σ where it is their own."""
    rng = np.random.default_rng(seed)
    k_nm, divisor = rng.normal(size=(n, M)), sigma if own else 1.0
    y_n = k_nm @ np.linspace(-1.0, 1.0, M) + sigma * rng.normal(size=n)
    factor = np.column_stack([k_nm, y_n]) / divisor
    return CompressedRows(RowKey("a", kind, own), factor, n, n * float(np.log(divisor)))


def prior() -> np.ndarray:
    return jittered_cholesky(np.eye(M) + 0.3)[0]


@pytest.mark.parametrize("kind", ["forces", "energy", "stress"])
@pytest.mark.parametrize("true", [0.005, 0.02, 0.3])
def test_one_kind_gets_the_sigma_of_the_largest_evidence(kind: Kind, true: float) -> None:
    start = Noise()
    for n in (12, 200):
        rows = [part(kind, true, n)]

        def loss(log_sigma: float, rows: list[CompressedRows] = rows) -> float:
            return -solve(prior(), rows, [float(np.exp(log_sigma))]).log_evidence

        best = np.exp(scipy.optimize.minimize_scalar(loss, bracket=(np.log(true) - 1, np.log(true) + 1)).x)
        learned = learn_scale(prior(), rows, start)
        assert getattr(learned, kind) == pytest.approx(best, rel=0.03)  # where it stops
    assert getattr(learned, kind) == pytest.approx(true, rel=0.15)  # three standard errors of 200 labels
    ratios = [getattr(learned, k) / getattr(start, k) for k in ("energy", "forces", "stress")]
    assert ratios == pytest.approx([ratios[0]] * 3, rel=1e-12)


def test_forces_are_the_guide() -> None:
    """Energies follow in the ratio of `Noise`, here 1 to 100, whatever their own scatter."""
    learned = learn_scale(prior(), [part("energy", 0.01, 20, seed=1), part("forces", 0.3)], Noise())
    assert learned.forces == pytest.approx(0.3, rel=0.15)
    assert learned.energy == pytest.approx(learned.forces / 100, rel=1e-12)


def test_kinds_that_are_left_out_stay_out() -> None:
    learned = learn_scale(prior(), [part("forces", 0.3)], Noise(energy=None))
    assert learned.energy is None
    assert learned.forces == pytest.approx(0.3, rel=0.15)


def test_rows_with_their_own_sigma_keep_it() -> None:
    own = part("forces", 0.3, own=True)
    assert learn_scale(prior(), [own], Noise()).get_params() == Noise().get_params()
    learned = learn_scale(prior(), [own, part("energy", 0.05, seed=2)], Noise())
    assert learned.energy == pytest.approx(0.05, rel=0.15)


def test_labels_are_neither_exact_nor_worthless() -> None:
    exact = part("forces", 1e-12)
    assert learn_scale(prior(), [exact], Noise()).forces == pytest.approx(1e-3 * Noise().forces)
    worthless = part("forces", 1e9)
    assert learn_scale(prior(), [worthless], Noise()).forces == pytest.approx(1e3 * Noise().forces)


def test_a_model_without_noise_learns_it_and_leaves_its_setting_alone() -> None:
    made = model(noise=None).fit(frames())
    assert made.noise is None
    learned = made.state_.noise
    assert learned.energy / learned.forces == pytest.approx(Noise().energy / Noise().forces)
    given = model(noise=Noise(learned.energy, learned.forces, learned.stress)).fit(frames())
    assert given.log_evidence_ == pytest.approx(made.log_evidence_, rel=1e-10)
    assert made.refit().log_evidence_ == pytest.approx(given.log_evidence_, rel=1e-10)


def terms_data(
    deltas: list[float], sigma: float, n: int = 120, seed: int = 0
) -> tuple[list[np.ndarray], list[CompressedRows]]:
    """Factors of K of several terms, and labels drawn from their prior with δ, plus noise."""
    rng = np.random.default_rng(seed)
    priors = [jittered_cholesky(np.exp(-0.5 * np.subtract.outer(*2 * [np.arange(12.0)]) ** 2))[0] for _ in deltas]
    k_nm = [rng.normal(size=(n, 12)) @ u for u in priors]  # rows in the space of the points
    weights = [d * np.linalg.solve(u, rng.normal(size=12)) for d, u in zip(deltas, priors, strict=True)]
    y_n = sum(k @ w for k, w in zip(k_nm, weights, strict=True)) + sigma * rng.normal(size=n)
    return priors, [CompressedRows(RowKey("a", "forces"), np.column_stack([*k_nm, y_n]), n, 0.0)]


def evidence_of(priors: list[np.ndarray], deltas: list[float], rows: list[CompressedRows], sigma: float) -> float:
    """log N(y | 0, Σ_t δ_t² K_t + σ²), dense."""
    y_n, first = rows[0].factor_nm[:, -1], 0
    covariance = sigma**2 * np.eye(len(y_n))
    for u, delta in zip(priors, deltas, strict=True):
        k_nm = rows[0].factor_nm[:, first : first + len(u)]
        covariance += delta**2 * k_nm @ np.linalg.inv(u.T @ u) @ k_nm.T
        first += len(u)
    lower = np.linalg.cholesky(covariance)
    white_n = np.linalg.solve(lower, y_n)
    return float(-0.5 * white_n @ white_n - np.log(np.diagonal(lower)).sum() - 0.5 * len(y_n) * np.log(2.0 * np.pi))


@pytest.mark.parametrize("true", [[0.02], [1.0], [30.0], [0.05, 3.0], [5.0, 0.3]])
def test_deltas_are_those_of_the_largest_evidence(true: list[float]) -> None:
    """On no side of them is it larger by more than where the search stops, and they are those of the labels: the
    standard error of a standard deviation from twelve numbers is a fifth, three of which are allowed."""
    sigma = 0.01
    priors, rows = terms_data(true, sigma)
    found = learn_deltas(priors, [1.0] * len(true), [True] * len(true), rows, [sigma])
    assert found == pytest.approx(true, rel=0.6)
    best = evidence_of(priors, found, rows, sigma)
    for t in range(len(true)):
        for factor in (0.5, 0.8, 1.25, 2.0):
            moved = [d * factor if k == t else d for k, d in enumerate(found)]
            assert evidence_of(priors, moved, rows, sigma) < best


def test_deltas_of_many_draws_are_right_on_average() -> None:
    found = []
    for seed in range(40):
        priors, rows = terms_data([0.7, 0.1], 0.02, seed=seed)
        found.append(learn_deltas(priors, [1.0, 1.0], [True, True], rows, [0.02]))
    means = np.sqrt(np.mean(np.square(found), axis=0))
    assert means == pytest.approx([0.7, 0.1], rel=0.12)  # three standard errors of 480 numbers


def test_a_delta_that_is_given_stays() -> None:
    priors, rows = terms_data([0.5, 2.0], 0.01)
    found = learn_deltas(priors, [1.0, 0.8], [True, False], rows, [0.01])
    assert found[1] == 0.8
    scan = [evidence_of(priors, [found[0] * f, 0.8], rows, 0.01) for f in (0.8, 1.0, 1.25)]
    assert scan[1] > max(scan[0], scan[2])
    assert learn_deltas(priors, [1.0, 0.8], [False, False], rows, [0.01]) == [1.0, 0.8]


def test_deltas_of_labels_that_are_all_noise_become_small() -> None:
    priors, rows = terms_data([1e-9], 0.5)
    assert learn_deltas(priors, [1.0], [True], rows, [0.5])[0] < 0.1


def open_rows(scales: list[float], n: int = 200, seed: int = 0) -> tuple[np.ndarray, CompressedRows]:
    """Labels of a function of the model plus baselines times their scales; and the prior."""
    rng = np.random.default_rng(seed)
    k_nm, b_nb = rng.normal(size=(n, M)), rng.normal(size=(n, len(scales)))
    y_n = k_nm @ np.linspace(-1.0, 1.0, M) + b_nb @ np.array(scales) + 0.05 * rng.normal(size=n)
    return prior(), CompressedRows(RowKey("a", "forces"), np.column_stack([k_nm, b_nb, y_n]), n, 0.0)


@pytest.mark.parametrize("scales", [[0.7], [0.0], [1.4, 0.3]])
def test_scales_of_baselines_are_those_of_the_largest_evidence(scales: list[float]) -> None:
    prior_mm, rows = open_rows(scales)
    found = learn_baseline_scales(prior_mm, [rows], [0.05], len(scales))
    assert found == pytest.approx(scales, abs=0.015)  # three standard errors: σ/√200
    best = solve(prior_mm, [rows.minus(found)], [0.05]).log_evidence
    for b in range(len(scales)):
        for step in (-0.01, 0.01):
            moved = found + step * np.eye(len(scales))[b]
            if moved.min() >= 0.0:
                assert solve(prior_mm, [rows.minus(moved)], [0.05]).log_evidence < best


def test_scales_are_never_negative() -> None:
    prior_mm, rows = open_rows([-0.6, 0.5])
    found = learn_baseline_scales(prior_mm, [rows], [0.05], 2)
    assert found[0] == 0.0
    assert found[1] == pytest.approx(0.5, abs=0.15)  # what the other one leaves is noise to it
    best = solve(prior_mm, [rows.minus(found)], [0.05]).log_evidence
    assert solve(prior_mm, [rows.minus(found + np.array([0.0, 0.02]))], [0.05]).log_evidence < best
    assert solve(prior_mm, [rows.minus(found - np.array([0.0, 0.02]))], [0.05]).log_evidence < best
    assert learn_baseline_scales(prior_mm, [rows], [0.05], 0).shape == (0,)


def test_a_model_learns_its_deltas() -> None:
    """Of two terms, with and without the noise; not on any grid around it is the evidence larger."""
    terms = [PairTerm(3.5, n_sparse=6, delta=None), SoapTerm(soap_arguments(), zeta=2, n_sparse=8, delta=None)]
    data, noise = frames(6), Noise(0.005, 0.1, 0.05)
    made = GAP(terms, noise, baselines=[]).fit(data)
    deltas = [t.delta for t in made.state_.terms]
    assert made.terms[0].delta is None
    for t, term in enumerate(made.state_.terms):
        for factor in (0.4, 0.7, 1.5, 3.0):
            moved = [d * factor if k == t else d for k, d in enumerate(deltas)]
            again = [
                PairTerm(3.5, n_sparse=6, delta=moved[0]),
                SoapTerm(soap_arguments(), zeta=2, n_sparse=8, delta=moved[1]),
            ]
            other = GAP(again, noise, baselines=[]).fit(data)
            assert other.log_evidence_ < made.log_evidence_, (term.name, factor)
    both = GAP(terms, None, baselines=[]).fit(data)
    assert both.log_evidence_ > GAP(again, None, baselines=[]).fit(data).log_evidence_
    learned = both.state_.noise
    fixed = GAP(terms, Noise(learned.energy, learned.forces, learned.stress), baselines=[]).fit(data)
    assert [t.delta for t in fixed.state_.terms] == pytest.approx([t.delta for t in both.state_.terms], rel=0.2)


def test_forces_that_are_zero_by_symmetry_have_no_say() -> None:
    """Volumes and strains of perfect crystals: σ is that of the energies, as without these forces."""
    energies = part("energy", 0.05, 40, seed=1)
    silent = part("forces", 0.3)
    zero = silent.factor_nm.copy()
    zero[:, -1] = 1e-9 * np.random.default_rng(0).normal(size=len(zero))
    learned = learn_scale(prior(), [energies, replace(silent, factor_nm=zero)], Noise())
    assert learned.energy == pytest.approx(learn_scale(prior(), [energies], Noise()).energy, rel=1e-12)
    assert learn_scale(prior(), [energies, silent], Noise()).forces == pytest.approx(0.3, rel=0.15)

"""The evidence and its gradient by σ and δ, against a dense normal density and central differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.stats

from gapkit.gp.compress import CompressedRows, RowKey
from gapkit.gp.evidence import learn_baseline_scales, learn_deltas, learn_scale
from gapkit.gp.likelihood import Balance, Likelihood, Part
from gapkit.gp.noise import Noise
from gapkit.gp.optimum import SPAN, WIDTH, maximized
from gapkit.gp.posterior import solve
from gapkit.numerics.factor import jittered_cholesky, qr_triangle
from gapkit.typing import Kind

POINTS = (7, 5)
EXACT = 1e-4  # σ of the row of an isolated atom


class Data:
    """Two terms; forces of two groups, energies of one, rows with σ of their own and one that is exact."""

    def __init__(self, seed: int = 0, deltas: tuple[float, float] = (0.6, 1.7), n_open: int = 0) -> None:
        rng = np.random.default_rng(seed)
        k_t = [np.exp(-0.3 * np.subtract.outer(*2 * [np.arange(float(m))]) ** 2) for m in POINTS]
        self.priors = [jittered_cholesky(k_mm)[0] for k_mm in k_t]
        self.sizes = {"a": 60, "b": 9, "c": 25, "own": 14, "exact": 2}
        self.sigma = {"a": 0.3, "b": 0.7, "c": 0.05, "own": 1.0, "exact": 1.0}
        weights = [d * np.linalg.solve(u, rng.normal(size=len(u))) for d, u in zip(deltas, self.priors, strict=True)]
        self.k_nm, self.y, self.divisor, self.open = {}, {}, {}, {}
        for name, n in self.sizes.items():
            self.divisor[name] = np.full(n, EXACT) if name == "exact" else rng.uniform(0.5, 2.0, n)
            self.k_nm[name] = rng.normal(size=(n, sum(POINTS)))
            self.open[name] = rng.normal(size=(n, n_open))
            noise = self.sigma[name] * self.divisor[name] * rng.normal(size=n)
            self.y[name] = self.k_nm[name] @ np.concatenate(weights) + self.open[name] @ [0.8, 0.3][:n_open] + noise

    def rows(self, name: str) -> CompressedRows:
        own = name in ("own", "exact")
        kind: Kind = "energy" if name in ("c", "exact") else "forces"
        whole = np.column_stack([self.k_nm[name], self.open[name], self.y[name]]) / self.divisor[name][:, None]
        factor = qr_triangle(whole) if len(whole) > whole.shape[1] else np.asfortranarray(whole)
        return CompressedRows(RowKey(name, kind, own), factor, len(whole), float(np.log(self.divisor[name]).sum()))

    def likelihood(self, sets: tuple[tuple[str, ...], ...], n_open: int = 0) -> Likelihood:
        """With one σ for each of these sets of groups; σ of a group is in units of that of the first."""
        parts = [Part([self.rows(g) for g in own], [self.sigma[g] / self.sigma[own[0]] for g in own]) for own in sets]
        rest = [name for name in self.sizes if not any(name in own for own in sets)]
        return Likelihood(self.priors, parts, Part([self.rows(g) for g in rest], [self.sigma[g] for g in rest]), n_open)

    def density(self, sigma: dict[str, float], deltas: Any) -> float:
        """log N(y | 0, Σ_t δ_t² K_nt K_t⁻¹ K_tn + σ²), dense."""
        names, edges = list(self.sizes), np.cumsum([0, *POINTS])
        k_nm, y = (np.concatenate([of[name] for name in names]) for of in (self.k_nm, self.y))
        noise = np.concatenate([sigma[name] * self.divisor[name] for name in names])
        covariance = np.diag(noise**2)
        for t, u in enumerate(self.priors):
            white = np.linalg.solve(u.T, k_nm[:, edges[t] : edges[t + 1]].T)
            covariance += deltas[t] ** 2 * white.T @ white
        return float(scipy.stats.multivariate_normal(cov=covariance, allow_singular=True).logpdf(y))


SETS = {
    "per group": (("a",), ("b",), ("c",)),
    "per kind": (("a", "b"), ("c",)),
    "no sigma": (),
}


def at(likelihood: Likelihood, x: np.ndarray, n_sigmas: int) -> Balance:
    return likelihood.at(np.exp(x[:n_sigmas]), np.exp(x[n_sigmas:]))


def differences(value: Callable[[np.ndarray], float], x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Central differences, extrapolated, and the estimate of their error."""
    found, error = [], []
    for k in range(len(x)):
        h = np.eye(len(x))[k]
        one, half, quarter = ((value(x + s * h) - value(x - s * h)) / (2 * s) for s in (0.04, 0.02, 0.01))
        first, second = half + (half - one) / 3.0, quarter + (quarter - half) / 3.0
        found.append(second + (second - first) / 15.0)
        error.append(abs(second - first) + 1e-9 * abs(value(x)))
    return np.array(found), np.array(error)


def start(data: Data, sets: tuple[tuple[str, ...], ...]) -> np.ndarray:
    """Off the optimum, so that no derivative is small."""
    return np.log([2.0 * data.sigma[own[0]] for own in sets] + [0.3, 3.0])


@pytest.mark.parametrize("name", SETS)
def test_evidence_is_the_normal_density(name: str) -> None:
    data, sets = Data(), SETS[name]
    x = start(data, sets)
    sigma = data.sigma | {g: 2.0 * data.sigma[g] for own in sets for g in own}
    expected = data.density(sigma, np.exp(x[len(sets) :]))
    assert at(data.likelihood(sets), x, len(sets)).log_evidence == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", SETS)
def test_gradient_is_that_of_differences(name: str) -> None:
    data, sets = Data(), SETS[name]
    likelihood, x, n = data.likelihood(sets), start(data, sets), len(sets)
    expected, error = differences(lambda x: at(likelihood, x, n).log_evidence, x)
    assert (np.abs(expected) > 1e3 * error).all()
    assert at(likelihood, x, n).gradient == pytest.approx(expected, abs=float(error.max()), rel=1e-7)


@pytest.mark.parametrize("name", SETS)
def test_gradient_with_baselines_of_open_scale_knows_nothing_of_them(name: str) -> None:
    """They take their best scales in each evaluation, one of which may be at its bound of zero."""
    data, sets = Data(n_open=2), SETS[name]
    for rows_b in (data.open, {g: -b for g, b in data.open.items()}):
        data.open = rows_b
        likelihood, x, n = data.likelihood(sets, 2), start(data, sets), len(sets)
        expected, error = differences(lambda x, own=likelihood, n=n: at(own, x, n).log_evidence, x)
        found = at(likelihood, x, n)
        assert found.gradient == pytest.approx(expected, abs=10 * float(error.max()), rel=1e-6)
        every = [data.rows(g) for g in data.sizes]
        sigmas = [np.exp(x[k]) * data.sigma[g] / data.sigma[sets[k][0]] if (k := where(sets, g)) >= 0 else data.sigma[g]
                  for g in data.sizes]  # fmt: skip
        prior_mm = prior_of(data, np.exp(x[n:]))
        assert found.scales_b == pytest.approx(learn_baseline_scales(prior_mm, every, sigmas, 2), abs=1e-9)
        bare = [part.minus(found.scales_b) for part in every]
        assert found.log_evidence == pytest.approx(solve(prior_mm, bare, sigmas).log_evidence, rel=1e-10)
    assert found.scales_b.tolist() == [0.0, 0.0]


def where(sets: tuple[tuple[str, ...], ...], group: str) -> int:
    return next((k for k, own in enumerate(sets) if group in own), -1)


def prior_of(data: Data, deltas: Any) -> np.ndarray:
    prior_mm = np.zeros((sum(POINTS),) * 2, order="F")
    edges = np.cumsum([0, *POINTS])
    for t, u in enumerate(data.priors):
        prior_mm[edges[t] : edges[t + 1], edges[t] : edges[t + 1]] = u / deltas[t]
    return prior_mm


def test_every_weight_is_determined_by_something() -> None:
    data = Data()
    everything = SETS["per group"] + (("own",), ("exact",))
    found = data.likelihood(everything).at(np.full(5, 0.4), np.ones(2))
    assert found.known_g.sum() + found.vague_t.sum() == pytest.approx(sum(POINTS), rel=1e-12)
    assert (found.known_g <= [sum(POINTS), 9, sum(POINTS), sum(POINTS), 2]).all()


@pytest.mark.parametrize("term", ["misfit_g", "known_g", "size_t", "vague_t"])
@pytest.mark.parametrize("factor", [-1.0, 0.0])
def test_a_wrong_sign_or_a_missing_trace_is_seen(monkeypatch: pytest.MonkeyPatch, term: str, factor: float) -> None:
    original = Likelihood.at

    def wrong(self: Likelihood, *x: Any) -> Balance:
        found = original(self, *x)
        object.__setattr__(found, term, factor * getattr(found, term))
        return found

    monkeypatch.setattr(Likelihood, "at", wrong)
    with pytest.raises(AssertionError):
        test_gradient_is_that_of_differences("per group")


def found_from(likelihood: Likelihood, centre: tuple[list[float], list[float]], start: Any) -> np.ndarray:
    optimum = maximized(likelihood, start, centre, [True, True])
    assert optimum.converged
    assert optimum.after.log_evidence >= optimum.before.log_evidence
    return np.append(np.log([*optimum.sigma_g, *optimum.delta_t]), optimum.after.log_evidence)


@pytest.mark.parametrize("name", ["per group", "per kind"])
def test_ten_random_starts_agree(name: str) -> None:
    data, sets = Data(), SETS[name]
    likelihood, n, rng = data.likelihood(sets), len(sets), np.random.default_rng(3)
    centre = [0.2] * n, [1.0, 1.0]
    ends = []
    for _ in range(10):
        sigmas = np.array([data.sigma[own[0]] for own in sets]) * 10.0 ** rng.uniform(-2, 2, n)
        ends.append(found_from(likelihood, centre, (sigmas, 10.0 ** rng.uniform(-2, 2, 2))))
    assert np.ptp(ends, axis=0).max() < 0.02
    best = ends[0]

    def prior(x: np.ndarray) -> float:
        return -0.5 * float(np.square((x - np.log(np.concatenate(centre))) / WIDTH).sum())

    for k in range(n + 2):  # a maximum, of evidence times prior
        for step in (-0.1, 0.1):
            x = best[:-1] + step * np.eye(n + 2)[k]
            assert at(likelihood, x, n).log_evidence + prior(x) < best[-1] + prior(best[:-1])


def test_the_optimum_is_near_the_truth() -> None:
    found = [found_from(Data(seed).likelihood(SETS["per group"]), ([0.2] * 3, [1.0, 1.0]), ([0.2] * 3, [1.0, 1.0]))
             for seed in range(12)]  # fmt: skip
    mean, error = np.mean(found, axis=0)[:-1], np.std(found, axis=0)[:-1] / np.sqrt(11)
    truth = np.log([0.3, 0.7, 0.05, 0.6, 1.7])
    assert (np.abs(mean - truth)[[0, 2]] < 4 * error[[0, 2]]).all()
    assert (np.abs(mean - truth) < 4 * error + 0.3).all()  # few labels, few weights: the logarithm is biased


def test_what_the_labels_do_not_say_is_left_to_prior_and_bounds() -> None:
    data = Data()
    data.y["b"] = data.y["b"] * 0.0
    data.k_nm["b"] = data.k_nm["b"] * 0.0  # labels that are explained exactly
    usual = [0.2] * 3, [1.0, 1.0]
    optimum = maximized(data.likelihood(SETS["per group"]), usual, usual, [True, True])
    assert optimum.converged
    assert np.log(optimum.sigma_g[1]) == pytest.approx(np.log(0.2) - SPAN, abs=1e-6)


def test_deltas_that_are_given_stay() -> None:
    likelihood = Data().likelihood(SETS["per kind"])
    optimum = maximized(likelihood, ([0.1, 0.1], [0.3, 4.0]), ([0.1, 0.1], [1.0, 1.0]), [True, False])
    assert optimum.delta_t[1] == 4.0
    assert optimum.delta_t[0] != pytest.approx(0.3, rel=0.1)


def test_fixed_points_are_where_the_optimum_is() -> None:
    """`learn_scale` of one kind and `learn_deltas` solve parts of the same problem; they stop at 2 and 5 %."""
    data = Data()
    every = [data.rows(g) for g in data.sizes]
    sigmas = [data.sigma[g] for g in data.sizes]
    deltas = learn_deltas(data.priors, [1.0, 1.0], [True, True], every, sigmas)
    optimum = maximized(data.likelihood(()), ([], [1.0, 1.0]), ([], [1.0, 1.0]), [True, True])
    assert deltas == pytest.approx(optimum.delta_t.tolist(), rel=0.1)
    forces = [data.rows(g) for g in ("a", "own", "exact")]
    noise = learn_scale(prior_of(data, [1.0, 1.0]), forces, Noise())
    likelihood = Likelihood(data.priors, [Part(forces[:1], [1.0])], Part(forces[1:], [1.0, 1.0]))
    optimum = maximized(likelihood, ([0.1], [1.0, 1.0]), ([0.1], [1.0, 1.0]), [False, False])
    assert noise.forces == pytest.approx(optimum.sigma_g[0], rel=0.03)


def test_nothing_but_a_search_is_random() -> None:
    one, two = (found_from(Data().likelihood(SETS["per kind"]), ([0.1] * 2, [1.0] * 2), ([5.0, 0.001], [0.1, 9.0]))
                for _ in range(2))  # fmt: skip
    assert np.array_equal(one, two)

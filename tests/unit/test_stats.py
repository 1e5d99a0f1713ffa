"""Scores of standard deviations against integrals, scipy, and draws of which the answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate, stats

from gapkit.numerics.stats import (
    coverage,
    crps,
    miscalibration_area,
    nll,
    ranks,
    ratios,
    sparsification,
    spearman,
    standard_error,
    within,
)


@pytest.fixture
def draws(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """20,000 errors, and the σ that they were drawn with."""
    std = np.exp(rng.normal(size=20_000))
    return rng.normal(scale=std), std


def test_nll_is_that_of_scipy(rng: np.random.Generator) -> None:
    error, std = rng.normal(size=50), rng.uniform(0.5, 2.0, 50)
    assert nll(error, std) == pytest.approx(-stats.norm.logpdf(error, scale=std).mean(), rel=1e-12)


@pytest.mark.parametrize(("error", "std"), [(0.0, 1.0), (0.7, 0.3), (-2.0, 1.5), (4.0, 0.2)])
def test_crps_is_its_integral(error: float, std: float) -> None:
    def below(x: float) -> float:
        return stats.norm.cdf(x, scale=std) ** 2

    def above(x: float) -> float:
        return stats.norm.sf(x, scale=std) ** 2

    # the truth lies at `error`, the prediction is N(0, σ²)
    expected = integrate.quad(below, error - 20 * std - 20, error)[0] + integrate.quad(above, error, error + 20)[0]
    assert crps(np.array([error]), np.array([std])) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("level", [0.05, 0.5, 0.6827, 0.95])
def test_coverage_is_the_level_if_sigma_is_true(draws: tuple[np.ndarray, np.ndarray], level: float) -> None:
    error, std = draws
    tolerance = 4.0 * np.sqrt(level * (1.0 - level) / len(error))
    assert coverage(error, std, level) == pytest.approx(level, abs=tolerance)
    assert coverage(error, std, level) == np.mean(within(error, std) <= level)
    for wrong in (0.5, 2.0):  # sabotage: σ wrong by two
        assert abs(coverage(error, wrong * std, level) - level) > tolerance


def test_scores_are_best_at_the_true_sigma(draws: tuple[np.ndarray, np.ndarray]) -> None:
    error, std = draws
    for score in (nll, crps, miscalibration_area):
        values = [score(error, factor * std) for factor in (0.5, 0.8, 1.0, 1.25, 2.0)]
        assert np.argmin(values) == 2, score.__name__


def test_miscalibration_area(draws: tuple[np.ndarray, np.ndarray], rng: np.random.Generator) -> None:
    error, std = draws
    assert miscalibration_area(error, std) < 2.0 / np.sqrt(len(error))
    # σ twice too large: observed coverage is 2Φ(2z) - 1 where 2Φ(z) - 1 is expected
    q = np.linspace(0.0, 1.0, 10_001)[1:-1]
    area = np.trapezoid(np.abs(2 * stats.norm.cdf(2 * stats.norm.ppf(0.5 + q / 2)) - 1 - q), q)
    assert miscalibration_area(error, 2.0 * std) == pytest.approx(area, abs=0.01)
    # the closed form is the integral over a fine grid
    few, sigma = rng.normal(size=7), np.full(7, 0.6)
    q = np.linspace(0.0, 1.0, 200_001)
    observed = np.searchsorted(np.sort(within(few, sigma)), q, side="right") / 7
    assert miscalibration_area(few, sigma) == pytest.approx(np.trapezoid(np.abs(observed - q), q), abs=1e-5)
    assert miscalibration_area(np.full(3, 100.0), np.ones(3)) == pytest.approx(0.5)
    assert miscalibration_area(np.zeros(3), np.ones(3)) == pytest.approx(0.5)


def test_rank_correlation_is_that_of_scipy(rng: np.random.Generator) -> None:
    x = rng.integers(0, 8, 60).astype(float)
    y = x + rng.normal(scale=3.0, size=60)
    assert np.array_equal(ranks(x), stats.rankdata(x))
    assert spearman(x, y) == pytest.approx(stats.spearmanr(x, y).statistic, rel=1e-12)
    assert spearman(x, np.exp(x)) == pytest.approx(1.0)
    assert spearman(np.ones(5), np.arange(5.0)) == 0.0


def test_ratios(draws: tuple[np.ndarray, np.ndarray]) -> None:
    error, std = draws
    assert ratios(error, std, 10) == pytest.approx(np.ones(10), abs=0.15)
    assert ratios(error, std / 2, 10) == pytest.approx(2.0 * np.ones(10), abs=0.3)
    assert ratios(np.array([1.0, 2, 3, 4]), np.array([4.0, 1, 3, 2]), 2) == pytest.approx(
        [np.sqrt(20 / 5), np.sqrt(10 / 25)]
    )


def test_sparsification(rng: np.random.Generator) -> None:
    error = np.array([3.0, -1.0, 2.0, 4.0])
    removed = np.array([0.0, 0.25, 0.5, 0.75, 0.99])
    oracle = sparsification(error, np.abs(error), removed)
    assert oracle == pytest.approx([np.sqrt(30 / 4), np.sqrt(14 / 3), np.sqrt(5 / 2), 1.0, 1.0])
    worst = sparsification(error, -np.abs(error), removed)
    assert worst == pytest.approx([np.sqrt(30 / 4), np.sqrt(29 / 3), np.sqrt(25 / 2), 4.0, 4.0])


def test_standard_error(rng: np.random.Generator) -> None:
    x = rng.normal(size=400)
    alone = standard_error(x, np.arange(400))
    assert alone == pytest.approx(x.std(ddof=1) / 20.0, rel=1e-12)
    # four copies of each value are no more knowledge than one
    assert standard_error(np.repeat(x, 4), np.repeat(np.arange(400), 4)) == pytest.approx(alone, rel=1e-12)

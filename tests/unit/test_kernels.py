"""Kernels: formulas, slopes by complex step, and weighted sums with their gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gapkit.errors import ConfigError
from gapkit.kernels.gaussian import Gaussian
from gapkit.kernels.polynomial import DotProduct

KERNELS: dict[str, tuple[Any, Callable[[np.ndarray, np.ndarray], Any]]] = {
    f"dot^{zeta}": (DotProduct(zeta), lambda x, y, zeta=zeta: (x @ y) ** zeta) for zeta in (1, 2, 3, 4, 7, 16)
} | {
    f"gaussian {theta}": (Gaussian(theta), lambda x, y, theta=theta: np.exp(-np.sum((x - y) ** 2) / (2 * theta**2)))
    for theta in (0.3, 1.7)
}


@pytest.fixture
def x_sd(rng: np.random.Generator) -> np.ndarray:
    x = rng.normal(size=(6, 4))
    return x / np.linalg.norm(x, axis=1)[:, None]


@pytest.fixture
def y_md() -> np.ndarray:
    y = np.random.default_rng(5).normal(size=(9, 4))
    return y / np.linalg.norm(y, axis=1)[:, None]


def gradient(formula: Callable[[np.ndarray, np.ndarray], Any], x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """∂k/∂x by complex step."""
    return np.array([formula(x + 1e-30j * step, y).imag / 1e-30 for step in np.eye(len(x))])


@pytest.mark.parametrize("name", KERNELS)
def test_values(name: str, x_sd: np.ndarray, y_md: np.ndarray) -> None:
    kernel, formula = KERNELS[name]
    expected = np.array([[formula(x, y) for y in y_md] for x in x_sd])
    assert kernel.values(x_sd, y_md) == pytest.approx(expected, rel=1e-12, abs=1e-14)
    assert kernel.values_and_slopes(x_sd, y_md)[0] == pytest.approx(expected, rel=1e-12, abs=1e-14)


@pytest.mark.parametrize("name", KERNELS)
def test_slopes_and_contraction_are_the_derivative(name: str, x_sd: np.ndarray, y_md: np.ndarray) -> None:
    """Along directions ∂x, three per site: slope times what `contract` makes of ∂x·y and ∂x·x."""
    kernel, formula = KERNELS[name]
    moves_qcd = np.random.default_rng(8).normal(size=(6, 3, 4))
    dot_qcm, along_qc = moves_qcd @ y_md.T, np.einsum("qcd,qd->qc", moves_qcd, x_sd)
    _, slopes_sm = kernel.values_and_slopes(x_sd, y_md)
    found = kernel.contract(dot_qcm, along_qc) * slopes_sm[:, None]
    slopes = np.array([[gradient(formula, x, y) for y in y_md] for x in x_sd])  # (S, M, D)
    assert found == pytest.approx(np.einsum("scd,smd->scm", moves_qcd, slopes), abs=1e-12)


@pytest.mark.parametrize("name", KERNELS)
def test_weighted_sum_and_its_gradient(name: str, x_sd: np.ndarray, y_md: np.ndarray) -> None:
    kernel, formula = KERNELS[name]
    alpha = np.random.default_rng(9).normal(size=9)
    kept = [a.copy() for a in (x_sd, y_md, alpha)]
    (value_s, *_), (gradient_sd, *_) = kernel.weighted_sum(x_sd, y_md, np.stack([alpha, -alpha]), True)
    expected = [sum(a * gradient(formula, x, y) for a, y in zip(alpha, y_md, strict=True)) for x in x_sd]
    assert value_s == pytest.approx(kernel.values(x_sd, y_md) @ alpha, abs=1e-12)
    assert gradient_sd == pytest.approx(np.array(expected), abs=1e-11)
    (alone,), nothing = kernel.weighted_sum(x_sd, y_md, alpha[None], False)
    assert alone == pytest.approx(value_s, abs=1e-12)
    assert nothing is None
    assert all(np.array_equal(a, b) for a, b in zip((x_sd, y_md, alpha), kept, strict=True))


@pytest.mark.parametrize("name", KERNELS)
def test_symmetric_and_positive(name: str, x_sd: np.ndarray) -> None:
    kernel, _ = KERNELS[name]
    k = kernel.values(x_sd, x_sd)
    assert k == pytest.approx(k.T, rel=1e-14)
    assert np.diagonal(k) == pytest.approx(np.ones(6), abs=1e-14)
    assert np.linalg.eigvalsh(k).min() > -1e-14


def test_gaussian_never_exceeds_one() -> None:
    """|x-y|² of nearly equal points may round below zero."""
    x = np.full((50, 1), 1e4) + np.random.default_rng(0).normal(size=(50, 1)) * 1e-9
    assert Gaussian(1e-3).values(x, x).max() <= 1.0


@pytest.mark.parametrize("zeta", [0, -1, 17, 2.0, "2", True, None])
def test_zeta_outside_its_range(zeta: Any) -> None:
    with pytest.raises(ConfigError, match="zeta") as error:
        DotProduct(zeta)
    assert "1 to 16" in error.value.fix


@pytest.mark.parametrize("theta", [0.0, -1.0, np.nan, np.inf, "1", None])
def test_theta_outside_its_range(theta: Any) -> None:
    with pytest.raises(ConfigError, match="theta"):
        Gaussian(theta)


@pytest.mark.parametrize("theta", [0.3, 0.8, 5.0])
def test_expansion_of_the_gaussian_is_the_kernel(theta: float, rng: np.random.Generator) -> None:
    kernel, x, y = Gaussian(theta), rng.uniform(1.0, 6.0, 40), rng.uniform(1.0, 6.0, 30)
    (phi_x, slope_x), (phi_y, slope_y) = (kernel.expanded(values, 3.5, 2.5) for values in (x, y))
    k, shift = kernel.values(x[:, None], y[:, None]), np.subtract.outer(x, y)
    assert phi_x @ phi_y.T == pytest.approx(k, abs=1e-14)
    assert slope_x @ phi_y.T == pytest.approx(-shift / theta**2 * k, abs=1e-13 / theta)
    assert slope_x @ slope_y.T == pytest.approx((1.0 - shift**2 / theta**2) / theta**2 * k, abs=1e-12 / theta**2)

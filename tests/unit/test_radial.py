"""Overlap of a Gaussian with primitive orbitals against numerical quadrature of the integral that defines it."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.special

from gapkit.numerics.radial import GaussianOverlap

ETA = 1.7
ALPHAS_lk = np.array([[0.3, 0.9, 2.5], [0.2, 1.1, 2.0], [0.4, 0.8, 3.1], [0.25, 1.3, 1.9]])
R_p = np.array([0.0, 0.35, 1.2, 2.6, 4.1])


def integral(l: int, alpha: float, r: float) -> float:
    """∫ exp(-η|x-r|²) |x|^l exp(-α|x|²) Y_l0(x̂) d³x for an atom at distance r on the z axis."""
    nodes, weights = np.polynomial.legendre.leggauss(160)
    x, w_x = 6.0 * (nodes + 1.0), 6.0 * weights  # 0 … 12 Å, where exp(-η (x-r)²) has long vanished
    u, w_u = nodes, weights
    density = np.exp(-ETA * (x[:, None] ** 2 + r * r - 2.0 * r * x[:, None] * u))
    y_l0 = np.sqrt((2 * l + 1) / (4.0 * np.pi)) * scipy.special.eval_legendre(l, u)
    return float(2.0 * np.pi * (w_x * x ** (2 + l) * np.exp(-alpha * x**2)) @ density @ (w_u * y_l0))


def phi(r2_p: np.ndarray, l: int) -> np.ndarray:
    overlap = GaussianOverlap(ALPHAS_lk, ETA)
    out = np.full((3, len(r2_p)), np.nan, dtype=r2_p.dtype)
    assert overlap.exponentials(r2_p, l, out) is out
    return np.asarray(overlap.prefactors_lk[l][:, None] * out)


@pytest.mark.parametrize("l", range(len(ALPHAS_lk)))
def test_overlap_is_the_integral(l: int) -> None:
    """φ(r) r^l Y_l0 with Y_l0 = sqrt((2l+1)/4π) on the z axis."""
    phi_kp = phi(R_p**2, l)
    assert phi_kp.shape == (3, len(R_p))
    on_axis = R_p**l * np.sqrt((2 * l + 1) / (4.0 * np.pi))
    expected = np.array([[integral(l, alpha, r) for r in R_p] for alpha in ALPHAS_lk[l]])
    assert np.max(np.abs(phi_kp * on_axis - expected)) < 1e-12 * np.max(np.abs(expected))  # of the quadrature


def test_slope_is_minus_gamma_phi() -> None:
    overlap = GaussianOverlap(ALPHAS_lk, ETA)
    for l in range(len(ALPHAS_lk)):
        slope = phi(R_p**2 + 1e-30j, l).imag / 1e-30
        assert slope == pytest.approx(-overlap.gammas_lk[l][:, None] * phi(R_p**2, l), rel=1e-14)

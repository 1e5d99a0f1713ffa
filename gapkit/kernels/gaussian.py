"""Squared-exponential kernel, for terms of few features such as distances."""

from __future__ import annotations

import numpy as np

from gapkit._check import positive
from gapkit.typing import FloatArray


class Gaussian:
    """k(x, y) = exp(-|x-y|²/(2θ²)).

    Parameters
    ----------
    theta
        Length scale θ > 0, in the unit of the features.
    """

    def __init__(self, theta: float) -> None:
        self.theta = positive("theta", theta)

    def values(self, x_sd: FloatArray, y_md: FloatArray) -> FloatArray:
        """k, shape (S, M)."""
        square = np.einsum("sd,sd->s", x_sd, x_sd)[:, None] + np.einsum("md,md->m", y_md, y_md)
        square -= 2.0 * (x_sd @ y_md.T)
        square *= -0.5 / self.theta**2
        return np.exp(np.minimum(square, 0.0, out=square), out=square)

    def values_and_slopes(self, x_sd: FloatArray, y_md: FloatArray) -> tuple[FloatArray, FloatArray]:
        """k twice: ∂k/∂x = k (y-x)/θ²."""
        k = self.values(x_sd, y_md)
        return k, k

    def contract(self, dot_qcm: FloatArray, along_qc: FloatArray | None) -> FloatArray:
        """Σ_d ∂x_d (y_d - x_d)/θ²."""
        shifted = dot_qcm if along_qc is None else dot_qcm - along_qc[..., None]
        return shifted / self.theta**2

    def pullback(self, slopes_sm: FloatArray, x_sd: FloatArray, y_md: FloatArray) -> FloatArray:
        """Σ_m slope (y_m - x)/θ², shape (S, D)."""
        return (slopes_sm @ y_md - slopes_sm.sum(axis=1)[:, None] * x_sd) / self.theta**2

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
        # |x|² + |y|² - 2 x·y would cancel: weights of 1e5 and more magnify its rounding twentyfold
        square = np.zeros((len(x_sd), len(y_md)))
        for x_s, y_m in zip(x_sd.T, y_md.T, strict=True):
            square += np.subtract.outer(x_s, y_m) ** 2
        square *= -0.5 / self.theta**2
        return np.exp(square, out=square)

    def diagonal(self, x_sd: FloatArray) -> FloatArray:
        """k(x, x) = 1, shape (S,)."""
        return np.ones(len(x_sd))

    def values_and_slopes(self, x_sd: FloatArray, y_md: FloatArray) -> tuple[FloatArray, FloatArray]:
        """k twice: ∂k/∂x = k (y-x)/θ²."""
        k = self.values(x_sd, y_md)
        return k, k

    def contract(self, dot_qcm: FloatArray, along_qc: FloatArray | None) -> FloatArray:
        """Σ_d ∂x_d (y_d - x_d)/θ²."""
        shifted = dot_qcm if along_qc is None else dot_qcm - along_qc[..., None]
        return shifted / self.theta**2

    def weighted_sum(
        self,
        x_sd: FloatArray,
        y_md: FloatArray,
        alpha_m: FloatArray,
        gradient: bool,
        k_sm: FloatArray | None = None,
    ) -> tuple[FloatArray, FloatArray | None]:
        """Σ_m α_m k, shape (S,), and its gradient by x, shape (S, D); k itself into `k_sm`."""
        terms_sm = self.values(x_sd, y_md)
        if k_sm is not None:
            k_sm[:] = terms_sm
        terms_sm *= alpha_m
        sum_s = terms_sm.sum(axis=1)
        return sum_s, (terms_sm @ y_md - sum_s[:, None] * x_sd) / self.theta**2 if gradient else None

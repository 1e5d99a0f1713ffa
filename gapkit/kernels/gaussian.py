"""Squared-exponential kernel, for features with a length scale: distances, triangles, symmetry functions."""

from __future__ import annotations

from typing import Final

import numpy as np

from gapkit._check import positive
from gapkit.typing import FloatArray

WIDEST: Final = 15.0
"""Largest distance from the centre, in θ, at which the series of `Gaussian.expanded` is used."""

_BATCH: Final = 131072  # kernel values that stay in the cache between the sums over them


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
        if x_sd.shape[1] == 1:  # a fourth of the time
            square = np.subtract.outer(x_sd[:, 0], y_md[:, 0]) ** 2
        else:
            from scipy.spatial.distance import cdist  # slow to load

            square = cdist(x_sd, y_md, "sqeuclidean")
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

    def curvatures(self, x_sd: FloatArray, y_md: FloatArray) -> tuple[FloatArray, FloatArray]:
        """k/θ² and k: ∂²k/∂x∂y = k [1/θ² + (y-x)(x-y)ᵀ/θ⁴]."""
        k = self.values(x_sd, y_md)
        return k / self.theta**2, k

    def expanded(self, x_s: FloatArray, centre: float, span: float) -> tuple[FloatArray, FloatArray]:
        """φ_n(x) and φ_n'(x) with k(x, y) = Σ_n φ_n(x) φ_n(y) to rounding, shape (S, N), for one feature.

        φ_n = exp(-u²/2) uⁿ/√n! with u = (x - centre)/θ, from the series of exp(u v); N such that the rest is below
        1e-17 for all features within `span` of the centre, which is at most `WIDEST` θ: exp(-u²) underflows at 27 θ.
        """
        u_s, most = (x_s - centre) / self.theta, (span / self.theta) ** 2
        orders, term = 1, np.exp(-most)
        while term > 1e-17 or orders < most:
            term *= most / orders
            orders += 1
        phi_ns = np.empty((orders, len(u_s)))
        phi_ns[0] = np.exp(-0.5 * u_s**2)
        for n in range(1, orders):
            np.multiply(phi_ns[n - 1], u_s / np.sqrt(n), out=phi_ns[n])
        slope_ns = -u_s * phi_ns
        slope_ns[1:] += np.sqrt(np.arange(1, orders))[:, None] * phi_ns[:-1]
        return phi_ns.T, slope_ns.T / self.theta

    def weighted_sum(
        self,
        x_sd: FloatArray,
        y_md: FloatArray,
        alpha_km: FloatArray,
        gradient: bool,
        k_sm: FloatArray | None = None,
    ) -> tuple[FloatArray, FloatArray | None]:
        """Σ_m α_km k, shape (K, S), and its gradient by x, shape (K, S, D); k itself into `k_sm`."""
        total_ks = np.empty((len(alpha_km), len(x_sd)))
        gradient_ksd = np.empty((*total_ks.shape, x_sd.shape[1])) if gradient else None
        size = max(1, _BATCH // max(1, len(y_md)))
        for here in (slice(a, a + size) for a in range(0, len(x_sd), size)):
            values_sm = self.values(x_sd[here], y_md)
            if k_sm is not None:
                k_sm[here] = values_sm
            for k, alpha_m in enumerate(alpha_km):
                terms_sm = values_sm * alpha_m
                total_ks[k, here] = terms_sm.sum(axis=1)  # pairwise: weights of 1e5 and more cancel here
                if gradient_ksd is not None:
                    pulled_sd = terms_sm @ y_md - total_ks[k, here, None] * x_sd[here]
                    gradient_ksd[k, here] = pulled_sd / self.theta**2
        return total_ks, gradient_ksd

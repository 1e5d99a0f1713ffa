"""Sums over sites of a squared-exponential kernel of few features, in a time linear in the number of sites.

    Σ_ss' w_s k(x_s, x_s') w_s' = Σ_N (Σ_s w_s Φ_N(x_s))²      Φ_N(x) = φ_n1(x_1) φ_n2(x_2) φ_n3(x_3)

with the series of `Gaussian.expanded` for each feature. A site takes as many operations as there are functions Φ_N:
dozens for a distance, ten thousand for a triangle. A sum over pairs of sites takes less where sites are few.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from gapkit.kernels.base import Kernel
from gapkit.kernels.gaussian import WIDEST, Gaussian
from gapkit.typing import FloatArray

_MOST_FEATURES: Final = 3
_FUNCTIONS_PER_SITE: Final = 4  # above it, of more than one feature, pairs of sites are faster
_BATCH: Final = 500_000  # values of Φ in memory at once


@dataclass(frozen=True, eq=False)
class Series:
    """φ and φ' of each feature at some sites, shapes (S, N_d)."""

    features: Sequence[tuple[FloatArray, FloatArray]]

    @classmethod
    def of(cls, kernel: Kernel, x_sd: FloatArray) -> Series | None:
        """For a kernel and sites where it pays, else None."""
        if not isinstance(kernel, Gaussian) or x_sd.shape[1] > _MOST_FEATURES:
            return None
        low_d, high_d = x_sd.min(axis=0), x_sd.max(axis=0)
        centre_d, span_d = 0.5 * (low_d + high_d), 0.5 * (high_d - low_d)
        if (span_d > WIDEST * kernel.theta).any():
            return None
        found = [kernel.expanded(*one) for one in zip(x_sd.T, centre_d.tolist(), span_d.tolist(), strict=True)]
        series = cls(found)
        few = len(found) > 1 and series.n_functions > _FUNCTIONS_PER_SITE * len(x_sd)
        return None if few else series

    @property
    def n_functions(self) -> int:
        """Number N of products."""
        return int(np.prod([phi_sn.shape[1] for phi_sn, _ in self.features]))

    def sums(self, weight_st: FloatArray | None, rows_std: FloatArray | None = None) -> FloatArray:
        """Σ_s w_st Φ(x_s) + Σ_sd rows_std ∂Φ/∂x_d, shape (T, N), for T sets of weights and derivatives."""
        given = [array for array in (weight_st, rows_std) if array is not None]
        n, t = given[0].shape[:2]
        total_tn = np.zeros((t, self.n_functions))
        size = max(1, _BATCH // self.n_functions)
        for here in (slice(a, a + size) for a in range(0, n, size)):
            if weight_st is not None:
                total_tn += weight_st[here].T @ self._products(here)
            if rows_std is not None:
                for d in range(len(self.features)):
                    total_tn += rows_std[here, :, d].T @ self._products(here, d)
        return total_tn

    def _products(self, here: slice, by: int = -1) -> FloatArray:
        """Φ of some sites, or its derivative by one feature, shape (S, N)."""
        product_sn = np.ones((1, 1))
        for d, (phi_sn, slope_sn) in enumerate(self.features):
            own_sn = (slope_sn if d == by else phi_sn)[here]
            product_sn = (product_sn[:, :, None] * own_sn[:, None, :]).reshape(len(own_sn), -1)
        return product_sn

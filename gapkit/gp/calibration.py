"""From raw standard deviations to those that errors should be compared with.

Found by `gapkit.uncertainty.calibrate`, stored in the model, applied by every prediction.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gapkit.typing import FloatArray, IntArray, Kind

ALL = 0
"""Atomic number of a scale that holds for all species, and for energies and stresses."""


@dataclass(frozen=True, eq=False)
class Scale:
    """A rising function of the raw standard deviation u, u² = data part + prior_weight · prior part.

    Between knots the logarithm of σ is linear in that of u; outside, σ is proportional to u above the last knot, and
    constant below the first. One knot is a plain factor: σ = (sigma/raw) u everywhere.

    Attributes
    ----------
    raw_k, sigma_k
        Knots, ascending, shape (K,); in eV/atom, eV/Å or eV/Å³.
    prior_weight
        Weight of what the sparse points do not span, 0 … 1.
    """

    raw_k: FloatArray
    sigma_k: FloatArray
    prior_weight: float = 1.0

    def raw(self, data_xc: FloatArray, prior_xc: FloatArray) -> FloatArray:
        """u of every value, in the shape of the two variances."""
        return np.sqrt(data_xc + self.prior_weight * prior_xc)

    def apply(self, data_xc: FloatArray, prior_xc: FloatArray) -> FloatArray:
        """σ of components, shape (X, C): their rms is the function of that of u, and they share it as they share u."""
        u_xc = self.raw(data_xc, prior_xc)
        u_x = np.sqrt(np.mean(u_xc**2, axis=1))
        return u_xc * (self.sigma(u_x) / np.where(u_x > 0.0, u_x, 1.0))[:, None]

    def sigma(self, u_x: FloatArray) -> FloatArray:
        """σ of values of u, shape (X,)."""
        if len(self.raw_k) == 1:
            return u_x * (self.sigma_k[0] / self.raw_k[0])
        inside = np.clip(u_x, self.raw_k[0], self.raw_k[-1])
        sigma_x = np.exp(np.interp(np.log(inside), np.log(self.raw_k), np.log(self.sigma_k)))
        return sigma_x * np.maximum(1.0, u_x / self.raw_k[-1])


@dataclass(frozen=True, eq=False)
class Calibration:
    """Scales of each kind of property, by species.

    Attributes
    ----------
    scales
        {kind: {atomic number: Scale}}; number 0 stands for all species without a scale of their own.
    report
        {kind: {name: number}}: size of the calibration set, coverage, NLL, CRPS, miscalibration area, Spearman ρ, …
    samples
        {kind: (X, 2)}: σ and error (rms over components) of calibration values, thousands at most.
    """

    scales: Mapping[Kind, Mapping[int, Scale]]
    report: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    samples: Mapping[Kind, FloatArray] = field(default_factory=dict)

    def std(self, kind: Kind, numbers_x: IntArray, data_xc: FloatArray, prior_xc: FloatArray) -> FloatArray | None:
        """Calibrated σ of components, shape (X, C), from two parts of the variance; None for a kind without a scale."""
        scales = self.scales.get(kind)
        if not scales:
            return None
        std_xc = np.empty_like(data_xc)
        for number in np.unique(numbers_x):
            mine = numbers_x == number
            std_xc[mine] = scales.get(int(number), scales[ALL]).apply(data_xc[mine], prior_xc[mine])
        return std_xc

"""Energies per atom as a smooth function of the fingerprints: what every structure's energy should be by the others.

A Gaussian process on averaged SOAP vectors. Length and noise are those of the largest leave-one-out predictive density
(C. E. Rasmussen and C. K. I. Williams, Gaussian Processes for Machine Learning, 2006, section 5.4.2), with the heavy
tails of a Student distribution, so that a few wrong energies do not decide.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from gapkit.typing import FloatArray

_LENGTHS: Final = (0.1, 0.3, 1.0, 3.0)  # over the root of the median square distance
_NOISES: Final = tuple(10.0 ** np.arange(-9, 1))  # variances over that of the process
_FREEDOM: Final = 4.0
_MEDIAN_SQUARE: Final = 0.455  # of a standard normal variable


class LeftOut(NamedTuple):
    """Every energy against what the others say of it.

    Attributes
    ----------
    residual_s : energy less its prediction, eV/atom.
    std_s : σ of the prediction, eV/atom.
    density : log density of all residuals, the larger the better.
    length, noise : indices of the settings.
    """

    residual_s: FloatArray
    std_s: FloatArray
    density: float
    length: int
    noise: float


class Smooth:
    """Leave-one-out residuals of energies of the same structures again and again, from one decomposition.

    Parameters
    ----------
    x_sf
        Fingerprints, shape (S, F).
    shares_sz
        Share of every element, shape (S, Z): what is linear in it is taken out of the energies first.

    Attributes
    ----------
    third_s
        Distance of every structure to its third nearest.
    """

    def __init__(self, x_sf: FloatArray, shares_sz: FloatArray) -> None:
        square_s = np.square(x_sf).sum(axis=1)
        d2_ss = np.maximum(square_s[:, None] + square_s - 2.0 * x_sf @ x_sf.T, 0.0)
        scale = float(np.median(d2_ss)) or 1.0
        self.third_s = np.sqrt(np.partition(d2_ss, 3, axis=1)[:, 3])
        self._shares_sz = shares_sz
        self._parts = [np.linalg.eigh(np.exp(-0.5 * d2_ss / (scale * length**2)) + 1.0) for length in _LENGTHS]

    def leave_one_out(self, energy_s: FloatArray) -> LeftOut:
        """Residuals with the best settings for these energies, eV/atom."""
        linear = self._shares_sz @ np.linalg.lstsq(self._shares_sz, energy_s, rcond=None)[0]
        rest_s = energy_s - linear
        best: LeftOut | None = None
        for length, (values, vectors) in enumerate(self._parts):
            rotated = vectors.T @ rest_s
            square_ss = np.square(vectors)
            for noise in _NOISES:
                inverse = 1.0 / (np.maximum(values, 0.0) + noise)
                variance_s = 1.0 / (square_ss @ inverse)
                residual_s = (vectors @ (rotated * inverse)) * variance_s
                scale = float(np.median(residual_s**2 / variance_s)) / _MEDIAN_SQUARE or 1e-30
                std_s = np.sqrt(scale * variance_s)
                tails = np.log1p((residual_s / std_s) ** 2 / _FREEDOM).sum()
                density = -float(np.log(std_s).sum()) - 0.5 * (_FREEDOM + 1.0) * float(tails)
                if best is None or density > best.density:
                    best = LeftOut(residual_s, std_s, density, length, float(noise))
        if best is None:
            raise ArithmeticError("no setting was tried")
        return best

    def step(self, energy_s: FloatArray, high_s: FloatArray, like: LeftOut) -> tuple[float, float]:
        """Offset of the structures with high_s = 1 by generalised least squares, and its standard error, eV/atom."""
        values, vectors = self._parts[like.length]
        inverse = 1.0 / (np.maximum(values, 0.0) + like.noise)
        columns = np.column_stack([high_s, self._shares_sz])
        a = vectors.T @ columns
        normal = a.T @ (a * inverse[:, None])
        solved = np.linalg.pinv(normal, hermitian=True)
        offset = float((solved @ (a.T @ (inverse * (vectors.T @ energy_s))))[0])
        scale = float(np.median((like.residual_s / like.std_s) ** 2)) / _MEDIAN_SQUARE
        variance_s = 1.0 / (np.square(vectors) @ inverse)
        amplitude = float(np.median(like.std_s**2 / variance_s))
        return offset, float(np.sqrt(max(scale, 1.0) * amplitude * max(solved[0, 0], 0.0)))

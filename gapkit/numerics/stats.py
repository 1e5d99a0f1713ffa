"""How good standard deviations are: scores and curves of errors against the σ that were stated for them.

All functions take errors and σ of equal shape, σ > 0, and treat each pair as a draw from N(0, σ²).
"""

from __future__ import annotations

import numpy as np
from scipy.special import erf, ndtri

from gapkit.typing import FloatArray


def nll(error: FloatArray, std: FloatArray) -> float:
    """Mean negative log density of the errors, ½ log 2πσ² + ½ (error/σ)²."""
    return float(np.mean(0.5 * np.log(2.0 * np.pi * std**2) + 0.5 * (error / std) ** 2))


def crps(error: FloatArray, std: FloatArray) -> float:
    """Mean continuous ranked probability score, in the unit of the errors; smaller is better.

    σ [z (2Φ(z) - 1) + 2φ(z) - 1/√π] with z = error/σ: T. Gneiting and A. E. Raftery, J. Am. Stat. Assoc. 102, 359
    (2007), section 4.2, with the sign turned.
    """
    z = error / std
    density = np.exp(-0.5 * z**2) / np.sqrt(2.0 * np.pi)
    return float(np.mean(std * (z * erf(z / np.sqrt(2.0)) + 2.0 * density - 1.0 / np.sqrt(np.pi))))


def within(error: FloatArray, std: FloatArray) -> FloatArray:
    """Probability of the smallest central interval that holds each error, 2Φ(|error|/σ) - 1, shape (n,).

    Uniform between 0 and 1 if σ is true.
    """
    probability: FloatArray = erf(np.abs(error / std).ravel() / np.sqrt(2.0))
    return probability


def coverage(error: FloatArray, std: FloatArray, level: float) -> float:
    """Share of the errors inside the central interval of probability `level`, 0 < level < 1."""
    return float(np.mean(np.abs(error) <= ndtri(0.5 + 0.5 * level) * std))


def miscalibration_area(error: FloatArray, std: FloatArray) -> float:
    """Area between observed and expected coverage of central intervals, 0 … 0.5.

    V. Kuleshov et al., ICML 2018; K. Tran et al., Mach. Learn.: Sci. Technol. 1, 025006 (2020). The integral of
    |observed - expected| is that of |p₍ᵢ₎ - q| over i/n ≤ q ≤ (i+1)/n, with p₍ᵢ₎ the sorted probabilities of `within`,
    so no grid is needed.
    """
    p = np.sort(within(error, std))
    edges = np.arange(len(p) + 1) / len(p)

    def antiderivative(q: FloatArray) -> FloatArray:
        return 0.5 * (q - p) * np.abs(q - p)

    return float(np.sum(antiderivative(edges[1:]) - antiderivative(edges[:-1])))


def ranks(x: FloatArray) -> FloatArray:
    """Rank of every value, 1 … n, shape (n,); equal values share their mean rank."""
    _, index, count = np.unique(x, return_inverse=True, return_counts=True)
    return (np.cumsum(count) - 0.5 * (count - 1))[index]


def spearman(x: FloatArray, y: FloatArray) -> float:
    """Rank correlation of two sets of n values; 0 where one of them is constant."""
    a, b = ranks(x), ranks(y)
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / size if size > 0.0 else 0.0


def ratios(error: FloatArray, std: FloatArray, n_ranges: int) -> FloatArray:
    """rms error over rms σ in ranges of σ with equally many values, rising, shape (n_ranges,).

    Above one: σ is too small there. The reliability diagram of D. Levi et al., Sensors 22, 5540 (2022).
    """
    parts = np.array_split(np.argsort(std, kind="stable"), n_ranges)
    return np.array([np.sqrt(np.mean(error[own] ** 2) / np.mean(std[own] ** 2)) for own in parts])


def sparsification(error: FloatArray, by: FloatArray, removed: FloatArray) -> FloatArray:
    """rms of the errors that are left when a share of the values, those with the largest `by`, is taken away.

    Parameters
    ----------
    error, by
        Shape (n,); with by = |error| it is the best possible curve, the oracle.
    removed
        Shares, shape (k,), 0 ≤ removed < 1.

    Returns
    -------
    Shape (k,), in the unit of the errors. E. Ilg et al., ECCV 2018.
    """
    square = np.cumsum(error[np.argsort(by, kind="stable")] ** 2)
    left = np.maximum(1, np.ceil((1.0 - removed) * len(error)).astype(int))
    return np.sqrt(square[left - 1] / left)


def standard_error(x: FloatArray, groups: np.ndarray) -> float:
    """Standard error of the mean of values that come in independent groups, at least two, not independent within them.

    The robust variance of K.-Y. Liang and S. L. Zeger, Biometrika 73, 13 (1986), for a mean.
    """
    _, index_n = np.unique(groups, return_inverse=True)
    sum_g = np.bincount(index_n, weights=x - x.mean())
    return float(np.sqrt(len(sum_g) / (len(sum_g) - 1) * (sum_g @ sum_g))) / len(x)

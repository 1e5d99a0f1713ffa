"""The evidence as a function of σ of the labels and δ of the terms, with its gradient, from compressed data alone.

With A = K_mm + Σ_g K_gᵀK_g/σ_g², where K_mm = Σ_t K_t/δ_t² and r_g are residuals at the weights w (MacKay, Neural
Comput. 4, 415 (1992), eqs. 4.8-4.10, for several noises and priors):

    ∂L/∂log σ_g = (‖r_g‖² + tr A⁻¹K_gᵀK_g) / σ_g² - n_g
    ∂L/∂log δ_t = (wᵀK_t w + tr A⁻¹K_t) / δ_t² - M_t

Each part is a mean square in units of σ or δ, minus the number of what is squared; at the maximum they are equal. An
evaluation costs one QR factorisation and one triangular solve of as many rows as are left after rows that share their
σ have been folded together: with G such sets, about (5/3 G + 2) M³ operations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from scipy.linalg import block_diag, solve_triangular

from gapkit.gp.compress import CompressedRows
from gapkit.gp.posterior import in_sigmas, stacked
from gapkit.numerics.factor import merged_triangle, whiten
from gapkit.typing import FloatArray

_LEAST_KNOWN = 1e-3  # share of the weights of a term that the data determine at least, in a step
_NOTHING = 1e-12  # mean squares, of labels that are explained exactly, are not below it


@dataclass(frozen=True, eq=False)
class Part:
    """Rows whose σ are varied together.

    Attributes
    ----------
    rows
        Compressed data, of one width.
    sigmas
        σ of each, in units of the one that is varied.
    """

    rows: Sequence[CompressedRows]
    sigmas: Sequence[float]

    def folded(self) -> _Folded:
        """One factor of them all."""
        factors, width = in_sigmas(self.rows, self.sigmas), self.rows[0].factor_nm.shape[1]
        if sum(map(len, factors)) > width:
            factor_nm = merged_triangle(np.zeros((width, width), order="F"), factors)
        else:
            factor_nm = np.asfortranarray(np.concatenate(factors))
        log_scale = sum(r.log_scale + r.n_rows * float(np.log(s)) for r, s in zip(self.rows, self.sigmas, strict=True))
        return _Folded(factor_nm, sum(r.n_rows for r in self.rows), log_scale)


class _Folded(NamedTuple):
    """Factor for σ = 1, number of rows, and the sum of the logarithms of what they were divided by."""

    factor_nm: FloatArray
    n_rows: int
    log_scale: float


@dataclass(frozen=True, eq=False)
class Balance:
    """The evidence, and what pulls at each σ and δ.

    Attributes
    ----------
    log_evidence
        Log marginal likelihood.
    misfit_g, known_g, rows_g
        ‖r‖²/σ²; tr A⁻¹KᵀK/σ², the number of weights that these rows determine; number of rows; shape (G,).
    size_t, vague_t, points_t
        wᵀKw/δ²; tr A⁻¹K/δ², the number of weights that the data do not determine; number of points; shape (T,).
    scales_b
        Factors ≥ 0 of the baselines of open scale, at their best, shape (B,).
    """

    log_evidence: float
    misfit_g: FloatArray
    known_g: FloatArray
    rows_g: FloatArray
    size_t: FloatArray
    vague_t: FloatArray
    points_t: FloatArray
    scales_b: FloatArray

    @property
    def gradient(self) -> FloatArray:
        """Derivatives of the log evidence by log σ and log δ, shape (G + T,)."""
        of_sigmas = self.misfit_g + self.known_g - self.rows_g
        return np.concatenate([of_sigmas, self.size_t + self.vague_t - self.points_t])

    @property
    def curvature(self) -> FloatArray:
        """About minus the second derivatives, shape (G + T,): twice the numbers that are determined."""
        of_sigmas = 2.0 * np.maximum(self.rows_g - self.known_g, _LEAST_KNOWN * self.rows_g)
        return np.concatenate([of_sigmas, 2.0 * self.determined_t])

    @property
    def determined_t(self) -> FloatArray:
        """Number of weights of each term that the data determine, at least a thousandth of them, shape (T,)."""
        return np.maximum(self.points_t - self.vague_t, _LEAST_KNOWN * self.points_t)

    @property
    def sigma_steps(self) -> FloatArray:
        """Factors of σ in one step, shape (G,), after which the evidence of σ alone is not smaller.

        Dempster, Laird & Rubin, J. R. Stat. Soc. B 39, 1 (1977); Bishop, Pattern Recognition and Machine Learning,
        eqs. 9.63-9.68.
        """
        return np.sqrt(np.maximum(self.misfit_g + self.known_g, _NOTHING) / self.rows_g)

    @property
    def delta_steps(self) -> FloatArray:
        """Factors of δ in one step of MacKay's fixed point (eq. 4.10), shape (T,)."""
        return np.sqrt(np.maximum(self.size_t, _NOTHING) / self.determined_t)


class Likelihood:
    """Evidence of compressed data for any σ and δ; no kernel is evaluated.

    Parameters
    ----------
    priors
        Upper triangular factor of K_t of each term, without δ.
    parts
        Rows whose σ can be varied, those of each σ together.
    fixed
        Rows whose σ cannot.
    n_open
        Number of baselines of open scale, whose columns stand before the targets. They take their best scales in every
        evaluation, so that the gradient by σ and δ does not know of them (envelope theorem).
    """

    def __init__(self, priors: Sequence[FloatArray], parts: Sequence[Part], fixed: Part, n_open: int = 0) -> None:
        self._priors, self._n_open = priors, n_open
        self._parts = [part.folded() for part in parts]
        self._fixed = [fixed.folded()] if fixed.rows else []
        self._edges = np.cumsum([0] + [len(u_mm) for u_mm in priors]).tolist()

    def at(self, sigma_g: FloatArray, delta_t: FloatArray) -> Balance:
        """The evidence with these σ and δ, and its derivatives."""
        m, varied = self._edges[-1], list(zip(self._parts, sigma_g, strict=True))
        u_t = [u_mm / delta for u_mm, delta in zip(self._priors, delta_t, strict=True)]
        # rows of the smallest σ, those of free atoms, first: Householder QR loses digits of others before them
        factors = [part.factor_nm.copy("F") for part in self._fixed] + [part.factor_nm / s for part, s in varied]
        triangle = stacked(np.asfortranarray(block_diag(*u_t)), factors)
        scales_b, misfit = best_scales(triangle[m:, m:], self._n_open)
        data_mm, target_m = triangle[:m, :m], triangle[:m, -1] - triangle[:m, m:-1] @ scales_b
        weights_m = solve_triangular(data_mm, target_m, check_finite=False)
        solution = np.concatenate([weights_m, scales_b, [-1.0]])
        misfit_g = [np.square(part.factor_nm @ solution).sum() / s**2 for part, s in varied]
        known_g = [np.square(whiten(data_mm, part.factor_nm[:, :m])).sum() / s**2 for part, s in varied]
        own = list(zip(u_t, pairwise(self._edges), strict=True))
        return Balance(
            log_evidence=self._log_evidence(misfit, data_mm, u_t, sigma_g),
            misfit_g=np.array(misfit_g),
            known_g=np.array(known_g),
            rows_g=np.array([float(part.n_rows) for part in self._parts]),
            size_t=np.array([np.square(u_mm @ weights_m[a:b]).sum() for u_mm, (a, b) in own]),
            vague_t=np.array([_vague(u_mm, data_mm[a:, a:]) for u_mm, (a, _) in own]),
            points_t=np.array([float(len(u_mm)) for u_mm in u_t]),
            scales_b=scales_b,
        )

    def _log_evidence(
        self, misfit: float, data_mm: FloatArray, u_t: Sequence[FloatArray], sigma_g: FloatArray
    ) -> float:
        """From the squares of what is not explained, and the factor of A."""
        parts = [*self._parts, *self._fixed]
        n, log_noise = sum(part.n_rows for part in parts), sum(part.log_scale for part in parts)
        log_noise += sum(part.n_rows * np.log(s) for part, s in zip(self._parts, sigma_g, strict=True))
        log_ratio = _log_diagonal(data_mm) - sum(map(_log_diagonal, u_t))
        return float(-0.5 * misfit - log_ratio - log_noise - 0.5 * n * np.log(2.0 * np.pi))


def _log_diagonal(upper_mm: FloatArray) -> float:
    return float(np.log(np.diagonal(upper_mm)).sum())


def _vague(u_mm: FloatArray, data_mm: FloatArray) -> float:
    """tr A⁻¹K of the term whose weights come first in this part of the factor of A."""
    wide = np.zeros((len(u_mm), len(data_mm)))
    wide[:, : len(u_mm)] = u_mm
    return float(np.square(whiten(data_mm, wide)).sum())


def best_scales(rest: FloatArray, n_open: int) -> tuple[FloatArray, float]:
    """Factors ≥ 0 of the baselines of open scale of the largest evidence, shape (B,), and the misfit that they leave.

    The evidence depends on them through the misfit alone, which is a square: what no weights of the sparse points can
    account for, [b | y] below the triangle of A, is fitted by least squares.
    """
    if not n_open:
        return np.empty(0), float(np.square(rest[:, -1]).sum())
    from scipy.optimize import nnls  # slow to load, and few models have such a baseline

    scales_b, root = nnls(rest[:, :-1], rest[:, -1])
    return scales_b, float(root**2)

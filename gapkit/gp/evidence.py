"""Scales from the data, at the maximum of the evidence: of σ, of the terms, of baselines."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
from scipy.linalg import block_diag, solve_triangular

from gapkit.gp.compress import CompressedRows
from gapkit.gp.noise import Noise
from gapkit.gp.posterior import solve, stacked
from gapkit.numerics.factor import whiten
from gapkit.typing import KINDS, FloatArray, Kind

_log = logging.getLogger(__name__)

_STEPS, _CLOSE = 30, 0.02
_RANGE = (1e-3, 1e3)  # of the factor: labels are neither exact nor worthless
_DELTAS = (1e-4, 1e4)  # eV
_TERM_STEPS, _TERM_CLOSE = 12, 0.05


def learn_scale(prior_mm: FloatArray, rows: Sequence[CompressedRows], start: Noise) -> Noise:
    """`start` times the one factor that makes the forces (without any: the energies) most probable.

    A step sets the factor to the root mean square, in units of σ, of residual and posterior
    standard deviation of the rows; the evidence never falls (Dempster, Laird & Rubin, J. R. Stat.
    Soc. B 39, 1 (1977); Bishop, Pattern Recognition and Machine Learning, eqs. 9.63-9.68).

    The weights of energies and stresses relative to forces are kept: with few energies and many
    forces the evidence would give energies away, where held-out errors do not.

    Parameters
    ----------
    prior_mm
        Upper triangular factor of K_mm/δ².
    rows
        Compressed data; rows of frames with their own σ keep it.
    start
        First σ of each kind.
    """
    base: dict[Kind, float] = {k: getattr(start, k) for k in KINDS if getattr(start, k) is not None}
    used = [part for part in rows if part.key.own or part.key.kind in base]
    free = [part for part in used if not part.key.own]
    guide: list[CompressedRows] = next(
        (own for k in ("forces", "energy", "stress") if (own := [p for p in free if p.key.kind == k])), []
    )
    factor = 1.0
    for _ in range(_STEPS if guide else 0):
        posterior = solve(prior_mm, used, [1.0 if p.key.own else factor * base[p.key.kind] for p in used])
        squares = [_expected_square(p, posterior.weights_m, posterior.data_mm) for p in guide]
        mean = sum(squares) / sum(p.n_rows for p in guide)
        before, factor = factor, float(np.clip(np.sqrt(mean) / base[guide[0].key.kind], *_RANGE))
        if abs(np.log(factor / before)) < _CLOSE:
            break
    _log.info("σ of the labels: %g times the usual ones", factor)
    learned = {kind: factor * base[kind] if kind in base else None for kind in KINDS}
    return Noise(learned["energy"], learned["forces"], learned["stress"], start.groups)


def _expected_square(part: CompressedRows, weights_m: FloatArray, data_mm: FloatArray) -> float:
    """Sum over the rows of squared residual and posterior variance."""
    k_nm, y_n = part.factor_nm[:, :-1], part.factor_nm[:, -1]
    residual_n = k_nm @ weights_m - y_n
    return float(residual_n @ residual_n + np.square(whiten(data_mm, k_nm)).sum())


def learn_deltas(
    priors: Sequence[FloatArray],
    deltas: Sequence[float],
    free: Sequence[bool],
    rows: Sequence[CompressedRows],
    sigmas: Sequence[float],
) -> list[float]:
    """Prior standard deviation δ of each term that makes the data most probable.

    Fixed point of MacKay (Neural Comput. 4, 415 (1992), eq. 4.10): δ² = wᵀKw / γ with the number γ of weights of the
    term that the data determine, M - tr(K A⁻¹)/δ².

    Parameters
    ----------
    priors
        Upper triangular factor of K of each term, without δ.
    deltas
        First δ of each term, eV.
    free
        Which of them are learned.
    rows, sigmas
        Compressed data and their σ.
    """
    found, edges = list(deltas), np.cumsum([0] + [len(u) for u in priors])
    for _ in range(_TERM_STEPS if any(free) else 0):
        prior_mm = np.asfortranarray(block_diag(*(u / d for u, d in zip(priors, found, strict=True))))
        posterior, before = solve(prior_mm, rows, sigmas), list(found)
        inverse_mm = solve_triangular(posterior.data_mm, np.eye(len(prior_mm)), check_finite=False)
        for t, u_mm in enumerate(priors):
            if free[t]:
                own = slice(edges[t], edges[t + 1])
                unexplained = np.square(u_mm @ inverse_mm[own]).sum() / found[t] ** 2
                size = np.square(u_mm @ posterior.weights_m[own]).sum()
                known = max(len(u_mm) - unexplained, 1e-3 * len(u_mm))
                found[t] = float(np.clip(np.sqrt(size / known), *_DELTAS))
        if all(abs(np.log(new / old)) < _TERM_CLOSE for new, old in zip(found, before, strict=True)):
            break
    _log.info("δ of the terms: %s eV", ", ".join(f"{delta:.3g}" for delta in found))
    return found


def learn_baseline_scales(
    prior_mm: FloatArray, rows: Sequence[CompressedRows], sigmas: Sequence[float], n_open: int
) -> FloatArray:
    """Factors ≥ 0 of the energies of the baselines of open scale that make the data most probable, shape (B,).

    The evidence depends on them through the misfit alone, which is a square: what no weights of the sparse points can
    account for, [b | y] below the triangle of A, is fitted by least squares.
    """
    if not n_open:
        return np.empty(0)
    from scipy.optimize import nnls  # slow to load, and few models have such a baseline

    m = len(prior_mm)
    rest = stacked(prior_mm, rows, sigmas)[m:, m:]
    return nnls(rest[:, :-1], rest[:, -1])[0]

"""The scale of σ from the data: maximum of the evidence by expectation maximisation."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from gapkit.gp.compress import CompressedRows
from gapkit.gp.noise import Noise
from gapkit.gp.posterior import solve
from gapkit.numerics.factor import whiten
from gapkit.typing import KINDS, FloatArray, Kind

_log = logging.getLogger(__name__)

_STEPS, _CLOSE = 30, 0.02
_RANGE = (1e-3, 1e3)  # of the factor: labels are neither exact nor worthless


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

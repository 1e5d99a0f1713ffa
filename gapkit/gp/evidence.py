"""Scales from the data, at the maximum of the evidence: of σ, of the terms, of baselines."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from gapkit.gp.compress import CompressedRows, vanish
from gapkit.gp.likelihood import Likelihood, Part, best_scales
from gapkit.gp.noise import Noise
from gapkit.gp.posterior import in_sigmas, stacked
from gapkit.typing import KINDS, FloatArray, Kind

_log = logging.getLogger(__name__)

_STEPS, _CLOSE = 30, 0.02
_RANGE = (1e-3, 1e3)  # of the factor: labels are neither exact nor worthless
_DELTAS = (1e-4, 1e4)  # eV
_TERM_STEPS, _TERM_CLOSE = 12, 0.05
_GUIDES: tuple[Kind, ...] = ("forces", "energy", "stress")
_NONE = np.empty(0)


def learn_scale(prior_mm: FloatArray, rows: Sequence[CompressedRows], start: Noise) -> Noise:
    """`start` times the one factor that makes the forces (without any: the energies) most probable.

    A step sets the factor to the root mean square, in units of σ, of residual and posterior
    standard deviation of the rows; the evidence never falls (Dempster, Laird & Rubin, J. R. Stat.
    Soc. B 39, 1 (1977); Bishop, Pattern Recognition and Machine Learning, eqs. 9.63-9.68).

    The weights of energies and stresses relative to forces are kept: with few energies and many
    forces the evidence would give energies away, where held-out errors do not. Forces that are all zero, by symmetry,
    have no say.

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
    own = [part for part in rows if part.key.own]
    of_kind = {k: [p for p in rows if p.key.kind == k and not p.key.own] for k in _GUIDES}
    free: dict[Kind, Part] = {
        k: Part(of_kind[k], [base[k]] * len(of_kind[k]))
        for k in _GUIDES
        if k in base and of_kind[k] and not (k == "forces" and vanish(of_kind[k]))
    }
    factor = 1.0
    if free:
        likelihood = Likelihood([prior_mm], list(free.values()), Part(own, [1.0] * len(own)))
        for _ in range(_STEPS):
            step = likelihood.at(np.full(len(free), factor), np.ones(1)).sigma_steps[0]
            before, factor = factor, float(np.clip(factor * step, *_RANGE))
            if abs(np.log(factor / before)) < _CLOSE:
                break
    _log.info("σ of the labels: %g times the usual ones", factor)
    learned = {kind: factor * base[kind] if kind in base else None for kind in KINDS}
    return Noise(learned["energy"], learned["forces"], learned["stress"], start.groups)


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
    found = np.array(deltas, dtype=float)
    likelihood = Likelihood(priors, [], Part(rows, sigmas))
    for _ in range(_TERM_STEPS if any(free) else 0):
        before = found
        found = np.where(free, np.clip(before * likelihood.at(_NONE, before).delta_steps, *_DELTAS), before)
        if np.abs(np.log(found / before)).max() < _TERM_CLOSE:
            break
    _log.info("δ of the terms: %s eV", ", ".join(f"{delta:.3g}" for delta in found))
    return [float(delta) for delta in found]


def learn_baseline_scales(
    prior_mm: FloatArray, rows: Sequence[CompressedRows], sigmas: Sequence[float], n_open: int
) -> FloatArray:
    """Factors ≥ 0 of the energies of the baselines of open scale that make the data most probable, shape (B,)."""
    if not n_open:
        return _NONE
    m = len(prior_mm)
    return best_scales(stacked(prior_mm, in_sigmas(rows, sigmas))[m:, m:], n_open)[0]

"""What a prediction is made of, what it rests on, and why its standard deviation is what it is.

The weights α_m of the sparse points are huge and cancel, so α_m k(m) says nothing about what carries a prediction. Two
other views are sound. Environments: the kernel is the prior correlation of two local energies, whatever the data say.
Labels: the prediction of a row k* is Σ_n w_n y_n with w = Λ⁻¹ K_nm A⁻¹ k* (the equivalent kernel; Rasmussen & Williams,
Gaussian Processes for Machine Learning, §2.6), and A = K_mm + Σ_g R_gᵀR_g splits the data part of its variance exactly:

    k*ᵀA⁻¹k* = vᵀK_mm v + Σ_g |R_g v|²        v = A⁻¹k*, R_g the compressed rows of one (config_type, kind) over σ_g

|R_g v|² = Σ_n∈g (w_n σ_n)² is what the noise of these labels adds to the variance of the prediction. Its share is
∂ln(variance)/∂ln(σ_g²), and for the mean of repeated measurements it is the share in the precision: that is what "share
of what is known" means here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from ase.data import chemical_symbols
from scipy.linalg import solve_triangular

from gapkit._check import whole
from gapkit.atoms.frame import Frame
from gapkit.atoms.neighbours import NeighbourList, Pairs
from gapkit.gp.design import frame_rows
from gapkit.gp.term import Covariance, Likeness
from gapkit.model.explanation import ISOLATED_ATOMS, PRIOR, Explanation, Similar
from gapkit.model.fitting import EXACT, sigmas_of
from gapkit.model.known import parts
from gapkit.model.predict import evaluate
from gapkit.model.spread import described, energy_spread
from gapkit.model.state import ModelState
from gapkit.numerics.factor import whiten
from gapkit.typing import FloatArray


def explain(state: ModelState, frame: Frame, atom: int | None, n: int, n_jobs: int, max_memory: float) -> Explanation:
    """Explain the prediction of a checked structure; see `GAP.explain`."""
    if atom is not None:
        atom = whole("atom", atom, 0, frame.n_atoms - 1)
    n = whole("n", n)
    p = evaluate(state, frame, {"energies_std"} if atom is None else (), n_jobs=n_jobs, max_memory=max_memory)
    here = int(np.argmax(np.asarray(p.energies_epistemic_std))) if atom is None else atom
    pairs = NeighbourList(state.reach).pairs(frame)
    row_m = frame_rows(state.terms, pairs, {"energy"}).energy_m
    spread = energy_spread(state, frame, row_m, [pairs])
    std = described(state, frame, "energy", spread)
    number = int(frame.numbers_e[here])
    local = _Local.of(state, pairs.of_centres(np.arange(frame.n_atoms) == here))
    by_term = {"e0": float(state.e0[number])}
    known = parts(state.baselines, frame, (), pairs, state.reach)
    by_term |= {name: float(part.energies_e[here]) for name, part in known.items()}
    by_term |= {t.name: float(e) for t, e in zip(state.terms, local.energy_t, strict=True)}
    return Explanation(
        energy=p.energy,
        by_term=p.by_term,
        energy_std=std["energy_std"],
        energy_data_std=frame.n_atoms * float(np.sqrt(spread.data_xc[0, 0])),
        energy_prior_std=frame.n_atoms * float(np.sqrt(spread.prior_xc[0, 0])),
        energy_aleatoric_std=std["energy_aleatoric_std"],
        atom=here,
        symbol=chemical_symbols[number],
        local_energy=sum(by_term.values()),
        local_by_term=by_term,
        local_data_std=float(np.sqrt(local.data)),
        local_prior_std=float(np.sqrt(local.prior)),
        extrapolation=local.extrapolation,
        nearest=local.nearest,
        similar=tuple(_similar(state, number, local.row_m, n)),
        energy_shares=shares(state, row_m),
        local_shares=shares(state, local.row_m),
    )


class _Local(NamedTuple):
    """One atom: energy by term (eV), covariance with the columns (M,), two parts of the variance (eV²), likeness."""

    energy_t: FloatArray
    row_m: FloatArray
    data: float
    prior: float
    extrapolation: float
    nearest: int

    @classmethod
    def of(cls, state: ModelState, pairs: Pairs) -> _Local:
        """Of the only centre of some pairs."""
        weights_m = state.posterior.weights_m
        energies_te = np.zeros((len(state.terms), 1))
        covariance, likeness = Covariance(np.zeros((1, len(weights_m))), np.zeros(1)), Likeness.none(1)
        for t, (term, here) in enumerate(zip(state.terms, state.slices, strict=True)):
            own = replace(covariance, rows_em=covariance.rows_em[:, here])
            like = likeness if state.is_compared(term) else None
            term.accumulate(pairs, weights_m[None, here], energies_te[None, t], None, own, like, here.start)
        data_e, prior_e = state.posterior.variances(covariance.rows_em, covariance.prior_e)
        nearest = float(likeness.extrapolation_e[0]), int(likeness.column_e[0])
        return cls(energies_te[:, 0], covariance.rows_em[0], float(data_e[0]), float(prior_e[0]), *nearest)


def _similar(state: ModelState, number: int, row_m: FloatArray, n: int) -> Iterator[Similar]:
    """The n most similar sparse environments of every term with one site per atom, where the row is the correlation."""
    for term, columns in zip(state.terms, state.slices, strict=True):
        own = term.columns.get((number,))
        if own is not None:
            first = columns.start + own.start
            k_m = np.clip(row_m[first : columns.start + own.stop], 0.0, 1.0)
            for m in np.argsort(-k_m, kind="stable")[:n]:
                column = first + int(m)
                yield Similar(term.name, column, float(k_m[m]), state.origin(column))


def shares(state: ModelState, row_m: FloatArray) -> dict[tuple[str, str], float] | None:
    """Share of each (config_type, kind) of labels, and of the prior, in what is known about a row; they sum to one."""
    if state.rows is None:
        return None
    parts = variance_parts(state, row_m)
    total = sum(parts.values())
    if not total:  # a row of zeros: no label speaks of it
        parts[PRIOR] = total = 1.0
    return {key: parts[key] / total for key in sorted(parts, key=lambda key: -parts[key])}


def variance_parts(state: ModelState, row_m: FloatArray) -> dict[tuple[str, str], float]:
    """The sum in the head of this file, part by part, eV²: together the data part of the variance."""
    used, sigmas = sigmas_of(state.rows or (), state.noise)
    data_mm = state.posterior.data_mm
    v_m = solve_triangular(data_mm, whiten(data_mm, row_m[None])[0], check_finite=False)
    parts = {PRIOR: float(np.sum((state.prior_mm @ v_m) ** 2))}
    for part, sigma in zip(used, sigmas, strict=True):
        key = ISOLATED_ATOMS if part.key == EXACT else (part.key.group, str(part.key.kind))
        parts[key] = parts.get(key, 0.0) + float(np.sum((part.factor_nm[:, :-1] @ v_m / sigma) ** 2))
    return parts

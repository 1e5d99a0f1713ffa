"""Evaluation of a fitted model on one structure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import numpy as np

from gapkit.atoms.frame import Frame
from gapkit.atoms.neighbours import Pairs
from gapkit.gp.term import SparseTerm
from gapkit.model.prediction import Prediction
from gapkit.model.state import ModelState
from gapkit.typing import FloatArray, IntArray
from gapkit.units import to_voigt

_STD_BLOCK = 512  # centres whose covariance rows are held at once


def evaluate(state: ModelState, frame: Frame, pairs: Pairs, want: Collection[str]) -> Prediction:
    """Energy and whatever is wanted of one structure, from its pairs."""
    derivatives = "forces" in want or "stress" in want
    gradient_pc = np.zeros_like(pairs.r_pc) if derivatives else None
    table = np.zeros(max(state.e0) + 1)
    table[list(state.e0)] = list(state.e0.values())
    energies_e = table[frame.numbers_e]
    by_term = {"e0": float(energies_e.sum())}
    for term, columns in zip(state.terms, state.slices, strict=True):
        own_e = np.zeros(frame.n_atoms)
        term.accumulate(pairs, state.posterior.weights_m[columns], own_e, gradient_pc)
        by_term[term.name] = float(own_e.sum())
        energies_e = energies_e + own_e
    total_std, local_std = _standard_deviations(state, pairs, want)
    stress = None
    if "stress" in want and gradient_pc is not None:
        stress = to_voigt(pairs.virial(gradient_pc)) / frame.volume
    return Prediction(
        energy=float(sum(by_term.values())),
        energies=energies_e if "energies" in want else None,
        forces=pairs.forces(gradient_pc) if "forces" in want and gradient_pc is not None else None,
        stress=stress,
        energy_std=total_std,
        energies_std=local_std,
        by_term=by_term,
    )


def energy_rows(terms: Sequence[SparseTerm], pairs: Pairs) -> FloatArray:
    """Covariance of the local energies of the centres of `pairs` with all columns, shape (E, M)."""
    rows_em = np.zeros((len(pairs.centres_e), sum(t.n_columns for t in terms)))
    done = 0
    for term in terms:
        columns = term.columns
        own_em = rows_em[:, done : done + term.n_columns]
        for channel, _, sites in term.blocks(pairs):
            position = np.searchsorted(pairs.centres_e, sites.centre_s)
            np.add.at(own_em[:, columns[channel]], position, term.site_values(sites, channel))
        done += term.n_columns
    return rows_em


def _standard_deviations(
    state: ModelState, pairs: Pairs, want: Collection[str]
) -> tuple[float | None, FloatArray | None]:
    """Posterior σ of the total energy and of the local energies, as far as wanted."""
    total, local = "energy_std" in want, "energies_std" in want
    sum_m, stds = np.zeros(len(state.posterior.weights_m)), []
    for block in pairs.blocks(_STD_BLOCK) if total or local else ():
        rows_em = energy_rows(state.terms, block)
        sum_m += rows_em.sum(axis=0)
        if local:
            prior_e = sum((_local_prior(term, block) for term in state.terms), np.zeros(len(rows_em)))
            stds.append(np.sqrt(state.posterior.variance(rows_em, prior_e)))
    total_std = None
    if total:
        prior = sum(_total_prior(term, pairs) for term in state.terms)
        total_std = float(np.sqrt(state.posterior.variance(sum_m[None], np.array([prior]))[0]))
    return total_std, np.concatenate(stds) if local else None


def _local_prior(term: SparseTerm, pairs: Pairs) -> FloatArray:
    """Prior variance of the local energy of each centre, shape (E,), eV²."""
    prior_e = np.zeros(len(pairs.centres_e))
    for x_sf, weight_s, centre_s in _full_sites(term, pairs, 1, term.descriptor.channels):
        gram = term.kernel.values(x_sf, x_sf) * np.multiply.outer(weight_s, weight_s)
        prior_e[np.searchsorted(pairs.centres_e, centre_s[0])] += gram.sum()
    return term.delta**2 * prior_e


def _total_prior(term: SparseTerm, pairs: Pairs) -> float:
    """Prior variance of the total energy, eV²: all sites of a channel are correlated."""
    total = 0.0
    for channel in term.descriptor.channels:
        sites = list(_full_sites(term, pairs, _STD_BLOCK, [channel]))
        for a, (x_a, w_a, _) in enumerate(sites):
            for b, (x_b, w_b, _) in enumerate(sites[: a + 1]):
                value = float(w_a @ term.kernel.values(x_a, x_b) @ w_b)
                total += value if a == b else 2.0 * value
    return term.delta**2 * total


def _full_sites(
    term: SparseTerm, pairs: Pairs, size: int, channels: Sequence[tuple[int, ...]]
) -> Iterator[tuple[FloatArray, FloatArray, IntArray]]:
    """Unprojected features, weights and centres of the sites, in blocks of `size` centres.

    Channels without sparse points count as well: what no data speak of has its full prior variance.
    """
    for channel in channels:
        for block in term.descriptor.pairs_of(pairs, channel).blocks(size):
            sites = term.descriptor.sites(block, channel) if len(block.centres_e) else None
            if sites is not None and len(sites.x_sd):
                weight_s = np.ones(len(sites.x_sd)) if sites.weight_s is None else sites.weight_s
                yield sites.x_sd, weight_s, sites.centre_s

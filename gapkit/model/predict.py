"""Evaluation of a fitted model on one structure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import pairwise

import numpy as np

from gapkit.atoms.frame import Frame
from gapkit.atoms.neighbours import Pairs
from gapkit.descriptors.base import Sites
from gapkit.gp.term import BLOCK, SparseTerm
from gapkit.model.prediction import Prediction
from gapkit.model.state import ModelState
from gapkit.typing import FloatArray
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


def energy_rows(terms: Sequence[SparseTerm], pairs: Pairs) -> tuple[FloatArray, FloatArray]:
    """Covariance of the local energies of the centres of `pairs`, in units of the kernels.

    Returns
    -------
    Covariance with all columns, shape (E, M), and prior variance, shape (E,), eV². Channels
    without sparse points count in the latter: what no data speak of has its full variance.
    """
    rows_em = np.zeros((len(pairs.centres_e), sum(t.n_columns for t in terms)))
    prior_e = np.zeros(len(pairs.centres_e))
    done = 0
    for term in terms:
        columns = term.columns
        own_em = rows_em[:, done : done + term.n_columns]
        for channel, sites in _all_sites(term, pairs, BLOCK, term.descriptor.channels):
            position = np.searchsorted(pairs.centres_e, sites.centre_s)
            if channel in term.points:
                np.add.at(own_em[:, columns[channel]], position, term.site_values(sites, channel))
            prior_e += term.delta**2 * np.bincount(position, _own_prior(term, sites), len(prior_e))
        done += term.n_columns
    return rows_em, prior_e


def _own_prior(term: SparseTerm, sites: Sites) -> FloatArray:
    """Share of each site in the prior variance of its atom's energy, without δ²: shape (S,)."""
    x_sf, weight_s = sites.full_sd, _weights(sites)
    edges = np.flatnonzero(np.r_[True, np.diff(sites.centre_s) != 0, True])
    if len(edges) == len(x_sf) + 1:
        return weight_s**2 * term.kernel.diagonal(x_sf)
    share_s = np.empty(len(x_sf))
    for a, b in pairwise(edges):  # sites of one atom are correlated
        share_s[a:b] = weight_s[a:b] * (term.kernel.values(x_sf[a:b], x_sf[a:b]) @ weight_s[a:b])
    return share_s


def _standard_deviations(
    state: ModelState, pairs: Pairs, want: Collection[str]
) -> tuple[float | None, FloatArray | None]:
    """Posterior σ of the total energy and of the local energies, as far as wanted."""
    total, local = "energy_std" in want, "energies_std" in want
    sum_m, stds = np.zeros(len(state.posterior.weights_m)), []
    for block in pairs.blocks(_STD_BLOCK) if total or local else ():
        rows_em, prior_e = energy_rows(state.terms, block)
        sum_m += rows_em.sum(axis=0)
        if local:
            stds.append(np.sqrt(state.posterior.variance(rows_em, prior_e)))
    total_std = None
    if total:
        prior = sum(_total_prior(term, pairs) for term in state.terms)
        total_std = float(np.sqrt(state.posterior.variance(sum_m[None], np.array([prior]))[0]))
    return total_std, np.concatenate(stds) if local else None


def _total_prior(term: SparseTerm, pairs: Pairs) -> float:
    """Prior variance of the total energy, eV²: all sites of a channel are correlated."""
    total = 0.0
    for channel in term.descriptor.channels:
        blocks = [(s.full_sd, _weights(s)) for _, s in _all_sites(term, pairs, _STD_BLOCK, [channel])]
        for a, (x_a, w_a) in enumerate(blocks):
            for b, (x_b, w_b) in enumerate(blocks[: a + 1]):
                value = float(w_a @ term.kernel.values(x_a, x_b) @ w_b)
                total += value if a == b else 2.0 * value
    return term.delta**2 * total


def _weights(sites: Sites) -> FloatArray:
    return np.ones(len(sites.x_sd)) if sites.weight_s is None else sites.weight_s


def _all_sites(
    term: SparseTerm, pairs: Pairs, size: int, channels: Sequence[tuple[int, ...]]
) -> Iterator[tuple[tuple[int, ...], Sites]]:
    """Sites in blocks of `size` centres, also of channels that have no sparse points."""
    for channel in channels:
        for block in term.descriptor.pairs_of(pairs, channel).blocks(size):
            sites = term.descriptor.sites(block, channel, term.points.get(channel)) if len(block.centres_e) else None
            if sites is not None and len(sites.x_sd):
                yield channel, sites

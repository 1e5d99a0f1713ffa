"""One additive piece of the energy: a descriptor, a kernel and sparse points per channel."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.linalg import block_diag

from gapkit.atoms.neighbours import Pairs
from gapkit.descriptors.base import Descriptor, Points, Sites, together
from gapkit.kernels.base import Kernel
from gapkit.numerics.memory import aligned
from gapkit.typing import FloatArray, IntArray

Channel = tuple[int, ...]

BLOCK = 128
"""Centres evaluated at once in a prediction: enough to repay the calls, few enough for the cache."""


@dataclass(frozen=True, eq=False)
class Covariance:
    """Covariance of the local energies of some centres with the sparse points, and with themselves.

    Attributes
    ----------
    rows_em
        Covariance with the columns of a term, without δ², shape (E, M).
    prior_e
        Prior variance, shape (E,), eV².
    """

    rows_em: FloatArray
    prior_e: FloatArray


@dataclass(frozen=True, eq=False)
class SparseTerm:
    """A term with its sparse points chosen.

    Energies are in units of the term's scale δ: the covariance of the term is δ² k.

    Attributes
    ----------
    name
        Unique name, for `by_term`.
    descriptor, kernel
        The two halves of the term.
    delta
        Prior standard deviation δ of one site's energy, eV.
    points
        Sparse points of each channel; channels without data are absent.
    """

    name: str
    descriptor: Descriptor
    kernel: Kernel
    delta: float
    points: Mapping[Channel, Points]

    @property
    def columns(self) -> dict[Channel, slice]:
        """Columns of each channel among the M columns of this term."""
        edges = np.cumsum([0] + [len(p.x_md) for p in self.points.values()])
        return {c: slice(a, b) for c, a, b in zip(self.points, edges[:-1], edges[1:], strict=True)}

    @property
    def n_columns(self) -> int:
        """Number M of sparse points."""
        return sum(len(p.x_md) for p in self.points.values())

    def covariance(self) -> FloatArray:
        """Kernel matrix of the sparse points, without δ²: shape (M, M), block-diagonal in channels."""
        return block_diag(*(self.kernel.values(p.x_md, p.x_md) for p in self.points.values()))

    def blocks(self, pairs: Pairs, size: int = BLOCK) -> Iterator[tuple[Channel, Pairs, Sites]]:
        """Sites of every channel that has points, in blocks of `size` centres."""
        for channel, points in self.points.items():
            for block in self.descriptor.pairs_of(pairs, channel).blocks(size):
                if len(block.centres_e):
                    yield channel, block, self.descriptor.sites(block, channel, points)

    def accumulate(
        self,
        pairs: Pairs,
        weights_m: FloatArray,
        energies_e: FloatArray,
        gradient_pc: FloatArray | None,
        covariance: Covariance | None = None,
    ) -> None:
        """Add the term's local energies, and ∂E/∂r of the pairs, for weights of its columns.

        Parameters
        ----------
        pairs
            Pairs of some centres within the model's cutoff.
        weights_m
            Weights of the columns of this term, shape (M,), eV.
        energies_e
            Local energies of the centres to add to, shape (E,), eV.
        gradient_pc
            Gradient by the pairs (by `origin_p`) to add to, shape (P, 3), eV/Å; None if not wanted.
        covariance
            Covariance of the local energies to add to; None if not wanted.
        """
        columns = self.columns
        for block in pairs.blocks(BLOCK):
            everything = together(self.descriptor, block)
            for channel, points in self.points.items():
                sites = everything.sites(channel, points)
                if sites is None or not len(sites.x_sd):
                    continue
                here, y_md = columns[channel], points.x_md
                k_sm = None if covariance is None else aligned(len(sites.x_sd), len(y_md))
                bare_s, gx_sd = self.kernel.weighted_sum(
                    sites.x_sd, y_md, weights_m[here], gradient_pc is not None, k_sm
                )
                e_s = _positions(pairs.centres_e, sites.centre_s)
                energy_s = bare_s if sites.weight_s is None else bare_s * sites.weight_s
                energies_e += np.bincount(e_s, energy_s, len(energies_e))
                if covariance is not None and k_sm is not None:
                    _add_rows(covariance.rows_em[:, here], e_s, k_sm, sites.weight_s)
                    prior_e = covariance.prior_e
                    prior_e += np.bincount(e_s, self._own_prior(sites), len(prior_e))
                if gx_sd is not None:
                    if sites.weight_s is not None:
                        gx_sd *= sites.weight_s[:, None]
                    everything.add(sites, gx_sd, None if sites.weight_s is None else bare_s)
            if gradient_pc is not None:
                gradient_pc[everything.origin_p] += everything.gradient()
        if covariance is not None:
            self._add_unknown(pairs, covariance.prior_e)

    def _add_unknown(self, pairs: Pairs, prior_e: FloatArray) -> None:
        """Add the prior variance of channels without sparse points: what no data speak of has its full variance."""
        for channel in self.descriptor.channels:
            part = None if channel in self.points else self.descriptor.pairs_of(pairs, channel)
            for block in () if part is None else part.blocks(BLOCK):
                sites = self.descriptor.sites(block, channel)
                if len(sites.x_sd):
                    e_s = _positions(pairs.centres_e, sites.centre_s)
                    prior_e += np.bincount(e_s, self._own_prior(sites), len(prior_e))

    def _own_prior(self, sites: Sites) -> FloatArray:
        """Share of each site in the prior variance of its atom's energy, shape (S,), eV²."""
        x_sf = sites.full_sd
        weight_s = np.ones(len(x_sf)) if sites.weight_s is None else sites.weight_s
        edges = np.flatnonzero(np.r_[True, np.diff(sites.centre_s) != 0, True])
        if len(edges) == len(x_sf) + 1:
            return self.delta**2 * weight_s**2 * self.kernel.diagonal(x_sf)
        share_s = np.empty(len(x_sf))
        for a, b in pairwise(edges):  # sites of one atom are correlated
            share_s[a:b] = weight_s[a:b] * (self.kernel.values(x_sf[a:b], x_sf[a:b]) @ weight_s[a:b])
        return self.delta**2 * share_s


def _positions(centres_e: IntArray, centre_s: IntArray) -> IntArray:
    """Where each atom of `centre_s` stands among the centres."""
    if centre_s is centres_e:
        return np.arange(len(centres_e))
    order = np.argsort(centres_e)
    return order[np.searchsorted(centres_e, centre_s, sorter=order)]


def _add_rows(rows_em: FloatArray, e_s: IntArray, k_sm: FloatArray, weight_s: FloatArray | None) -> None:
    """Add the rows of sites to those of their centres; sites of one centre stand together."""
    if weight_s is not None:
        k_sm *= weight_s[:, None]
    starts = np.flatnonzero(np.diff(e_s, prepend=-1))
    rows_em[e_s[starts]] += k_sm if len(starts) == len(k_sm) else np.add.reduceat(k_sm, starts, axis=0)

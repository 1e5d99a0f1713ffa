"""One additive piece of the energy: a descriptor, a kernel and sparse points per channel."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any

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
class Likeness:
    """Most similar sparse point of each centre, for the least similar of its sites.

    Attributes
    ----------
    extrapolation_e
        √(1-k²) with the correlation k of the two, shape (E,), 0 … 1.
    column_e
        Column of the sparse point, shape (E,); -1 without any.
    """

    extrapolation_e: FloatArray
    column_e: IntArray

    @classmethod
    def none(cls, n: int) -> Likeness:
        """Of n centres that have not met any sparse point yet."""
        return cls(np.zeros(n), np.full(n, -1))

    def take(self, e_s: IntArray, k_sm: FloatArray, first: int) -> None:
        """Take correlations of sites with the points of one channel, whose first column is given."""
        best_s = np.argmax(k_sm, axis=1)
        k_s = np.clip(k_sm[np.arange(len(k_sm)), best_s], 0.0, 1.0)
        value_s = np.sqrt((1.0 - k_s) * (1.0 + k_s))
        order = np.argsort(value_s, kind="stable")  # of sites of one centre, the last one written is the largest
        self.put(e_s[order], Likeness(value_s[order], first + best_s[order]))

    def put(self, e_s: IntArray, other: Likeness) -> None:
        """Where others are less like anything known, take theirs; `e_s` says of which centre each is."""
        worse = (other.extrapolation_e >= self.extrapolation_e[e_s]) | (self.column_e[e_s] < 0)
        self.extrapolation_e[e_s[worse]] = other.extrapolation_e[worse]
        self.column_e[e_s[worse]] = other.column_e[worse]


ISOLATED, UNKNOWN = -1, -2
"""In place of the index of a structure: the isolated atom; a file, or a model of an old schema."""


@dataclass(frozen=True, eq=False)
class Origins:
    """Where the sparse points of one channel come from.

    Attributes
    ----------
    frame_m
        Index of the structure of the fit, shape (M,); `ISOLATED` or `UNKNOWN` for none.
    atom_m
        Index of the atom in it, shape (M,); -1 for none.
    """

    frame_m: IntArray
    atom_m: IntArray


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
    origins
        Where they come from; channels of which that is not known, such as those of distances, are absent.
    """

    name: str
    descriptor: Descriptor
    kernel: Kernel
    delta: float
    points: Mapping[Channel, Points]
    origins: Mapping[Channel, Origins] = field(default_factory=dict)

    @property
    def columns(self) -> dict[Channel, slice]:
        """Columns of the points of each channel among the M columns of this term."""
        edges = np.cumsum([0] + [len(p.x_md) for p in self.points.values()])
        return {c: slice(a, b) for c, a, b in zip(self.points, edges[:-1], edges[1:], strict=True)}

    @property
    def alchemical(self) -> bool:
        """Whether the sites of all channels are correlated (see `gapkit.descriptors.soap.Soap.central`)."""
        return getattr(self.descriptor, "alchemical", False)

    def central(self, numbers_s: IntArray) -> FloatArray:
        """Vectors of the central species of an alchemical term, shape (S, K)."""
        descriptor: Any = self.descriptor
        return np.asarray(descriptor.central(numbers_s))

    @property
    def related(self) -> Sequence[Channel]:
        """Channels whose sites are correlated among themselves alone; () holds all sites of an alchemical term."""
        return [()] if self.alchemical else self.descriptor.channels

    def pairs_of(self, pairs: Pairs, channel: Channel) -> Pairs:
        """The pairs that the sites of one of them depend on."""
        return self.descriptor.pairs_of(pairs, channel) if channel else pairs.within(self.descriptor.reach)

    @cached_property
    def seen(self) -> dict[Channel, tuple[slice, Points]]:
        """Columns that the sites of each channel are correlated with, and their points as these sites see them."""
        if not self.alchemical:
            columns = self.columns
            return {channel: (columns[channel], points) for channel, points in self.points.items()}
        descriptor: Any = self.descriptor
        return {c: (slice(0, self.n_columns), points) for c, points in descriptor.seen(self.points).items()}

    @property
    def n_columns(self) -> int:
        """Number M of sparse points."""
        return sum(len(p.x_md) for p in self.points.values())

    def covariance(self) -> FloatArray:
        """Kernel matrix of the sparse points, without δ²: shape (M, M), block-diagonal in channels that are apart."""
        blocks = [self.kernel.values(p.x_md, self.seen[c][1].x_md) for c, p in self.points.items()]
        return np.concatenate(blocks) if self.alchemical else block_diag(*blocks)

    def blocks(self, pairs: Pairs, size: int = BLOCK) -> Iterator[tuple[Channel, Pairs, Sites]]:
        """Sites of every channel that has points, in blocks of `size` centres."""
        for channel, (_, points) in self.seen.items():
            for block in self.descriptor.pairs_of(pairs, channel).blocks(size):
                if len(block.centres_e):
                    yield channel, block, self.descriptor.sites(block, channel, points)

    def accumulate(
        self,
        pairs: Pairs,
        weights_km: FloatArray,
        energies_ke: FloatArray,
        gradient_kpc: FloatArray | None,
        covariance: Covariance | None = None,
        likeness: Likeness | None = None,
        first_column: int = 0,
    ) -> None:
        """Add the term's local energies, and ∂E/∂r of the pairs, for K sets of weights of its columns.

        Parameters
        ----------
        pairs
            Pairs of some centres within the model's cutoff.
        weights_km
            Weights of the columns of this term, shape (K, M), eV.
        energies_ke
            Local energies of the centres to add to, shape (K, E), eV.
        gradient_kpc
            Gradient by the pairs (by `origin_p`) to add to, shape (K, P, 3), eV/Å; None if not wanted.
        covariance
            Covariance of the local energies to add to; None if not wanted.
        likeness
            Most similar sparse points to compare with; None if not wanted.
        first_column
            Column of the model at which those of the term begin.
        """
        for block in pairs.blocks(BLOCK):
            everything = together(self.descriptor, block, len(weights_km))
            for channel, (here, points) in self.seen.items():
                sites = everything.sites(channel, points)
                if sites is None or not len(sites.x_sd):
                    continue
                y_md = points.x_md
                values = covariance is not None or likeness is not None
                k_sm = aligned(len(sites.x_sd), len(y_md)) if values else None
                bare_ks, gx_ksd = self.kernel.weighted_sum(
                    sites.x_sd, y_md, weights_km[:, here], gradient_kpc is not None, k_sm
                )
                e_s = _positions(pairs.centres_e, sites.centre_s)
                energy_ks = bare_ks if sites.weight_s is None else bare_ks * sites.weight_s
                for energies_e, energy_s in zip(energies_ke, energy_ks, strict=True):
                    energies_e += np.bincount(e_s, energy_s, len(energies_e))
                if likeness is not None and k_sm is not None:
                    likeness.take(e_s, k_sm, first_column + here.start)
                if covariance is not None and k_sm is not None:
                    _add_rows(covariance.rows_em[:, here], e_s, k_sm, sites.weight_s)
                    prior_e = covariance.prior_e
                    prior_e += np.bincount(e_s, self._own_prior(sites), len(prior_e))
                if gx_ksd is not None:
                    if sites.weight_s is not None:
                        gx_ksd *= sites.weight_s[:, None]
                    everything.add(sites, gx_ksd, None if sites.weight_s is None else bare_ks)
            if gradient_kpc is not None:
                gradient_kpc[:, everything.origin_p] += everything.gradient()
        if covariance is not None:
            self._add_unknown(pairs, covariance.prior_e)

    def _add_unknown(self, pairs: Pairs, prior_e: FloatArray) -> None:
        """Add the prior variance of channels without sparse points: what no data speak of has its full variance."""
        for channel in self.descriptor.channels:
            part = None if channel in self.seen else self.descriptor.pairs_of(pairs, channel)
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

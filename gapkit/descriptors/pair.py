"""Distances of bonds: the descriptor of two-body terms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gapkit.atoms.neighbours import Pairs
from gapkit.numerics.cutoff import smooth_step
from gapkit.typing import FloatArray, IntArray

Channel = tuple[int, ...]


class PairDistances:
    """One site per directed pair, with feature r and weight f(r)/2.

    Parameters
    ----------
    species
        Atomic numbers.
    r_cut
        Cutoff, Å; f goes to zero there with two continuous derivatives.
    width
        Width of the transition, Å.
    """

    def __init__(self, species: Sequence[int], r_cut: float, width: float) -> None:
        self.species: tuple[int, ...] = tuple(sorted(species))
        self.reach = r_cut
        self.width = width

    @property
    def channels(self) -> Sequence[Channel]:
        """One channel per unordered pair of elements."""
        return [(a, b) for k, a in enumerate(self.species) for b in self.species[k:]]

    def pairs_of(self, pairs: Pairs, channel: Channel) -> Pairs:
        """The pairs between two elements, inside the cutoff."""
        near = pairs.within(self.reach)
        a, b = near.numbers_e[near.i_p], near.numbers_e[near.j_p]
        return near.keep(np.flatnonzero((np.minimum(a, b) == channel[0]) & (np.maximum(a, b) == channel[1])))

    def sites(self, pairs: Pairs, channel: Channel, points: Any = None) -> PairSites:
        """All bonds of the channel."""
        return PairSites(self, pairs, points)

    def points(self, x_md: FloatArray) -> PairPoints:
        """Sparse points from distances, shape (M, 1)."""
        return PairPoints(x_md)


@dataclass(frozen=True, eq=False)
class PairPoints:
    """Sparse distances, shape (M, 1), Å."""

    x_md: FloatArray


class PairSites:
    """Bonds of one block of pairs."""

    def __init__(self, descriptor: PairDistances, pairs: Pairs, points: PairPoints | None = None) -> None:
        r_p = np.sqrt(np.einsum("pc,pc->p", pairs.r_pc, pairs.r_pc))
        value, slope = smooth_step(r_p, descriptor.reach, descriptor.width)
        self._pairs, self._points = pairs, points
        self._unit_pc = pairs.r_pc / r_p[:, None]
        self._slope_pc = 0.5 * slope[:, None] * pairs.r_pc
        self.weight_s: FloatArray | None = 0.5 * value
        self.x_sd: FloatArray = r_p[:, None]
        self.centre_s: IntArray = pairs.i_p

    @property
    def full_sd(self) -> FloatArray:
        """Features outside the space of any points: the same distances."""
        return self.x_sd

    def pullback(self, gx_sd: FloatArray, gw_s: FloatArray | None) -> FloatArray:
        """∂E/∂r of every pair, shape (P, 3)."""
        gradient = gx_sd * self._unit_pc
        return gradient if gw_s is None else gradient + gw_s[:, None] * self._slope_pc

    def jacobian(self) -> PairJacobian:
        """∂r/∂r_c: the unit vectors."""
        return PairJacobian(self._unit_pc, self._pairs.r_pc, self._slope_pc, self._points)


class PairJacobian:
    """Derivatives of distances; row q is pair q and site q."""

    def __init__(self, unit_pc: FloatArray, r_pc: FloatArray, slope_pc: FloatArray, points: PairPoints | None) -> None:
        self.site_q: IntArray = np.arange(len(unit_pc))
        self.pair_q: IntArray = self.site_q
        self.rows_qcx: FloatArray = unit_pc[:, :, None]
        self.along_qc: FloatArray | None = r_pc
        self.weight_slope_qc: FloatArray | None = slope_pc
        self._points = points

    def meet(self, rows_qcx: FloatArray) -> FloatArray:
        """Rows met by the sparse points, shape (Q, 3, M)."""
        if self._points is None:
            return rows_qcx
        return rows_qcx * self._points.x_md[:, 0]

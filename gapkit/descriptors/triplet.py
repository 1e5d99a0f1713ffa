"""Triangles of a centre and two neighbours: the descriptor of three-body terms.

For neighbours j and k of i, with three length scales θ:

    x = ( (r_ij + r_ik)/θ_1, Δ/θ_2, r_jk/θ_3 ),   weight f(r_ij) f(r_ik)

Δ is (r_ij - r_ik)²/Å for j and k of one element, as in the three-body term of GAP (Bartók and Csányi, Int. J. Quantum
Chem. 115, 1051 (2015); Deringer and Csányi, Phys. Rev. B 95, 094203 (2017)): smooth functions of it are all the smooth
functions that do not change when j and k are exchanged. For two elements it is r_ij - r_ik with j of the lighter one,
for then the two legs differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gapkit.atoms.neighbours import Pairs
from gapkit.descriptors.triangles import Legs, Triangles, number_of_two, two_of_each
from gapkit.numerics.cutoff import smooth_step
from gapkit.typing import FloatArray, IntArray

Channel = tuple[int, ...]
Scales = tuple[float, float, float]


class Triplets:
    """One site per centre and unordered pair of its neighbours.

    Parameters
    ----------
    species
        Atomic numbers.
    r_cut
        Cutoff of r_ij and r_ik, Å; f goes to zero there with two continuous derivatives.
    width
        Width of the transition, Å.
    theta
        Length scales of the three features, Å.
    """

    def __init__(self, species: Sequence[int], r_cut: float, width: float, theta: Scales) -> None:
        self.species: tuple[int, ...] = tuple(sorted(species))
        self.reach = r_cut
        self.width, self.theta = width, theta

    @property
    def channels(self) -> Sequence[Channel]:
        """(centre, j, k) with the elements j ≤ k."""
        ends = [(a, b) for k, a in enumerate(self.species) for b in self.species[k:]]
        return [(centre, *two) for centre in self.species for two in ends]

    def sites_of(self, n_neighbours: float) -> float:
        """Number of sites of a centre with so many neighbours within the reach."""
        return number_of_two(n_neighbours)

    def pairs_of(self, pairs: Pairs, channel: Channel) -> Pairs:
        """The legs of all triangles of a channel; centres without a triangle are left out."""
        centre, a, b = channel
        near = pairs.of_species(centre).within(self.reach)
        ends_p = near.numbers_e[near.j_p]
        legs = near.keep(np.flatnonzero((ends_p == a) | (ends_p == b)))
        n = len(legs.centres_e)
        of_a = legs.numbers_e[legs.j_p] == a
        n_a, n_all = np.bincount(legs.e_p[of_a], minlength=n), np.bincount(legs.e_p, minlength=n)
        has_e = (n_all > 1) if a == b else (n_a > 0) & (n_a < n_all)
        # a centre without triangles may still have a leg, which `of_centres` drops
        return legs.of_centres(has_e)

    def sites(self, pairs: Pairs, channel: Channel, points: Any = None) -> TripletSites:
        """All triangles of the channel, for legs that `pairs_of` returned."""
        return TripletSites(self, pairs, channel, points)

    def points(self, x_md: FloatArray) -> TripletPoints:
        """Sparse points from features, shape (M, 3)."""
        return TripletPoints(x_md)


@dataclass(frozen=True, eq=False)
class TripletPoints:
    """Sparse triangles: the features x, shape (M, 3)."""

    x_md: FloatArray


class TripletSites:
    """Triangles of one channel in one block of pairs."""

    def __init__(
        self, descriptor: Triplets, pairs: Pairs, channel: Channel, points: TripletPoints | None = None
    ) -> None:
        first_t, second_t = two_of_each(pairs.e_p)
        alike = channel[1] == channel[2]
        if not alike:
            ends_p = pairs.numbers_e[pairs.j_p]
            mixed = np.flatnonzero(ends_p[first_t] != ends_p[second_t])
            one_t, other_t = first_t[mixed], second_t[mixed]
            turned_t = ends_p[one_t] != channel[1]
            first_t, second_t = np.where(turned_t, other_t, one_t), np.where(turned_t, one_t, other_t)
        self._legs, self._points = Legs(pairs.r_pc), points
        self._triangles = t = Triangles(self._legs, first_t, second_t)
        value_p, slope_p = smooth_step(self._legs.r_p, descriptor.reach, descriptor.width)
        slope_p = slope_p * self._legs.r_p
        fa_t, fb_t = value_p[first_t], value_p[second_t]
        self._weight_slopes = slope_p[first_t] * fb_t, fa_t * slope_p[second_t]
        difference_t = t.a_t - t.b_t
        second = difference_t**2 if alike else difference_t
        self._scales = descriptor.theta
        self._by_difference = (2.0 * difference_t if alike else np.ones_like(difference_t)) / descriptor.theta[1]
        self.weight_s: FloatArray | None = fa_t * fb_t
        self.x_sd: FloatArray = np.column_stack([t.a_t + t.b_t, second, t.far_t]) / descriptor.theta
        self.centre_s: IntArray = pairs.i_p[first_t]

    @property
    def full_sd(self) -> FloatArray:
        """Features outside the space of any points: the same."""
        return self.x_sd

    def pullback(self, gx_sd: FloatArray, gw_s: FloatArray | None) -> FloatArray:
        """∂E/∂r of every pair, shape (P, 3)."""
        both_s, apart_s = gx_sd[:, 0] / self._scales[0], gx_sd[:, 1] * self._by_difference
        slope_a, slope_b = both_s + apart_s, both_s - apart_s
        if gw_s is not None:
            slope_a, slope_b = slope_a + gw_s * self._weight_slopes[0], slope_b + gw_s * self._weight_slopes[1]
        return self._triangles.pull(slope_a, slope_b, gx_sd[:, 2] / self._scales[2])

    def jacobian(self) -> TripletJacobian:
        """∂x/∂r_c of both legs of every triangle."""
        t, unit_pc, n = self._triangles, self._legs.unit_pc, len(self.x_sd)
        rows = np.empty((n, 2, 3, 3))
        slopes = np.empty((n, 2, 3))
        for k, (leg_t, sign) in enumerate(((t.first_t, 1.0), (t.second_t, -1.0))):
            unit_tc = unit_pc[leg_t]
            rows[:, k, :, 0] = unit_tc / self._scales[0]
            rows[:, k, :, 1] = unit_tc * (sign * self._by_difference)[:, None]
            rows[:, k, :, 2] = t.far_unit_tc * (-sign / self._scales[2])
            slopes[:, k] = unit_tc * self._weight_slopes[k][:, None]
        pair_q = np.column_stack([t.first_t, t.second_t]).ravel()
        along_qc = np.einsum("skcd,sd->skc", rows, self.x_sd).reshape(2 * n, 3)
        return TripletJacobian(pair_q, rows.reshape(2 * n, 3, 3), along_qc, slopes.reshape(2 * n, 3), self._points)


class TripletJacobian:
    """Derivatives of triangles; rows 2s and 2s + 1 are the two legs of site s."""

    def __init__(
        self,
        pair_q: IntArray,
        rows_qcx: FloatArray,
        along_qc: FloatArray,
        slope_qc: FloatArray,
        points: TripletPoints | None,
    ) -> None:
        self.site_q: IntArray = np.arange(len(pair_q)) // 2
        self.pair_q = pair_q
        self.rows_qcx = rows_qcx
        self.along_qc: FloatArray | None = along_qc
        self.weight_slope_qc: FloatArray | None = slope_qc
        self._points = points

    def meet(self, rows_qcx: FloatArray) -> FloatArray:
        """Rows met by the sparse points, shape (Q, 3, M)."""
        return rows_qcx if self._points is None else rows_qcx @ self._points.x_md.T

"""Native symmetry functions: value, Jacobian and pullback of dscribe's ACSF, divided by a scale for each feature."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np

from gapkit.atoms.neighbours import Pairs
from gapkit.descriptors.symmetry import Angular, SymmetryFunctions
from gapkit.descriptors.triangles import Legs, Triangles, two_of_each
from gapkit.typing import FloatArray, IntArray

Channel = tuple[int, ...]

_BATCH: Final = 65536  # values of angular functions that are evaluated at once
_KEPT: Final = 2_000_000  # as many are kept for the gradient; where there are more they are evaluated again


class Acsf:
    """One site per atom, with the symmetry functions as features.

    Parameters
    ----------
    functions
        What is evaluated.
    scale
        Divides the features of each channel, shape (F,); None for 1.
    """

    def __init__(self, functions: SymmetryFunctions, scale: Mapping[Channel, FloatArray] | None = None) -> None:
        self.functions = functions
        self.species = functions.species
        self.reach = functions.r_cut
        self.scale = scale or {channel: np.ones(functions.n_features) for channel in self.channels}

    @property
    def channels(self) -> Sequence[Channel]:
        """One channel per central element."""
        return [(z,) for z in self.species]

    def pairs_of(self, pairs: Pairs, channel: Channel) -> Pairs:
        """The pairs of the centres of one element."""
        return pairs.of_species(channel[0]).within(self.reach)

    def sites(self, pairs: Pairs, channel: Channel, points: Any = None) -> AcsfSites:
        """The centres of one element, for pairs that `pairs_of` returned."""
        return AcsfSites(self.functions, pairs, self.scale[channel], points)

    def points(self, x_md: FloatArray) -> AcsfPoints:
        """Sparse points from scaled features, shape (M, F)."""
        return AcsfPoints(x_md)


@dataclass(frozen=True, eq=False)
class AcsfPoints:
    """Sparse environments: scaled features, shape (M, F)."""

    x_md: FloatArray


class _Batch(NamedTuple):
    """Some triangles, their slots and their angular functions."""

    triangles: Triangles
    slot_t: IntArray
    functions: list[tuple[slice, Angular]]


class AcsfSites:
    """Symmetry functions of the centres of one block of pairs.

    Neighbours are sorted into slots (centre, element), triangles into slots (centre, pair of elements).
    """

    weight_s: FloatArray | None = None

    def __init__(
        self, functions: SymmetryFunctions, pairs: Pairs, scale_f: FloatArray, points: AcsfPoints | None
    ) -> None:
        self._functions, self._scale_f, self._points = functions, scale_f, points
        self._legs = Legs(pairs.r_pc)
        self._e_p = pairs.e_p
        self._element_p = np.searchsorted(np.array(functions.species), pairs.numbers_e[pairs.j_p])
        self._n_elements = len(functions.species)
        self._n_mixed = self._n_elements * (self._n_elements + 1) // 2
        self._two = two_of_each(pairs.e_p) if functions.n_angular else (np.empty(0, int), np.empty(0, int))
        self._cutoffs = functions.cutoff(self._legs.r_p)
        self._kept: list[_Batch] | None = None
        self._values_pb, self._slopes_pb = functions.radial(self._legs.r_p)
        self.centre_s: IntArray = pairs.centres_e
        n = len(self.centre_s)
        radial = _into_slots(self._e_p * self._n_elements + self._element_p, self._values_pb.T, n * self._n_elements)
        angular_sxk = np.zeros((n * self._n_mixed, functions.n_angular))
        for batch in self._batches():
            for place, own in batch.functions:
                angular_sxk[:, place] += _into_slots(batch.slot_t, own.values(), len(angular_sxk))
        self.x_sd: FloatArray = np.hstack([radial.reshape(n, -1), angular_sxk.reshape(n, -1)]) / scale_f

    @property
    def full_sd(self) -> FloatArray:
        """Features outside the space of any points: the same."""
        return self.x_sd

    def _batches(self) -> Iterable[_Batch]:
        """All triangles; evaluated once if they may be kept."""
        if self._kept is None and len(self._two[0]) * self._functions.n_angular <= _KEPT:
            self._kept = list(self._evaluated())
        return self._evaluated() if self._kept is None else self._kept

    def _evaluated(self) -> Iterator[_Batch]:
        size = max(1, _BATCH // max(1, self._functions.n_angular))
        first_t, second_t = self._two
        for here in (slice(a, a + size) for a in range(0, len(first_t), size)):
            a_t, b_t = first_t[here], second_t[here]
            triangles = Triangles(self._legs, a_t, b_t)
            slot_t = self._e_p[a_t] * self._n_mixed + self._mixed(a_t, b_t)
            yield _Batch(triangles, slot_t, self._functions.angular(triangles, self._cutoffs))

    def _mixed(self, a_t: IntArray, b_t: IntArray) -> IntArray:
        """Number of the pair of elements of two neighbours, in dscribe's order."""
        one_t, other_t = self._element_p[a_t], self._element_p[b_t]
        high_t = np.maximum(one_t, other_t)
        return high_t * (high_t + 1) // 2 + np.minimum(one_t, other_t)

    def pullback(self, gx_sd: FloatArray, gw_s: FloatArray | None = None) -> FloatArray:
        """∂E/∂r of every pair, shape (P, 3)."""
        functions, g_sf = self._functions, gx_sd / self._scale_f
        radial = g_sf[:, : self._n_elements * functions.n_radial].reshape(len(g_sf), self._n_elements, -1)
        slope_p = np.einsum("pb,pb->p", radial[self._e_p, self._element_p], self._slopes_pb)
        pulled_pc = slope_p[:, None] * self._legs.unit_pc
        angular_kx = g_sf[:, self._n_elements * functions.n_radial :].reshape(-1, max(1, functions.n_angular)).T
        for batch in self._batches():
            for place, own in batch.functions:
                pulled_pc += batch.triangles.pull(*own.slopes(angular_kx[place][:, batch.slot_t]))
        return pulled_pc

    def jacobian(self) -> AcsfJacobian:
        """∂x/∂r_c of every pair of its centre."""
        functions, n_pairs, unit_pc = self._functions, len(self._e_p), self._legs.unit_pc
        rows = np.zeros((n_pairs, 3, functions.n_features))
        n_radial = self._n_elements * functions.n_radial
        radial = rows[:, :, :n_radial].reshape(n_pairs, 3, self._n_elements, -1)
        radial[np.arange(n_pairs), :, self._element_p] = unit_pc[:, :, None] * self._slopes_pb[:, None, :]
        rows[:, :, :n_radial] = radial.reshape(n_pairs, 3, -1)
        if functions.n_angular:
            angular = np.zeros((3, n_pairs, self._n_mixed, functions.n_angular))
            for batch in self._batches():
                for place, own in batch.functions:
                    angular[..., place] += self._angular_rows(batch.triangles, own)
            rows[:, :, n_radial:] = angular.transpose(1, 0, 2, 3).reshape(n_pairs, 3, -1)
        rows /= self._scale_f
        return AcsfJacobian(rows, np.einsum("pcf,pf->pc", rows, self.x_sd[self._e_p]), self._e_p, self._points)

    def _angular_rows(self, triangles: Triangles, own: Angular) -> FloatArray:
        """Derivatives of some angular functions by the vectors of the pairs, shape (3, P, pairs of elements, K)."""
        n = len(self._e_p) * self._n_mixed
        mixed_t = self._mixed(triangles.first_t, triangles.second_t)
        first_t, second_t = (leg_t * self._n_mixed + mixed_t for leg_t in (triangles.first_t, triangles.second_t))
        slope_a_kt, slope_b_kt, slope_far_kt = own.slopes()
        along = _into_slots(first_t, slope_a_kt, n) + _into_slots(second_t, slope_b_kt, n)
        unit_xc = np.repeat(self._legs.unit_pc, self._n_mixed, axis=0)
        rows = np.empty((3, *along.shape))
        for c in range(3):
            far_kt = slope_far_kt * triangles.far_unit_tc[:, c]
            rows[c] = along * unit_xc[:, c, None] + _into_slots(second_t, far_kt, n) - _into_slots(first_t, far_kt, n)
        return rows.reshape(3, len(self._e_p), self._n_mixed, -1)


class AcsfJacobian:
    """Derivatives of symmetry functions; row q is pair q."""

    weight_slope_qc: FloatArray | None = None

    def __init__(self, rows_qcx: FloatArray, along_qc: FloatArray, site_q: IntArray, points: AcsfPoints | None) -> None:
        self.site_q = site_q
        self.pair_q: IntArray = np.arange(len(site_q))
        self.rows_qcx = rows_qcx
        self.along_qc: FloatArray | None = along_qc
        self._points = points

    def meet(self, rows_qcx: FloatArray) -> FloatArray:
        """Rows met by the sparse points, shape (Q, 3, M)."""
        return rows_qcx if self._points is None else rows_qcx @ self._points.x_md.T


def _into_slots(slot_t: IntArray, values_kt: FloatArray, n: int) -> FloatArray:
    """Sums of the values of each slot, shape (n, K)."""
    return np.stack([np.bincount(slot_t, value_t, n) for value_t in values_kt], axis=1)

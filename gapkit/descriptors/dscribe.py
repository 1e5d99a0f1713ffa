"""SOAP evaluated by dscribe itself: the oracle, and the engine for what the native one lacks.

dscribe has no derivatives for periodic structures. Each environment is therefore handed over as
a cluster (centre at the origin, neighbours at r_p), whose derivatives are taken by central
differences of fourth order; errors of derivatives are about 1e-8 of the largest.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from ase import Atoms

from gapkit.atoms.neighbours import Pairs
from gapkit.descriptors.basis import SoapBasis
from gapkit.descriptors.centred import CentredOnAtoms
from gapkit.typing import FloatArray, IntArray

Channel = tuple[int, ...]
_STEP = 1e-3  # Å; error h⁴ p⁗/30 against rounding 1e-16/h


class DscribeSoap(CentredOnAtoms):
    """Any SOAP of dscribe without averaging, including the polynomial basis."""

    def __init__(self, basis: SoapBasis) -> None:
        from dscribe.descriptors import SOAP

        super().__init__(basis)
        arguments: dict[str, Any] = {**basis.arguments, "periodic": False}
        arguments["weighting"] = None if arguments["weighting"] is None else dict(arguments["weighting"])
        self._soap = SOAP(**arguments)

    def values(self, pairs: Pairs) -> FloatArray:
        """dscribe's features of all centres of `pairs`, shape (E, F)."""
        near = pairs.within(self.reach)
        edges = np.searchsorted(near.e_p, np.arange(len(near.centres_e) + 1))
        rows = [self._spectra(near, e, edges[e], edges[e + 1], [None])[0] for e in range(len(near.centres_e))]
        return np.array(rows).reshape(len(rows), self._soap.get_number_of_features())

    def sites(self, pairs: Pairs, channel: Channel, points: Any = None) -> DscribeSites:
        """Normalised features of the centres."""
        return DscribeSites(self, pairs, points)

    def points(self, x_md: FloatArray) -> DscribePoints:
        """Sparse points from normalised vectors, shape (M, F)."""
        return DscribePoints(x_md)

    def _spectra(
        self, pairs: Pairs, e: int, first: int, last: int, moves: Sequence[tuple[int, int, float] | None]
    ) -> FloatArray:
        """Spectra of one centre, its neighbours moved as told: (neighbour, direction, by)."""
        numbers = np.append(pairs.numbers_e[pairs.centres_e[e]], pairs.numbers_e[pairs.j_p[first:last]])
        cluster = Atoms(numbers, np.vstack([np.zeros(3), pairs.r_pc[first:last]]))
        structures = []
        for move in moves:
            moved = cluster.copy()
            if move is not None:
                moved.positions[move[0] + 1, move[1]] += move[2]
            structures.append(moved)
        spectra = self._soap.create(structures, centers=[[0]] * len(structures))
        return np.asarray(spectra).reshape(len(structures), -1)

    def slopes(self, pairs: Pairs) -> FloatArray:
        """∂p/∂r of every pair, shape (P, 3, F)."""
        edges = np.searchsorted(pairs.e_p, np.arange(len(pairs.centres_e) + 1))
        slopes = np.empty((len(pairs.e_p), 3, self._soap.get_number_of_features()))
        for e, (first, last) in enumerate(pairwise(edges)):
            count = int(last - first)
            if not count:
                continue
            moves = [(k, c, h * _STEP) for k in range(count) for c in range(3) for h in (-2, -1, 1, 2)]
            p = self._spectra(pairs, e, first, last, moves).reshape(count, 3, 4, -1)
            slopes[first:last] = (p[:, :, 0] - p[:, :, 3] + 8.0 * (p[:, :, 2] - p[:, :, 1])) / (12.0 * _STEP)
        return slopes


class DscribePoints:
    """Sparse points, shape (M, F)."""

    map_fd = None

    def __init__(self, x_md: FloatArray) -> None:
        self.x_md = x_md


class DscribeSites:
    """Normalised SOAP vectors of one block of centres."""

    weight_s: FloatArray | None = None

    def __init__(self, soap: DscribeSoap, pairs: Pairs, points: DscribePoints | None) -> None:
        self._soap, self._pairs, self._points = soap, pairs, points
        p_ef = soap.values(pairs)
        self._norm_e = np.linalg.norm(p_ef, axis=1)
        self._norm_e[self._norm_e == 0.0] = 1.0  # w0 = 0 and no neighbour: q = 0
        self.x_sd: FloatArray = p_ef / self._norm_e[:, None]
        self.centre_s: IntArray = pairs.centres_e

    @property
    def full_sd(self) -> FloatArray:
        """The normalised vectors."""
        return self.x_sd

    def _rows(self) -> FloatArray:
        """∂q/∂r of every pair, shape (P, 3, F)."""
        slopes, e_p = self._soap.slopes(self._pairs), self._pairs.e_p
        along = np.einsum("pcf,pf->pc", slopes, self.x_sd[e_p])
        slopes -= along[..., None] * self.x_sd[e_p][:, None]
        slopes /= self._norm_e[e_p][:, None, None]
        return slopes

    def pullback(self, gx_sd: FloatArray, gw_s: FloatArray | None = None) -> FloatArray:
        """∂E/∂r of every pair, shape (P, 3)."""
        return np.einsum("pcf,pf->pc", self._rows(), gx_sd[self._pairs.e_p])

    def jacobian(self) -> DscribeJacobian:
        """∂q/∂r of every pair."""
        return DscribeJacobian(self._rows(), self._pairs.e_p, self._points)


class DscribeJacobian:
    """Derivative rows; row q is pair q."""

    along_qc: FloatArray | None = None
    weight_slope_qc: FloatArray | None = None

    def __init__(self, rows_qcx: FloatArray, site_q: IntArray, points: DscribePoints | None) -> None:
        self.site_q, self.pair_q, self.rows_qcx, self._points = site_q, np.arange(len(site_q)), rows_qcx, points

    def meet(self, rows_qcx: FloatArray) -> FloatArray:
        """Rows met by the sparse points, shape (Q, 3, M)."""
        return rows_qcx if self._points is None else rows_qcx @ self._points.x_md.T

"""Derivative rows of sites, sorted by what they move: an atom, or a row of the virial tensor.

Target t < N is atom t, with ∂/∂x_t; targets N, N+1, N+2 are the rows of the virial, r ⊗ ∂/∂r, of the first structure,
the next three those of the second, …. Each pair moves its neighbour and, with the opposite sign, its centre.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gapkit.atoms.neighbours import Pairs
from gapkit.descriptors.base import Jacobian
from gapkit.numerics.sums import sums_of_runs
from gapkit.typing import BoolArray, FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class MovedRows:
    """Rows of sites by targets.

    Attributes
    ----------
    rows_rcx
        Derivatives, shape (R, 3, X): features, then `along` and the slope of the weight where there are any.
    site_r, target_r
        What is moved by what, shape (R,).
    """

    rows_rcx: FloatArray
    site_r: IntArray
    target_r: IntArray

    def of_targets(self, mine_t: BoolArray) -> MovedRows:
        """The rows of some targets, by a mask."""
        keep = mine_t[self.target_r]
        return self if keep.all() else MovedRows(self.rows_rcx[keep], self.site_r[keep], self.target_r[keep])

    def merged(self) -> MovedRows:
        """Rows of the same site and target added, sorted by target, then by site."""
        order, new = _sorted(self.site_r, self.target_r)
        starts = np.flatnonzero(new)
        rows = sums_of_runs(self.rows_rcx, starts, order)
        return MovedRows(rows, self.site_r[order[starts]], self.target_r[order[starts]])


def share_of_distinct(*parts: MovedRows) -> float:
    """Share of rows that would be left if all were merged."""
    site_r, target_r = (np.concatenate([getattr(p, name) for p in parts]) for name in ("site_r", "target_r"))
    return float(_sorted(site_r, target_r)[1].mean())


def _sorted(site_r: IntArray, target_r: IntArray) -> tuple[IntArray, BoolArray]:
    """Order by target, then site, and which rows in that order are the first of their site and target."""
    order = np.lexsort((site_r, target_r))
    new = np.diff(target_r[order], prepend=-1) != 0
    new |= np.diff(site_r[order], prepend=-1) != 0
    return order, new


def stacked(jacobian: Jacobian) -> FloatArray:
    """Rows with their extra columns, if any: along, then weight slope."""
    extras = [x[..., None] for x in (jacobian.along_qc, jacobian.weight_slope_qc) if x is not None]
    return np.concatenate([jacobian.rows_qcx, *extras], axis=2) if extras else jacobian.rows_qcx


def of_neighbours(jacobian: Jacobian, rows_qcx: FloatArray, pairs: Pairs) -> MovedRows:
    """The rows that move the neighbour of each pair."""
    return MovedRows(rows_qcx, jacobian.site_q, pairs.j_p[jacobian.pair_q])


def of_sites(jacobian: Jacobian, rows_qcx: FloatArray, pairs: Pairs) -> MovedRows:
    """The rows of each site that move its centre."""
    starts, site_s = _site_starts(jacobian)
    return MovedRows(-sums_of_runs(rows_qcx, starts), site_s, pairs.i_p[jacobian.pair_q[starts]])


def of_cell(jacobian: Jacobian, rows_qcx: FloatArray, pairs: Pairs, structure_e: IntArray) -> MovedRows:
    """The rows of each site that strain its cell, that of the structure which each atom belongs to."""
    strained, site_s = strains(jacobian, rows_qcx, pairs)
    starts, _ = _site_starts(jacobian)
    target_s = len(pairs.numbers_e) + 3 * structure_e[pairs.i_p[jacobian.pair_q[starts]]]
    return joined(*(MovedRows(strained[:, a], site_s, target_s + a) for a in range(3)))


def strains(jacobian: Jacobian, rows_qcx: FloatArray, pairs: Pairs) -> tuple[FloatArray, IntArray]:
    """Σ_p r ⊗ ∂ of the pairs of each site that has any: rows (S, 3, 3, X), and the sites (S,)."""
    starts, site_s = _site_starts(jacobian)
    strained = np.empty((len(starts), 3, *rows_qcx.shape[1:]))
    for a in range(3):
        strained[:, a] = sums_of_runs(rows_qcx, starts, weight_q=pairs.r_pc[jacobian.pair_q, a])
    return strained, site_s


def _site_starts(jacobian: Jacobian) -> tuple[IntArray, IntArray]:
    """Where the rows of each site begin, for they stand together; and the sites."""
    starts = np.flatnonzero(np.diff(jacobian.site_q, prepend=-1))
    return starts, jacobian.site_q[starts]


def joined(*parts: MovedRows) -> MovedRows:
    """Several sets of rows as one."""
    return MovedRows(
        np.concatenate([part.rows_rcx for part in parts]),
        np.concatenate([part.site_r for part in parts]),
        np.concatenate([part.target_r for part in parts]),
    )

"""Observation rows: energies, forces and virials as linear functionals of the kernel columns.

    energy  Σ_e k(e, m)         force  F_j = -Σ_p ∂k/∂r_p         virial  Σ_p r_p ⊗ ∂k/∂r_p

Cost of one block of S environments with P neighbours, D features and M sparse points, in flops:
3·S·P·D·M·2 for the GEMM of the derivative rows with the points (nine tenths of a fit),
3·S·P·M·2 to weight and sum them. All derivative rows that move one atom are handled together,
so that the products are summed while they are in the cache and no array of S·P·M is formed.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from gapkit.atoms.neighbours import Pairs
from gapkit.descriptors.base import Jacobian
from gapkit.gp.term import SparseTerm
from gapkit.typing import FloatArray, IntArray, Kind
from gapkit.units import to_voigt

_ROW_BYTES = 4e6  # derivative rows of one block are kept below this, so that temporaries stay in the cache
_WORTH_MERGING = 0.8  # share of rows that is left; above it, adding rows costs more than multiplying them
_BATCH = 96  # derivative rows (of three components) that meet the sparse points together


@dataclass(frozen=True, eq=False)
class FrameRows:
    """Rows of one structure, without noise and without δ.

    Attributes
    ----------
    energy_m
        Row of the total energy, shape (M,).
    forces_nm
        Rows of the forces, atom by atom, shape (3N, M); None if not asked for.
    virial_vm
        Rows of the strain derivative ∂E/∂ε in Voigt order, shape (6, M), eV; None if not asked for.
    """

    energy_m: FloatArray
    forces_nm: FloatArray | None
    virial_vm: FloatArray | None


def frame_rows(terms: Sequence[SparseTerm], pairs: Pairs, kinds: Collection[Kind]) -> FrameRows:
    """Rows of one structure for all terms.

    Parameters
    ----------
    terms
        The terms, whose columns stand side by side.
    pairs
        All pairs of the structure.
    kinds
        Which of energy, forces and stress are needed; the energy row is always there.
    """
    derivatives = "forces" in kinds or "stress" in kinds
    n_atoms, width = len(pairs.numbers_e), sum(t.n_columns for t in terms)
    energy_m = np.zeros(width)
    # target t < N: minus the forces on atom t; N, N+1, N+2: rows of the virial tensor
    n_targets = n_atoms + (3 if "stress" in kinds else 0)
    moved = np.zeros((n_targets, 3, width)) if derivatives else None
    done = 0
    for term in terms:
        columns = slice(done, done + term.n_columns)
        _term_rows(term, pairs, energy_m[columns], None if moved is None else moved[:, :, columns])
        done += term.n_columns
    if moved is None:
        return FrameRows(energy_m, None, None)
    virial = to_voigt(moved[n_atoms:].transpose(2, 0, 1)).T if "stress" in kinds else None
    forces = np.negative(moved[:n_atoms], out=moved[:n_atoms]).reshape(3 * n_atoms, width)
    return FrameRows(energy_m, forces, virial)


def _term_rows(term: SparseTerm, pairs: Pairs, energy_m: FloatArray, moved_tcm: FloatArray | None) -> None:
    """Add the rows of one term."""
    columns = term.columns
    for channel, block, sites in term.blocks(pairs, _block_size(term, pairs)):
        here, y_md = columns[channel], term.points[channel].x_md
        k_sm, slopes_sm = term.kernel.values_and_slopes(sites.x_sd, y_md)
        weight_s = sites.weight_s
        energy_m[here] += k_sm.sum(axis=0) if weight_s is None else weight_s @ k_sm
        if moved_tcm is None or not len(block.e_p):
            continue
        slopes_sm = slopes_sm if weight_s is None else slopes_sm * weight_s[:, None]
        _MovedRows(sites.jacobian(), block, len(moved_tcm)).add_to(moved_tcm[:, :, here], term, k_sm, slopes_sm)


def _block_size(term: SparseTerm, pairs: Pairs) -> int:
    """Centres whose derivative rows fit into the memory of a block."""
    widest = max((p.x_md.shape[1] for p in term.points.values()), default=1)
    per_centre = 3 * max(1, len(pairs.e_p) / max(1, len(pairs.numbers_e))) * widest * 8
    return max(1, int(_ROW_BYTES / per_centre))


class _MovedRows:
    """Derivative rows of a block, sorted by what they move: an atom, or a row of the virial.

    Each pair moves its neighbour j and, with the opposite sign, its centre i; its virial is
    r ⊗ ∂. In small cells, rows of the same site and target are added before they meet the sparse points.
    """

    def __init__(self, jacobian: Jacobian, pairs: Pairs, n_targets: int) -> None:
        self._jacobian = jacobian
        site_q, n_atoms = jacobian.site_q, len(pairs.numbers_e)
        pair_q = jacobian.pair_q
        rows_qcx = _stacked(jacobian)
        starts, centre_keys = _runs(site_q * n_targets + pairs.i_p[pair_q])
        keys = [site_q * n_targets + pairs.j_p[pair_q], centre_keys]
        self._sources = [rows_qcx, -np.add.reduceat(rows_qcx, starts, axis=0)]
        if n_targets > n_atoms:
            starts, site_keys = _runs(site_q * n_targets)
            keys += [site_keys + n_atoms + a for a in range(3)]
            self._sources += [
                np.add.reduceat(rows_qcx * pairs.r_pc[pair_q, a, None, None], starts, axis=0) for a in range(3)
            ]
        site, self.target = np.divmod(np.concatenate(keys), n_targets)
        order = np.lexsort((site, self.target))
        self._order, self._site_of, self.target = order, site, self.target[order]
        new = np.r_[True, (np.diff(self.target) != 0) | (np.diff(site[order]) != 0)]
        if new.mean() < _WORTH_MERGING:
            self._merge(np.flatnonzero(new))

    def _merge(self, new: IntArray) -> None:
        """Add rows that agree in site and target: images of one atom in a small cell."""
        values = np.add.reduceat(np.concatenate(self._sources)[self._order], new, axis=0)
        self._site_of, self.target = self._site_of[self._order[new]], self.target[new]
        self._sources, self._order = [values], np.arange(len(new))

    def _gather(self, order: IntArray, buffer: FloatArray) -> FloatArray:
        """The chosen rows, copied together; sources stay where they are, so nothing large is moved."""
        part, offset = buffer[: len(order)], 0
        for source in self._sources:
            mine = np.flatnonzero((order >= offset) & (order < offset + len(source)))
            part[mine] = source[order[mine] - offset]
            offset += len(source)
        return part

    def add_to(self, moved_tcm: FloatArray, term: SparseTerm, k_sm: FloatArray, slopes_sm: FloatArray) -> None:
        """Add the derivative of the energy by every target."""
        jacobian, width = self._jacobian, self._jacobian.rows_qcx.shape[2]
        edges = np.flatnonzero(np.r_[True, np.diff(self.target) != 0, True])
        with_along, with_slope = jacobian.along_qc is not None, jacobian.weight_slope_qc is not None
        buffer = np.empty((_BATCH + int(np.diff(edges).max()), *self._sources[0].shape[1:]))
        first = 0
        while first < len(edges) - 1:
            # as many targets as make a product of a good size
            last = max(first + 1, int(np.searchsorted(edges, edges[first] + _BATCH, side="right")) - 1)
            order = self._order[edges[first] : edges[last]]
            part = self._gather(order, buffer)
            along = part[:, :, width] if with_along else None
            met = term.kernel.contract(jacobian.meet(part[:, :, :width]), along)
            site = self._site_of[order]
            for a, b in pairwise(edges[first : last + 1] - edges[first]):
                out = moved_tcm[self.target[edges[first] + a]]
                out += np.einsum("qcm,qm->cm", met[a:b], slopes_sm[site[a:b]])
                if with_slope:
                    out += part[a:b, :, -1].T @ k_sm[site[a:b]]
            first = last


def _stacked(jacobian: Jacobian) -> FloatArray:
    """Rows with their extra columns, if any: along, then weight slope."""
    extras = [x[..., None] for x in (jacobian.along_qc, jacobian.weight_slope_qc) if x is not None]
    return np.concatenate([jacobian.rows_qcx, *extras], axis=2) if extras else jacobian.rows_qcx


def _runs(key: IntArray) -> tuple[IntArray, IntArray]:
    """First positions of runs of equal keys, and those keys."""
    starts = np.flatnonzero(np.r_[True, np.diff(key) != 0])
    return starts, key[starts]

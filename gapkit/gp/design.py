"""Observation rows: energies, forces and virials as linear functionals of the kernel columns.

    energy  Σ_e k(e, m)         force  F_j = -Σ_p ∂k/∂r_p         virial  Σ_p r_p ⊗ ∂k/∂r_p

Cost of P neighbour pairs with D columns (features, or the space of the sparse points) and M points:

    flops   6·P·D·M           product of the derivative rows with the points: about three quarters of a fit
            6·P·D·n·B         rows of SOAP (see `gapkit.descriptors.soap_jacobian`; n radial functions, B partners)
            6·P·M             to weight the products and sum them
            2·n·M²            QR of the n rows of a structure (`gapkit.numerics.factor`)
    bytes   24·P·D, twice     rows, written and gathered; those of one block stay below `BLOCK_BYTES`
            24·_BATCH·M       products, summed while they are in the cache; no array of P·M is formed

All derivative rows that move one atom are handled together. `tests/benchmarks/compare_peers.py` measures the
time of a fit against these operations at the rate of dgemm.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from gapkit.atoms.neighbours import Pairs, side_by_side
from gapkit.descriptors.base import Jacobian, sites_of
from gapkit.gp.moved import joined, of_cell, of_neighbours, of_sites, share_of_distinct, stacked
from gapkit.gp.term import SparseTerm
from gapkit.kernels.base import Kernel
from gapkit.typing import FloatArray, IntArray, Kind
from gapkit.units import to_voigt

BLOCK_BYTES = 16e6
"""Derivative rows of one block of centres are kept below this: more calls of numpy cost more than the cache saves."""

_WORTH_MERGING = 0.8  # share of rows that is left; above it, adding rows costs more than multiplying them
_BATCH = 160  # derivative rows (of three components) that meet the sparse points together


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

    def some(self, columns_m: IntArray) -> FrameRows:
        """The rows on some of the columns."""
        forces, virial = (None if a is None else a[:, columns_m] for a in (self.forces_nm, self.virial_vm))
        return FrameRows(self.energy_m[columns_m], forces, virial)


def frame_rows(
    terms: Sequence[SparseTerm], pairs: Pairs, kinds: Collection[Kind], block_bytes: float = BLOCK_BYTES
) -> FrameRows:
    """Rows of one structure for all terms; see `rows_of_each`."""
    return rows_of_each(terms, [pairs], kinds, block_bytes)[0]


def rows_of_each(
    terms: Sequence[SparseTerm], parts: Sequence[Pairs], kinds: Collection[Kind], block_bytes: float = BLOCK_BYTES
) -> list[FrameRows]:
    """Rows of several structures for all terms: together, which saves small ones most of their steps.

    Parameters
    ----------
    terms
        The terms, whose columns stand side by side. Neighbours with the same points, and other kernels, share the work.
    parts
        All pairs of each structure.
    kinds
        Which of energy, forces and stress are needed; the energy row is always there.
    block_bytes
        Bytes of the derivative rows that are in memory at once.
    """
    derivatives = "forces" in kinds or "stress" in kinds
    edges = np.cumsum([0, *(len(part.numbers_e) for part in parts)])
    n_atoms, width = int(edges[-1]), sum(t.n_columns for t in terms)
    energy_fm = np.zeros((len(parts), width))
    # target t < N: minus the forces on atom t; N, N+1, N+2: rows of the virial tensor of the first structure; …
    n_targets = n_atoms + (3 * len(parts) if "stress" in kinds else 0)
    moved = np.zeros((n_targets, 3, width)) if derivatives else None
    pairs, structure_e = side_by_side(parts).grouped(), np.repeat(np.arange(len(parts)), np.diff(edges))
    done = 0
    for family in families(terms):
        cuts = [done + k * family[0].n_columns for k in range(len(family) + 1)]
        columns, done = [slice(a, b) for a, b in pairwise(cuts)], cuts[-1]
        size = _block_size(family[0], pairs, block_bytes)
        own = [] if moved is None else [moved[:, :, here] for here in columns]
        _family_rows(family, pairs, structure_e, size, [energy_fm[:, here] for here in columns], own)
    if moved is None:
        return [FrameRows(energy_m, None, None) for energy_m in energy_fm]
    forces = np.negative(moved[:n_atoms], out=moved[:n_atoms])
    made = []
    for f, (first, last) in enumerate(pairwise(edges)):
        strained = moved[n_atoms + 3 * f : n_atoms + 3 * f + 3]
        virial = to_voigt(strained.transpose(2, 0, 1)).T if "stress" in kinds else None
        made.append(FrameRows(energy_fm[f], forces[first:last].reshape(-1, width), virial))
    return made


def families(terms: Sequence[SparseTerm]) -> list[list[SparseTerm]]:
    """Neighbours among the terms that differ in kernel and δ alone: sparse points meet the rows of one descriptor."""
    found: list[list[SparseTerm]] = []
    for term in terms:
        if found and found[-1][0].points is term.points and found[-1][0].descriptor is term.descriptor:
            found[-1].append(term)
        else:
            found.append([term])
    return found


def _family_rows(
    family: Sequence[SparseTerm],
    pairs: Pairs,
    structure_e: IntArray,
    size: int,
    energy_kfm: Sequence[FloatArray],
    moved_ktcm: Sequence[FloatArray],
) -> None:
    """Add the rows of terms with the same points, in blocks of `size` centres; without `moved_ktcm` no derivatives."""
    for channel, block, sites in family[0].blocks(pairs, size):
        here, points = family[0].seen[channel]
        weight_s, parts = sites.weight_s, []
        share_fs = _shares(structure_e[sites.centre_s], len(energy_kfm[0]), weight_s)
        for term, energy_fm in zip(family, energy_kfm, strict=True):
            k_sm, slopes_sm = term.kernel.values_and_slopes(sites.x_sd, points.x_md)
            energy_fm[:, here] += share_fs @ k_sm
            parts.append(_Part(term.kernel, k_sm, slopes_sm if weight_s is None else slopes_sm * weight_s[:, None]))
        if moved_ktcm and len(block.e_p):
            design = _Design(sites.jacobian(), parts)
            design.add_to([moved_tcm[:, :, here] for moved_tcm in moved_ktcm], block, structure_e)


def _shares(structure_s: IntArray, n_structures: int, weight_s: FloatArray | None) -> FloatArray:
    """How much each site counts in the energy of each structure, shape (F, S)."""
    share_fs = np.zeros((n_structures, len(structure_s)))
    share_fs[structure_s, np.arange(len(structure_s))] = 1.0 if weight_s is None else weight_s
    return share_fs


def _block_size(term: SparseTerm, pairs: Pairs, block_bytes: float) -> int:
    """Centres whose derivative rows, or kernel values where they have many sites, fit into the memory of a block."""
    widest = max((p.x_md.shape[1] for p in term.points.values()), default=1)
    most, n = max((len(p.x_md) for _, p in term.seen.values()), default=1), max(1, len(pairs.numbers_e))
    rows = 3 * max(1, len(pairs.e_p) / n) * widest * 8
    values = 16 * sites_of(term.descriptor, len(pairs.within(term.descriptor.reach).e_p) / n) * most
    return max(1, int(block_bytes / max(rows, values)))


class _Part(NamedTuple):
    """A kernel, its values and its slopes for a block of sites, shape (S, M)."""

    kernel: Kernel
    k_sm: FloatArray
    slopes_sm: FloatArray


class _Design:
    """Derivative rows of a block of centres, to meet the sparse points and be summed by what they move."""

    def __init__(self, jacobian: Jacobian, parts: Sequence[_Part]) -> None:
        self._jacobian, self._parts = jacobian, parts

    def add_to(self, moved_ktcm: Sequence[FloatArray], pairs: Pairs, structure_e: IntArray) -> None:
        """Add the derivative of each energy by every target t; in small cells, rows are added before they are met."""
        rows_qcx = stacked(self._jacobian)
        virial = len(moved_ktcm[0]) > len(pairs.numbers_e)
        centres = of_sites(self._jacobian, rows_qcx, pairs)
        if virial:
            centres = joined(centres, of_cell(self._jacobian, rows_qcx, pairs, structure_e))
        parts = [of_neighbours(self._jacobian, rows_qcx, pairs), centres]
        if share_of_distinct(*parts) < _WORTH_MERGING:
            parts = [joined(*parts).merged()]
        for part in parts:
            self._add(moved_ktcm, part.rows_rcx, part.site_r, part.target_r)

    def _add(
        self, moved_ktcm: Sequence[FloatArray], rows_qcx: FloatArray, site_q: IntArray, target_q: IntArray
    ) -> None:
        """Add rows to their targets, as many targets at a time as make a product of a good size."""
        order = np.argsort(target_q, kind="stable")
        site_q, target_q = site_q[order], target_q[order]
        edges = np.r_[np.flatnonzero(np.diff(target_q, prepend=-1)), len(order)]
        buffer = np.empty((_BATCH + int(np.diff(edges).max()), *rows_qcx.shape[1:]))
        first = 0
        while first < len(edges) - 1:
            last = max(first + 1, int(np.searchsorted(edges, edges[first] + _BATCH, side="right")) - 1)
            here = slice(edges[first], edges[last])
            part = np.take(rows_qcx, order[here], axis=0, out=buffer[: here.stop - here.start], mode="clip")
            self._add_batch(moved_ktcm, part, site_q[here], target_q[edges[first:last]], edges[first : last + 1])
            first = last

    def _add_batch(
        self,
        moved_ktcm: Sequence[FloatArray],
        part_qcx: FloatArray,
        site_q: IntArray,
        target_t: IntArray,
        edges: IntArray,
    ) -> None:
        """Let rows meet the sparse points, and sum them for each of the targets while they are in the cache."""
        jacobian = self._jacobian
        width = jacobian.rows_qcx.shape[2]
        along = part_qcx[:, :, width] if jacobian.along_qc is not None else None
        dot_qcm = jacobian.meet(part_qcx[:, :, :width])
        for part, moved_tcm in zip(self._parts, moved_ktcm, strict=True):
            met, slopes_qm = part.kernel.contract(dot_qcm, along), part.slopes_sm[site_q]
            for target, (a, b) in zip(target_t, pairwise(edges - edges[0]), strict=True):
                out_cm = moved_tcm[target]
                out_cm += np.einsum("qcm,qm->cm", met[a:b], slopes_qm[a:b])
                if jacobian.weight_slope_qc is not None:
                    out_cm += part_qcx[a:b, :, -1].T @ part.k_sm[site_q[a:b]]

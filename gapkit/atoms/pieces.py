"""Neighbour pairs of a large structure, one region of it after the other, so that memory does not grow with it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np

from gapkit.atoms.frame import Frame
from gapkit.atoms.neighbours import NeighbourList, Pairs
from gapkit.typing import BoolArray, FloatArray, IntArray


def pairs_per_atom(frame: Frame, r_cut: float) -> float:
    """Mean number of neighbours within `r_cut`, estimated from the mean density."""
    box, scaled_ec = _scaled(frame)
    extent = np.where(frame.pbc_c, 1.0, np.ptp(scaled_ec, axis=0))
    edges = np.maximum(extent * _heights(box), np.where(frame.pbc_c, 0.0, r_cut))
    skew = abs(np.linalg.det(box)) / np.prod(_heights(box))
    return float(frame.n_atoms / (np.prod(edges) * skew) * 4.0 / 3.0 * np.pi * r_cut**3)


def pieces(frame: Frame, r_cut: float, most: float) -> Iterator[Pairs]:
    """All pairs closer than `r_cut`, in regions of about `most` centres.

    A region is a box along the cell's vectors, at least two cutoffs wide; the neighbours of its
    centres are found among the atoms of the region and of a margin of one cutoff around it.
    """
    box, scaled_ec = _scaled(frame)
    margin_c = r_cut / _heights(box)
    low = np.where(frame.pbc_c, 0.0, scaled_ec.min(axis=0))
    width = np.where(frame.pbc_c, 1.0, np.ptp(scaled_ec, axis=0))
    parts_c = _parts(frame.n_atoms / most, width / margin_c)
    step = width / parts_c
    with np.errstate(divide="ignore", invalid="ignore"):  # a flat structure has no extent in some direction
        home_ec = np.nan_to_num((scaled_ec - low) / step).astype(np.int64).clip(0, parts_c - 1)
    neighbours = NeighbourList(r_cut)
    for place in product(*map(range, parts_c)):
        centre_e = (home_ec == place).all(axis=1)
        if not centre_e.any():
            continue
        first = low + place * step
        atom, shift_ac = _around(scaled_ec, first - margin_c, first + step + margin_c, parts_c > 1, frame.pbc_c)
        own = centre_e[atom] & ~shift_ac.any(axis=1)
        order = np.argsort(~own, kind="stable")  # centres first
        atom, positions = atom[order], (scaled_ec[atom] + shift_ac)[order] @ box
        yield neighbours.pairs_of_first(frame, atom, positions, box, frame.pbc_c & (parts_c == 1), int(own.sum()))


def _scaled(frame: Frame) -> tuple[FloatArray, FloatArray]:
    """A box, and coordinates in units of its vectors, wrapped into it along periodic directions; shape (N, 3)."""
    box = frame.box_cc
    scaled_ec = frame.positions_ec @ np.linalg.inv(box)
    scaled_ec[:, frame.pbc_c] %= 1.0
    return box, scaled_ec


def _heights(box: FloatArray) -> FloatArray:
    """Distance of opposite faces of a cell, shape (3,), Å."""
    return 1.0 / np.linalg.norm(np.linalg.inv(box), axis=0)


def _parts(wanted: float, cutoffs_c: FloatArray) -> IntArray:
    """Number of regions along each vector, of which a cell `cutoffs_c` cutoffs wide has room for."""
    parts = np.ones(3, dtype=np.int64)
    while parts.prod() < wanted:
        room = cutoffs_c / (parts + 1)
        longest = int(np.argmax(cutoffs_c / parts * (room >= 2.0)))
        if room[longest] < 2.0:
            break
        parts[longest] += 1
    return parts


def _around(
    scaled_ec: FloatArray, low: FloatArray, high: FloatArray, split_c: BoolArray, pbc_c: BoolArray
) -> tuple[IntArray, IntArray]:
    """Atoms, and periodic images of them, between two corners along the vectors that are split.

    Returns indices, shape (A,), and lattice shifts, shape (A, 3).
    """
    atom, shift_ac = np.arange(len(scaled_ec)), np.zeros((len(scaled_ec), 3), dtype=np.int64)
    for c in np.flatnonzero(split_c):
        found, shifts = [], []
        for s in (-1, 0, 1) if pbc_c[c] else (0,):
            x = scaled_ec[atom, c] + s
            near = np.flatnonzero((x >= low[c]) & (x <= high[c]))
            found.append(atom[near])
            shifts.append(shift_ac[near])
            shifts[-1][:, c] = s
        atom, shift_ac = np.concatenate(found), np.concatenate(shifts)
    return atom, shift_ac

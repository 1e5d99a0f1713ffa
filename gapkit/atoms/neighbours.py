"""Neighbour pairs, and how gradients of pair vectors become forces and virial."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import vesin

from gapkit.atoms.frame import Frame
from gapkit.typing import BoolArray, FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class Pairs:
    """Directed neighbour pairs of some centres, sorted by centre.

    Attributes
    ----------
    numbers_e
        Atomic numbers of all atoms of the structure, shape (N,).
    centres_e
        Indices of the centres whose pairs these are, shape (E,); ascending unless `grouped`.
    e_p
        Position of each pair's centre in `centres_e`, ascending, shape (P,).
    j_p
        Index of the neighbour among all atoms, shape (P,).
    r_pc
        Vector from the centre to the image of j, shape (P, 3), Å.
    origin_p
        Index of each pair in the full list of the structure, shape (P,).
    """

    numbers_e: IntArray
    centres_e: IntArray
    e_p: IntArray
    j_p: IntArray
    r_pc: FloatArray
    origin_p: IntArray

    @property
    def i_p(self) -> IntArray:
        """Index of the centre among all atoms, shape (P,)."""
        return self.centres_e[self.e_p]

    def keep(self, keep: IntArray | slice) -> Pairs:
        """Some of the pairs, in ascending order."""
        return replace(self, e_p=self.e_p[keep], j_p=self.j_p[keep], r_pc=self.r_pc[keep], origin_p=self.origin_p[keep])

    def within(self, r_cut: float) -> Pairs:
        """Those pairs that are closer than `r_cut`."""
        near = np.einsum("pc,pc->p", self.r_pc, self.r_pc) < r_cut * r_cut
        return self if near.all() else self.keep(np.flatnonzero(near))

    def of_centres(self, mine_e: BoolArray) -> Pairs:
        """The pairs of some of the centres, by a mask of shape (E,)."""
        if mine_e.all():
            return self
        position = np.cumsum(mine_e) - 1
        part = self.keep(np.flatnonzero(mine_e[self.e_p]))
        return replace(part, centres_e=self.centres_e[mine_e], e_p=position[part.e_p])

    def of_species(self, number: int) -> Pairs:
        """The pairs of those centres that are of one element."""
        return self.of_centres(self.numbers_e[self.centres_e] == number)

    def grouped(self) -> Pairs:
        """The same pairs with the centres sorted by element, then by falling number of neighbours.

        Blocks of consecutive centres are then alike, which wastes no work on padding.
        """
        count_e = np.bincount(self.e_p, minlength=len(self.centres_e))
        order = np.lexsort((-count_e, self.numbers_e[self.centres_e]))
        new_count_e = count_e[order]
        shift_e = (np.cumsum(count_e) - count_e)[order] - (np.cumsum(new_count_e) - new_count_e)
        part = self.keep(np.arange(len(self.e_p)) + np.repeat(shift_e, new_count_e))
        return replace(part, centres_e=self.centres_e[order], e_p=np.repeat(np.arange(len(order)), new_count_e))

    def blocks(self, size: int) -> Iterator[Pairs]:
        """Consecutive blocks of at most `size` centres."""
        n = len(self.centres_e)
        if n <= size:
            yield self
            return
        edges = np.arange(0, n + size, size).clip(max=n)
        cuts = np.searchsorted(self.e_p, edges)
        for first, last, a, b in zip(edges[:-1], edges[1:], cuts[:-1], cuts[1:], strict=True):
            part = self.keep(slice(a, b))
            yield replace(part, centres_e=self.centres_e[first:last], e_p=part.e_p - first)

    def forces(self, gradient_pc: FloatArray) -> FloatArray:
        """Forces -dE/dx, shape (N, 3), from dE/dr of every pair, shape (P, 3)."""
        n, i_p = len(self.numbers_e), self.i_p
        forces_ec = np.empty((n, 3))
        for c in range(3):
            g = gradient_pc[:, c]
            forces_ec[:, c] = np.bincount(i_p, g, n) - np.bincount(self.j_p, g, n)
        return forces_ec

    def virial(self, gradient_pc: FloatArray) -> FloatArray:
        """Strain derivative dE/dε = Σ_p r_p ⊗ dE/dr_p, shape (3, 3), eV."""
        return self.r_pc.T @ gradient_pc


def side_by_side(parts: Sequence[Pairs]) -> Pairs:
    """The pairs of several structures as those of one, whose atoms are counted on from structure to structure."""
    if len(parts) == 1:
        return parts[0]

    def joined(name: str, by: str = "") -> IntArray:
        arrays = [getattr(part, name) for part in parts]
        if not by:
            return np.concatenate(arrays)
        ends = np.cumsum([0, *(len(getattr(part, by)) for part in parts[:-1])])
        return np.concatenate([array + end for array, end in zip(arrays, ends, strict=True)])

    return Pairs(
        joined("numbers_e"),
        joined("centres_e", by="numbers_e"),
        joined("e_p", by="centres_e"),
        joined("j_p", by="numbers_e"),
        np.concatenate([part.r_pc for part in parts]),
        joined("origin_p", by="origin_p"),
    )


class NeighbourList:
    """Pairs of successive structures, rebuilt only when an atom has moved by skin/2.

    Parameters
    ----------
    r_cut
        Cutoff, Å.
    skin
        Verlet skin, Å; 0 rebuilds every time.
    """

    def __init__(self, r_cut: float, skin: float = 0.0) -> None:
        self.r_cut, self.skin = r_cut, skin
        self._list = vesin.NeighborList(cutoff=r_cut, full_list=True, sorted=True, skin=skin, n_threads=1)

    def __reduce__(self) -> tuple[type[NeighbourList], tuple[float, float]]:
        """Copies and pickles start with an empty list of their own."""
        return NeighbourList, (self.r_cut, self.skin)

    def pairs(self, frame: Frame) -> Pairs:
        """All pairs closer than r_cut."""
        i_p, j_p, r_pc = self._compute(frame.positions_ec, frame.box_cc, frame.pbc_c)
        return Pairs(frame.numbers_e, np.arange(frame.n_atoms), i_p, j_p, r_pc, np.arange(len(i_p)))

    def pairs_of_first(
        self, frame: Frame, atom_a: IntArray, positions_ac: FloatArray, box: FloatArray, pbc_c: BoolArray, n: int
    ) -> Pairs:
        """Pairs of the first `n` of some atoms of a structure, given with the images that may be their neighbours."""
        i_p, j_p, r_pc = self._compute(positions_ac, box, pbc_c)
        end = int(np.searchsorted(i_p, n))  # pairs are sorted by centre
        return Pairs(frame.numbers_e, atom_a[:n], i_p[:end], atom_a[j_p[:end]], r_pc[:end], np.arange(end))

    def _compute(
        self, positions_ec: FloatArray, box: FloatArray, pbc_c: BoolArray
    ) -> tuple[IntArray, IntArray, FloatArray]:
        i, j, r_pc = self._list.compute(positions_ec, box, pbc_c, "ijD")
        # vesin's indices are unsigned: with those, numpy turns i - j into a huge number
        return i.astype(np.int64), j.astype(np.int64), r_pc

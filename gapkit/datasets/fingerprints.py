"""Structures as averages of normalised SOAP vectors: blind to rotation, permutation, supercells; no labels."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

import numpy as np
from ase import Atoms

from gapkit import Frame
from gapkit.typing import FloatArray

REACH: Final = 5.0
"""Radius within which environments are compared, Å."""
SETTINGS: Final[dict[str, Any]] = {
    "r_cut": REACH,
    "n_max": 6,
    "l_max": 6,
    "sigma": 0.5,
    "weighting": {"function": "poly", "r0": REACH, "c": 1.0, "m": 1.0},
}
_ALIKE: Final = 1e-4  # between components of normalised vectors of one environment
_MANY_SPECIES: Final = 4  # beyond it the spectrum of all pairs of species grows too long
_WIDTH: Final = 64  # numbers that stand for the vector of one species
_BATCH: Final = 2000  # atoms whose vectors are in memory at one time
_BLOCK: Final = 500  # rows of a table of distances
_KEPT: Final = 64  # structures whose vectors are kept for comparison


class Fingerprints:
    """Averages of normalised SOAP vectors, and distances between structures by their environments.

    Attributes
    ----------
    mean_sf
        Shape (S, F): for every species the sum of its normalised vectors over the number of all atoms, projected on
        random directions (seed 0), which keeps distances to about a tenth.
    """

    def __init__(self, frames: Sequence[Frame]) -> None:
        self._frames = list(frames)
        self._numbers = sorted({int(z) for frame in frames for z in np.unique(frame.numbers_e)})
        self._project_fk: FloatArray | None = None
        self._soaps: dict[bool, Any] = {}
        self.mean_sf = np.zeros((len(self._frames), len(self._numbers) * _WIDTH))
        for batch in _batches([frame.n_atoms for frame in self._frames]):
            for index in batch:
                self.mean_sf[index] = self._mean(self._vectors(index), self._frames[index].numbers_e)
        self._recent = lru_cache(maxsize=_KEPT)(self._vectors)

    def between(self, first: int, second: int) -> float:
        """Largest distance of an environment of one structure from the nearest one, of its element, of the other."""
        from scipy.spatial.distance import cdist

        one, two = self._frames[first].numbers_e, self._frames[second].numbers_e
        if set(one.tolist()) != set(two.tolist()):
            return float("inf")
        x_ef, y_ef, largest = self._recent(first), self._recent(second), 0.0
        for number in np.unique(one):
            d_ee = cdist(x_ef[one == number], y_ef[two == number])
            largest = max(largest, float(d_ee.min(axis=0).max()), float(d_ee.min(axis=1).max()))
        return largest

    def uniform(self, index: int) -> bool:
        """Whether all atoms of an element have the same environment, as in most perfect crystals."""
        x_ef, numbers_e = self._recent(index), self._frames[index].numbers_e
        return all(float(np.ptp(x_ef[numbers_e == z], axis=0).max()) < _ALIKE for z in np.unique(numbers_e))

    def close(
        self, limit: float, *, rows: Sequence[int], columns: Sequence[int], nearest: int = 4
    ) -> list[tuple[int, int, float]]:
        """Pairs of a structure of `rows` and one of `columns` within `limit` of `between`, the lower index first.

        Of each structure in `rows` at most the `nearest` ones.
        """
        pairs: set[tuple[int, int]] = set()
        own, others = np.asarray(rows, dtype=int), np.asarray(columns, dtype=int)
        slack = (1.5 * limit + 1e-7) ** 2  # for what projection and rounding do to a distance of averages
        square_s = np.square(self.mean_sf).sum(axis=1)
        for block in np.array_split(own, 1 + len(own) // _BLOCK):
            d2 = square_s[block, None] + square_s[others] - 2.0 * self.mean_sf[block] @ self.mean_sf[others].T
            for i, d2_s in zip(block.tolist(), d2, strict=True):
                near = np.flatnonzero((d2_s < slack) & (others != i))
                near = others[near[np.argsort(d2_s[near], kind="stable")[:nearest]]]
                pairs |= {(min(i, j), max(i, j)) for j in near.tolist()}
        found = [(i, j, self.between(i, j)) for i, j in sorted(pairs)]
        return [pair for pair in found if pair[2] <= limit]

    def _vectors(self, index: int) -> FloatArray:
        """Normalised SOAP vectors of one structure, shape (N, D)."""
        frame = self._frames[index]
        periodic = bool(frame.pbc_c.any())
        if periodic not in self._soaps:
            self._soaps[periodic] = self._soap(periodic)
        cell = frame.cell_cc if periodic else None
        atoms = Atoms(frame.numbers_e, frame.positions_ec, cell=cell, pbc=frame.pbc_c)
        if periodic:
            atoms.cell = atoms.cell.complete()  # dscribe wants a volume, also of slabs and wires
        x_ef = np.asarray(self._soaps[periodic].create(atoms), dtype=float)
        norm_e = np.linalg.norm(x_ef, axis=1)
        return x_ef / np.where(norm_e > 0.0, norm_e, 1.0)[:, None]

    def _soap(self, periodic: bool) -> Any:
        from dscribe.descriptors import SOAP

        many = {"compression": {"mode": "mu1nu1"}} if len(self._numbers) > _MANY_SPECIES else {}
        return SOAP(species=self._numbers, periodic=periodic, **SETTINGS, **many)

    def _mean(self, x_ef: FloatArray, numbers_e: Any) -> FloatArray:
        if self._project_fk is None:
            draw = np.random.default_rng(0).standard_normal((x_ef.shape[1], _WIDTH))
            self._project_fk = draw / np.sqrt(_WIDTH)
        sums = [x_ef[numbers_e == number].sum(axis=0) @ self._project_fk for number in self._numbers]
        mean: FloatArray = np.concatenate(sums) / len(numbers_e)
        return mean


def _batches(sizes: Sequence[int]) -> list[list[int]]:
    """Indices of structures in order, about _BATCH atoms each."""
    part = np.cumsum(sizes) // _BATCH if len(sizes) else np.zeros(0, dtype=int)
    return [np.flatnonzero(part == k).tolist() for k in np.unique(part)]

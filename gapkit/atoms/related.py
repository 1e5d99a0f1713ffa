"""How far apart two structures of the same atoms are, and which of many are therefore related."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

import numpy as np
from ase.geometry import complete_cell
from numpy.typing import NDArray

from gapkit.atoms.frame import Frame
from gapkit.atoms.neighbours import NeighbourList
from gapkit.typing import BoolArray, FloatArray, IntArray

STRAIN: Final = 0.1
"""Two cells are alike if one becomes the other by a strain below this."""

SITE: Final = 0.45
"""Two periodic structures are related if nine tenths of the atoms are nearer than this, in nearest-neighbour distances,
to where they are in the other: on the same sites, as thermal snapshots of a crystal are up to melting."""

SITE_OF_FEW: Final = 0.25
"""The same for all atoms of a structure of fewer than eight, which come near each other by chance."""

NEAR: Final = 0.1
"""Rms displacement in the same units below which molecules are related. Their shapes under thermal motion, which differ
by more unless they are a few fs apart, are independent samples."""

MEMORY: Final = 1.55
"""Successive structures of N ≥ 8 atoms, such as frames of a liquid, are related if their rms displacement is less than
1 - 1.55/√N of what it is once all memory is lost. Six standard deviations: each coordinate is uniform over the period
then, its square has the relative standard deviation 0.894."""

_PAIRS: Final = 16  # pairs of atoms whose vectors tell structures apart in a first look
_SLACK: Final = 1.5  # of that look, which sees some atoms only
_BLOCK: Final = 2e6  # numbers of a block of distances
_OTHERS: Final = 9  # random frames to which the next one is compared
_CHANCE: Final = 0.58  # two standard deviations of a share, times the root of the number of steps
_FEW_FRAMES: Final = 6  # of which nothing can be said, and which are taken to be in order
_SOME: Final = 20  # frames that say how far apart atoms are
_FEWEST: Final = 8  # atoms whose displacements say more than chance

Distance: TypeAlias = Callable[[IntArray, IntArray], FloatArray]


class Family:
    """Structures of the same atoms in the same order, and the distance between any two.

    A distance is the rms displacement of the atoms in units of the nearest-neighbour distance: of periodic structures
    in the mean of both cells, with minimum images and without drift, infinite where the cells are not alike; of
    molecules after the best rotation.
    """

    def __init__(self, frames: Sequence[Frame]) -> None:
        first = frames[0]
        self.n_atoms = first.n_atoms
        self.periodic = bool(first.pbc_c.any())
        self.unit = _nearest(first)
        x_kec = np.array([frame.positions_ec for frame in frames])
        if self.periodic:
            cells = np.array([frame.cell_cc * frame.pbc_c[:, None] for frame in frames])
            boxes = np.array([complete_cell(cell) for cell in cells])
            self._metric_kcc = boxes @ boxes.transpose(0, 2, 1)
            self._pbc_c = first.pbc_c
            self._x_kec = x_kec @ np.linalg.inv(boxes)
        else:
            self._x_kec = x_kec - x_kec.mean(axis=1, keepdims=True)

    def distance(self, i_x: IntArray, j_x: IntArray) -> FloatArray:
        """Distances of some pairs of structures, shape (X,)."""
        return self._in_parts(lambda i, j: np.sqrt(np.square(self._lengths(i, j)).mean(axis=1)), i_x, j_x)

    def unrelated(self) -> float:
        """The distance at which a structure has forgotten another, that of its atoms in random order; 0 for a few."""
        if self.n_atoms < _FEWEST:
            return 0.0
        random, found = np.random.default_rng(0), []
        for k in np.linspace(0, len(self._x_kec) - 1, _SOME).astype(int):
            x_ec = self._x_kec[k]
            step = x_ec[random.permutation(self.n_atoms)] - x_ec
            step[:, self._pbc_c] -= np.round(step[:, self._pbc_c])
            found.append(np.einsum("ec,cd,ed->e", step, self._metric_kcc[k], step))
        return float(np.sqrt(np.mean(found))) / self.unit

    def near(self, i_x: IntArray, j_x: IntArray) -> BoolArray:
        """Which pairs of structures are related without anything between them, shape (X,)."""
        if not self.periodic:
            return self.distance(i_x, j_x) < NEAR
        most = int(np.ceil(0.9 * self.n_atoms)) - 1
        limit = SITE if self.n_atoms >= _FEWEST else SITE_OF_FEW
        return self._in_parts(lambda i, j: np.partition(self._lengths(i, j), most, axis=1)[:, most], i_x, j_x) < limit

    def look(self) -> FloatArray:
        """Coordinates that drift, rotation and images do not change, shape (K, G), of some pairs of atoms.

        Structures that are `near` are within about one of each other.
        """
        order = np.random.default_rng(0).permutation(self.n_atoms)
        a, b = order[:_PAIRS], np.roll(order, 1)[:_PAIRS]
        step_kqc = self._x_kec[:, a] - self._x_kec[:, b]
        if not self.periodic:
            threshold = NEAR * self.unit * np.sqrt(2.0 * len(a))
            return np.linalg.norm(step_kqc, axis=2) / threshold
        length_c = np.sqrt(np.diagonal(self._metric_kcc[0]))
        threshold = 0.5 * SITE * self.unit * np.sqrt(2.0 * len(a))
        angle, free = 2 * np.pi * step_kqc[..., self._pbc_c], step_kqc[..., ~self._pbc_c]
        scale = length_c[self._pbc_c] / (2 * np.pi)
        parts = [np.cos(angle) * scale, np.sin(angle) * scale, free * length_c[~self._pbc_c]]
        metric = self._metric_kcc / np.outer(length_c, length_c) / (2.0 * STRAIN)
        return np.concatenate([*(p.reshape(len(p), -1) / threshold for p in parts), metric.reshape(-1, 9)], axis=1)

    def _in_parts(self, function: Distance, i_x: IntArray, j_x: IntArray) -> FloatArray:
        size = max(1, int(_BLOCK / self._x_kec[0].size))
        parts = [function(i_x[a : a + size], j_x[a : a + size]) for a in range(0, len(i_x), size)]
        return np.concatenate([np.zeros(0), *parts])

    def _lengths(self, i_x: IntArray, j_x: IntArray) -> FloatArray:
        """Displacement of each atom, shape (X, N), in units of the nearest-neighbour distance."""
        x, y = self._x_kec[i_x], self._x_kec[j_x]
        if not self.periodic:  # W. Kabsch, Acta Cryst. A 32, 922 (1976)
            u, _, v = np.linalg.svd(x.transpose(0, 2, 1) @ y)
            u[:, :, 2] *= np.sign(np.linalg.det(u @ v))[:, None]  # a rotation, and no reflection
            return np.linalg.norm(x @ (u @ v) - y, axis=2) / self.unit
        step, periodic = x - y, self._pbc_c
        drift = np.angle(np.exp(2j * np.pi * step[..., periodic]).sum(axis=1, keepdims=True)) / (2 * np.pi)
        step[..., periodic] -= drift
        step[..., periodic] -= np.round(step[..., periodic])
        step -= step.mean(axis=1, keepdims=True)
        metric = 0.5 * (self._metric_kcc[i_x] + self._metric_kcc[j_x])
        length = np.sqrt(np.maximum(np.einsum("xec,xec->xe", step @ metric, step), 0.0)) / self.unit
        return np.where(self._alike(i_x, j_x)[:, None], length, np.inf)

    def _alike(self, i_x: IntArray, j_x: IntArray) -> BoolArray:
        """Whether the stretches that turn one cell into the other are below STRAIN."""
        inverse = np.linalg.inv(np.linalg.cholesky(self._metric_kcc[i_x]))
        square = np.linalg.eigvalsh(inverse @ self._metric_kcc[j_x] @ inverse.transpose(0, 2, 1))
        return np.abs(np.sqrt(square) - 1.0).max(axis=1) < STRAIN


def related(frames: Sequence[Frame]) -> IntArray:
    """Label of the set of related structures that each belongs to, shape (K,); structures of the same atoms, in order.

    Related are successive structures that remember each other, and any two that are near; and those that are related
    to the same.
    """
    family, n = Family(frames), len(frames)
    label_k = np.arange(n)
    if n == 1:
        return label_k
    before, after = np.arange(n - 1), np.arange(1, n)
    step = family.distance(before, after)
    for k in np.flatnonzero((step < _reach(family, n, step)) | family.near(before, after)):
        _join(label_k, int(k), int(k) + 1)
    look = family.look().astype(np.float32)
    while True:  # Borůvka: each is joined to the nearest one outside of its set
        near_k = _nearest_outside(look, label_k)
        i_x = np.flatnonzero(near_k >= 0)
        i_x = i_x[family.near(i_x, near_k[i_x])]
        for i in i_x:
            _join(label_k, int(i), int(near_k[i]))
        if not len(i_x):
            return label_k


def _reach(family: Family, n: int, step: FloatArray) -> float:
    """Distance below which successive structures are related; 0 where the file is in no order of time."""
    other = np.random.default_rng(0).integers(1, n, size=(n, _OTHERS)) + np.arange(n)[:, None]  # never itself
    far = np.sort(family.distance(np.repeat(np.arange(n), _OTHERS), other.ravel() % n))
    if family.periodic:
        # alloys that differ in the order of their elements have much in common, but no more with the next than with any
        nearer = 1.0 - np.searchsorted(far, step, side="right").mean() / len(far)
        in_order = n < _FEW_FRAMES or nearer > 0.5 + _CHANCE / np.sqrt(n - 1)
        return (1.0 - MEMORY / np.sqrt(family.n_atoms)) * family.unrelated() if in_order else 0.0
    tenth, middle = far[len(far) // 10], far[len(far) // 2]
    in_order = n > 2 and np.median(step) < tenth  # then the file is a run, or several, in order of time
    return float(max(tenth, 0.5 * middle)) if in_order else 0.0


def _nearest_outside(look_kg: NDArray[np.float32], label_k: IntArray) -> IntArray:
    """The nearest structure of another set at a first look, shape (K,), -1 where none is near."""
    n = len(look_kg)
    found = np.full(n, -1, dtype=np.int64)
    norm_k = np.einsum("kg,kg->k", look_kg, look_kg)
    size = max(1, int(_BLOCK / n))
    for a in range(0, n, size):
        rows = slice(a, min(a + size, n))
        square = norm_k[rows, None] + norm_k - 2.0 * (look_kg[rows] @ look_kg.T)
        square[label_k[rows, None] == label_k] = np.inf
        best = square.argmin(axis=1)
        near = square[np.arange(len(best)), best] < _SLACK**2 * 2.0
        found[rows] = np.where(near, best, -1)
    return found


def _join(label_k: IntArray, i: int, j: int) -> None:
    low, high = sorted((label_k[i], label_k[j]))
    label_k[label_k == high] = low


def _nearest(frame: Frame) -> float:
    """Median distance of an atom to its nearest neighbour, Å."""
    reach = 3.0
    while reach < 30.0:
        pairs = NeighbourList(reach).pairs(frame)
        if len(np.unique(pairs.e_p)) > 0.5 * frame.n_atoms:
            nearest_e = np.full(frame.n_atoms, np.inf)
            np.minimum.at(nearest_e, pairs.e_p, np.linalg.norm(pairs.r_pc, axis=1))
            return float(np.median(nearest_e))
        reach *= 1.6
    return 1.0

"""Structures that differ by small displacements and strains, and what labels say about the energy between them.

Along a straight path between two structures ΔE = -∫F·dx + ∫Vσ:dε. The trapezoidal rule takes the mean of the labels at
both ends: exact for a harmonic crystal, and off by third order otherwise.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Final

import numpy as np

from gapkit import Frame
from gapkit.typing import FloatArray, IntArray
from gapkit.units import VOIGT

NEAR: Final = 0.25
"""Largest displacement, rms over atoms, of two structures that are compared, Å."""
STRAINED: Final = 0.06
"""Largest strain (Frobenius norm) between them."""
UNSTRAINED: Final = 1e-5
"""Strain below which two cells are the same but for rounding in files."""
_TURNED: Final = 0.2  # norm of the antisymmetric part of what maps a cell to another: a rotation of about 4 degrees
_PARTNERS: Final = 8  # nearest ones of each structure
_ALL: Final = 300  # up to so many structures all pairs are looked at
_CANDIDATES: Final = 12  # else those that are most alike by fingerprint


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of structures with equal atoms in equal order, p = 0 … P-1.

    Attributes
    ----------
    i_p, j_p : indices of the two structures.
    energy_p : E_j - E_i, eV.
    halves_p2 : -½ Σ F·Δx with the forces of i and those of j, eV; zero without forces.
    harmonic_p : ½ |Σ (F_j - F_i)·Δx|, eV, the energy that the displacement costs in a harmonic crystal.
    shift_p : displacement, rms over atoms, Å, without the affine part that follows the cell.
    moved_p : number of atoms that share it, (Σ|Δx|²)²/Σ|Δx|⁴, N if all move alike.
    strain_pv : (P, 6) Voigt strain from cell i to cell j about their mean, shear components doubled.
    """

    i_p: IntArray
    j_p: IntArray
    energy_p: FloatArray
    halves_p2: FloatArray
    harmonic_p: FloatArray
    shift_p: FloatArray
    moved_p: FloatArray
    strain_pv: FloatArray

    def __len__(self) -> int:
        return len(self.i_p)

    @property
    def work_p(self) -> FloatArray:
        """-½ Σ (F_i + F_j)·Δx, eV."""
        work: FloatArray = self.halves_p2.sum(axis=1)
        return work

    @property
    def stretch_p(self) -> FloatArray:
        """Frobenius norm of the strain."""
        e = self.strain_pv
        return np.sqrt(np.square(e[:, :3]).sum(axis=1) + 0.5 * np.square(e[:, 3:]).sum(axis=1))

    def keep(self, mask_p: np.ndarray) -> Pairs:
        """Some of the pairs."""
        return Pairs(**{field.name: getattr(self, field.name)[mask_p] for field in fields(self)})


def similar_pairs(frames: Sequence[Frame], mean_sf: FloatArray) -> Pairs:
    """Pairs of structures of one group with energies, within NEAR and STRAINED: the nearest ones of each structure.

    Parameters
    ----------
    frames
        All structures.
    mean_sf
        Their fingerprints, which choose the candidates where there are too many structures to look at all pairs.
    """
    alike: dict[tuple[object, ...], list[int]] = defaultdict(list)
    for index, frame in enumerate(frames):
        if frame.energy is not None and (frame.n_atoms > 1 or frame.pbc_c.all()):
            has_forces = frame.all_forces_ec is not None
            alike[frame.group, frame.numbers_e.tobytes(), frame.pbc_c.tobytes(), has_forces].append(index)
    parts = [part for members in alike.values() if len(members) > 1 for part in _within(frames, members, mean_sf)]
    if not parts:
        nothing = np.zeros(0)
        none = np.zeros(0, dtype=np.int64)
        return Pairs(none, none, nothing, np.zeros((0, 2)), nothing, nothing, nothing, np.zeros((0, 6)))
    found = Pairs(**{f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Pairs)})
    _, first = np.unique(np.stack([found.i_p, found.j_p]), axis=1, return_index=True)
    return found.keep(first)


def _within(frames: Sequence[Frame], members: Sequence[int], mean_sf: FloatArray) -> Iterator[Pairs]:
    """Pairs among structures of equal atoms, a structure at a time."""
    index = np.array(members)
    own_sf = mean_sf[index]
    for k, i in enumerate(index):
        others = index[k + 1 :] if len(index) <= _ALL else index[_candidates(k, own_sf)]
        if not len(others):
            continue
        pairs = _between(frames[i], [frames[j] for j in others], int(i), others)
        pairs = pairs.keep((pairs.shift_p < NEAR) & (pairs.stretch_p < STRAINED))
        still = pairs.stretch_p < UNSTRAINED
        for part, size_p in ((pairs.keep(still), pairs.shift_p[still]), (pairs.keep(~still), pairs.stretch_p[~still])):
            yield part.keep(np.argsort(size_p, kind="stable")[:_PARTNERS])


def _candidates(k: int, own_sf: FloatArray) -> IntArray:
    """The structures that look most like the k-th one, and the next ones in the file."""
    distance_s = np.einsum("sf,sf->s", own_sf, own_sf) - 2.0 * own_sf @ own_sf[k]
    distance_s[k] = np.inf
    near = np.argpartition(distance_s, _CANDIDATES)[:_CANDIDATES]
    both = np.unique(np.concatenate([near, np.arange(k + 1, min(k + 4, len(own_sf)))]))
    return both[both != k]


def _between(one: Frame, others: Sequence[Frame], i: int, index: IntArray) -> Pairs:
    """All of `others` against one structure."""
    periodic = bool(one.pbc_c.any())
    x_nec, turn_ncc, strain_nv = (_mapped if periodic else _turned)(one, others)
    halves_n2, harmonic = np.zeros((len(others), 2)), np.zeros(len(others))
    if (first_ec := one.all_forces_ec) is not None:
        second_nec = np.array([frame.all_forces_ec for frame in others]) @ turn_ncc
        halves_n2 = -0.5 * np.stack([(f * x_nec).sum(axis=(1, 2)) for f in (first_ec, second_nec)], axis=1)
        harmonic = 0.5 * np.abs(((second_nec - first_ec) * x_nec).sum(axis=(1, 2)))
    difference = np.array([frame.energy for frame in others], dtype=float) - float(one.energy or 0.0)
    square_ne = np.square(x_nec).sum(axis=2)
    shift, fourth_n = np.sqrt(square_ne.mean(axis=1)), np.square(square_ne).sum(axis=1)
    moved = np.divide(square_ne.sum(axis=1) ** 2, fourth_n, out=np.zeros_like(shift), where=fourth_n > 0.0)
    low, high = np.minimum(i, index), np.maximum(i, index)
    sign = np.where(index > i, 1.0, -1.0)  # a pair has one direction, whichever of the two was looked at first
    halves_n2 = sign[:, None] * np.where(index[:, None] > i, halves_n2, halves_n2[:, ::-1])
    return Pairs(low, high, sign * difference, halves_n2, harmonic, shift, moved, sign[:, None] * strain_nv)


def _mapped(one: Frame, others: Sequence[Frame]) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Displacements by the nearest images at equal scaled coordinates, no rotations, Voigt strains of the cells."""
    cell_ncc = np.array([frame.box_cc for frame in others])
    own_cc = one.box_cc
    scaled_nec = np.array([frame.positions_ec for frame in others]) @ np.linalg.inv(cell_ncc)
    step_nec = scaled_nec - one.positions_ec @ np.linalg.inv(own_cc)
    step_nec -= np.round(step_nec) * one.pbc_c
    step_nec -= step_nec.mean(axis=1, keepdims=True)
    step_nec -= np.round(step_nec) * one.pbc_c  # what crossed half a cell against the others
    change_ncc = np.linalg.solve(own_cc, cell_ncc) - np.eye(3)
    strain_ncc = 2.0 * change_ncc @ np.linalg.inv(change_ncc + 2.0 * np.eye(3))
    turned_n = np.linalg.norm(strain_ncc - strain_ncc.transpose(0, 2, 1), axis=(1, 2)) > _TURNED
    strain_nv = np.stack([strain_ncc[:, a, b] + (strain_ncc[:, b, a] if a != b else 0.0) for a, b in VOIGT], axis=1)
    strain_nv[turned_n] = np.inf
    x_nec = step_nec @ (0.5 * (cell_ncc + own_cc))
    return x_nec, np.broadcast_to(np.eye(3), cell_ncc.shape), strain_nv


def _turned(one: Frame, others: Sequence[Frame]) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Displacements of molecules after the best rotation (Kabsch), these rotations, and no strain."""
    own_ec = one.positions_ec - one.positions_ec.mean(axis=0)
    x_nec = np.array([frame.positions_ec for frame in others])
    x_nec = x_nec - x_nec.mean(axis=1, keepdims=True)
    u, _, vt = np.linalg.svd(np.einsum("nea,eb->nab", x_nec, own_ec))
    u[:, :, 2] *= np.sign(np.linalg.det(u @ vt))[:, None]  # a reflection is no rotation
    turn_ncc = u @ vt
    return x_nec @ turn_ncc - own_ec, turn_ncc, np.zeros((len(others), 6))

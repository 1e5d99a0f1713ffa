"""What is wrong with a structure whatever the model's σ says: broken numbers, collapse, explosion, heat."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from ase import Atoms
from ase.data import covalent_radii

from gapkit import Prediction
from gapkit.typing import FloatArray
from gapkit.uncertainty.estimate import given

MARGIN = 1.0
"""Å: pairs within it above their limit are remembered until an atom has moved by half of it."""


class Reading(NamedTuple):
    """What one watcher saw.

    Attributes
    ----------
    kind
        forces_std, energy_std, not finite, bond, force or temperature.
    ratio
        How near its limit: 1 and more is beyond it.
    atom
        Index of the atom that it concerns most, -1 for the whole structure.
    value, limit, unit
        What was measured, and the limit.
    text
        In words, without the limit.
    """

    kind: str
    ratio: float
    atom: int
    value: float
    limit: float
    unit: str
    text: str

    @property
    def message(self) -> str:
        """One sentence."""
        side = "below" if self.kind == "bond" else "above"
        return self.text if self.kind == "not finite" else f"{self.text}, {side} {self.limit:.4g} {self.unit}"


def name(atoms: Atoms, atom: int) -> str:
    """An atom for a person: "Si 17"."""
    return f"{atoms.symbols[atom]} {atom}"


def read_finite(energy: float, forces_ec: FloatArray) -> Reading:
    """Energy and forces that are numbers."""
    if np.isfinite(energy) and np.isfinite(forces_ec).all():
        return Reading("not finite", 0.0, -1, energy, np.inf, "", "")
    wrong = np.flatnonzero(~np.isfinite(forces_ec).all(axis=1))
    atom = int(wrong[0]) if len(wrong) else -1
    what = f"forces of {len(wrong)} atoms, first atom {atom}, are not finite" if len(wrong) else f"energy is {energy}"
    return Reading("not finite", np.inf, atom, float("nan"), np.inf, "", what)


def read_force(atoms: Atoms, forces_ec: FloatArray, most: float) -> Reading:
    """The largest force, eV/Å."""
    square_e = np.einsum("ec,ec->e", forces_ec, forces_ec)
    atom = int(square_e.argmax())
    force = float(np.sqrt(square_e[atom]))
    return Reading("force", force / most, atom, force, most, "eV/Å", f"force {force:.3g} eV/Å on {name(atoms, atom)}")


def read_temperature(atoms: Atoms, most: float) -> Reading:
    """The kinetic temperature, K."""
    t = float(atoms.get_temperature())
    return Reading("temperature", t / most, -1, t, most, "K", f"kinetic temperature {t:.4g} K")


class ShortBonds:
    """Pairs nearer than a share of the sum of their covalent radii (Cordero et al., Dalton Trans. 2832 (2008)).

    Parameters
    ----------
    share
        Above 0. At the default of `Sentinel`, 0.5, the limit is 1.11 Å for Si-Si and 0.31 Å for H-H.

    Notes
    -----
    Pairs are searched for with a margin and followed until an atom has moved by half of it, so that a look costs
    little more than the distances of the few pairs that are near their limit.
    """

    def __init__(self, share: float) -> None:
        self._share = share
        self._seen: Atoms | None = None
        self._i_p = self._j_p = np.empty(0, dtype=np.int64)
        self._image_pc, self._limit_p, self._images_c = np.empty((0, 3)), np.empty(0), np.zeros(3)

    def read(self, atoms: Atoms) -> Reading:
        """The pair nearest to its limit."""
        if self._stale(atoms):
            self._search(atoms)
        if not len(self._i_p):
            return Reading("bond", 0.0, -1, np.inf, 0.0, "Å", "no short bond")
        r_pc = atoms.positions[self._j_p] - atoms.positions[self._i_p] + self._image_pc @ atoms.cell.array
        distance_p = np.maximum(np.sqrt(np.einsum("pc,pc->p", r_pc, r_pc)), 1e-6)
        p = int((self._limit_p / distance_p).argmax())
        i, j, distance, limit = int(self._i_p[p]), int(self._j_p[p]), float(distance_p[p]), float(self._limit_p[p])
        text = f"{name(atoms, i)} and {name(atoms, j)} are {distance:.3g} Å apart"
        return Reading("bond", limit / distance, i, distance, limit, "Å", text)

    def _stale(self, atoms: Atoms) -> bool:
        seen = self._seen
        if seen is None or len(seen) != len(atoms) or not np.array_equal(seen.numbers, atoms.numbers):
            return True
        if not np.array_equal(seen.pbc, atoms.pbc):
            return True
        moved_ec = atoms.positions - seen.positions
        moved = 2.0 * np.sqrt(np.einsum("ec,ec->e", moved_ec, moved_ec).max(initial=0.0))
        strained = np.linalg.norm(atoms.cell.array - seen.cell.array, axis=1) @ self._images_c
        return bool(moved + strained > MARGIN)

    def _search(self, atoms: Atoms) -> None:
        from ase.neighborlist import neighbor_list  # loads scipy.spatial

        radius_e = self._share * covalent_radii[atoms.numbers]
        cutoff = 2.0 * float(radius_e.max()) + MARGIN
        i_p, j_p, d_p, self._image_pc = neighbor_list("ijdS", atoms, cutoff)
        limit_p = radius_e[i_p] + radius_e[j_p]
        near = (d_p < limit_p + MARGIN) & (i_p <= j_p)
        self._i_p, self._j_p, self._limit_p, self._image_pc = i_p[near], j_p[near], limit_p[near], self._image_pc[near]
        self._seen = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
        # how many cells apart two near atoms can be: as many as the unwrapped positions span, and the cutoff
        span_c = np.ptp(atoms.get_scaled_positions(wrap=False), axis=0)
        self._images_c = span_c + cutoff * np.linalg.norm(atoms.cell.complete().reciprocal().array, axis=1)


def driving(atoms: Atoms, p: Prediction) -> tuple[float, FloatArray]:
    """Energy and forces that drive the run, be they the model's or another calculator's."""
    if atoms.calc is None:
        return p.energy, given(p.forces)
    return float(atoms.get_potential_energy()), atoms.get_forces(apply_constraint=False)

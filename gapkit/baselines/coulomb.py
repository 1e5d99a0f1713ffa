"""Electrostatic energy of fixed charges, which reaches further than any neighbour list."""

from __future__ import annotations

import math
import numbers
from collections.abc import Collection, Mapping, Sequence
from typing import ClassVar, Final

import numpy as np
from ase.data import atomic_numbers, chemical_symbols
from ase.geometry import minkowski_reduce
from ase.symbols import Symbols
from ase.units import Bohr, Hartree

from gapkit._check import not_negative, positive
from gapkit._parameters import Parametric
from gapkit.atoms.frame import Frame
from gapkit.atoms.neighbours import Pairs
from gapkit.atoms.pieces import pairs_per_atom, pieces
from gapkit.baselines.base import Contribution
from gapkit.baselines.isolated import is_isolated
from gapkit.baselines.oxidation import formal_charges
from gapkit.errors import ConfigError, DataError, SpeciesError, nearest
from gapkit.numerics.ewald import (
    Splitting,
    Sums,
    all_pairs,
    background_sum,
    pair_sum,
    reciprocal_sum,
    slab_sum,
    splitting,
)
from gapkit.typing import BoolArray, FloatArray, Kind

NEUTRAL: Final = 1e-6
"""Charges whose sum is at most this (e) are neutral."""

_OXIDATION: Final = "oxidation"
_OF_STRUCTURE: Final = "initial_charges"
_EXCESS: Final = ("background", "refuse", "share")
_COULOMB: Final = Hartree * Bohr  # e²/4πε0, eV Å
_ACCURACY: Final = 1e-9
_PAIRS_IN_LIST: Final = 400_000  # of 100 bytes, and as many again of the margins of a piece
_PAIRS_AT_ONCE: Final = 100_000


class Coulomb(Parametric):
    """Coulomb energy of charges that do not change, each a Gaussian of one width σ.

    E = ½ Σ q q' e²/(4πε0 r) erf(r/2σ) over pairs and, where the structure is periodic, over all images, by Ewald's
    sum with tin-foil boundary, to a relative accuracy of 1e-8 or better. Three periodic directions, two (a slab alone
    in space, whatever the third lattice vector) or none; one is refused. Each atom has half of its charge times
    potential. An isolated atom has no energy.

    Parameters
    ----------
    charges
        {"Na": 1, "Cl": -1}, in e; or "oxidation": formal charges, one common oxidation state for each element with
        which the training structures are neutral, chosen by `prepared`; or "initial_charges": those that each
        structure brings (ASE's array of this name, or the one named by ``Keys(charges=...)``).
    scale
        Factor ≥ 0 of all charges; "fit": the model learns it, and `evaluate` takes 1.
    excess
        What happens to charges that do not sum to 0 (within 1e-6 e). "refuse": DataError. "share": all atoms of the
        structure give an equal part of the excess. "background": a uniform background neutralises a structure with
        three periodic directions, and its energy, which makes the mean potential zero, is in E and the stress; a
        molecule stays charged; a slab is refused.
    width
        σ, the standard deviation of each Gaussian, Å, ≥ 0; 0 for point charges. It keeps the attraction of ions that
        meet finite, q q' 14.4 eV Å/(√π σ), and what is left to learn smooth. Beyond 6σ the charges act as points (to
        2e-5), so 6σ should be well within the cutoff of the model.
    vacuum
        Å, > 0: periodic directions with an empty layer at least this thick count as not periodic: slabs and
        molecules in the periodic boxes of plane-wave codes, if their energies have a dipole correction. None: no.

    Notes
    -----
    See `gapkit.numerics.ewald` for the sums. Forces on and strain derivatives of slabs are those of the slab alone.
    """

    kind: ClassVar[str] = "coulomb"

    def __init__(
        self,
        charges: Mapping[str, float] | str,
        *,
        scale: float | str = 1.0,
        excess: str = "refuse",
        width: float = 0.5,
        vacuum: float | None = None,
    ) -> None:
        self.charges = charges
        self.scale = scale
        self.excess = excess
        self.width = width
        self.vacuum = vacuum

    @property
    def reach(self) -> float:
        """Infinite: the pairs of a model do not help."""
        return math.inf

    def prepared(self, frames: Sequence[Frame]) -> Coulomb:
        """A copy with checked settings and the charges of "oxidation"; the frames are checked too.

        Raises
        ------
        ConfigError
            A setting outside its range.
        DataError, SpeciesError
            As in `evaluate`; charges for something that is not an element; no oxidation states make frames neutral.
        """
        if self.excess not in _EXCESS:
            raise ConfigError(f"Coulomb.excess={self.excess!r} is unknown", fix=nearest(str(self.excess), _EXCESS))
        bound = [frame for frame in frames if not is_isolated(frame)]
        ready = Coulomb(
            _read(self.charges, bound, self.excess == "refuse"),
            scale=self.scale if self.scale == "fit" else not_negative("Coulomb.scale", self.scale),
            excess=self.excess,
            width=not_negative("Coulomb.width", self.width, "Å"),
            vacuum=None if self.vacuum is None else positive("Coulomb.vacuum", self.vacuum, "Å"),
        )
        for frame in bound:
            ready._charges_of(frame, _unwrapped(frame, ready.vacuum)[1])
        return ready

    def scaled(self, energy_factor: float) -> Coulomb:
        """The same with `energy_factor` ≥ 0 times the energy that it has at scale 1, eV per eV."""
        scale = math.sqrt(not_negative("energy_factor", energy_factor))
        return Coulomb(**(self.get_params() | {"scale": scale}))

    def evaluate(self, frame: Frame, kinds: Collection[Kind], pairs: Pairs | None = None) -> Contribution:
        """Energy of one structure, and the derivatives that `kinds` asks for. `pairs` are not used.

        Raises
        ------
        DataError
            Charges that do not sum to 0, where `excess` does not allow it; no charges in a structure that should bring
            them; one periodic direction.
        SpeciesError
            An element without a charge.
        ConfigError
            "oxidation" before `prepared`.
        """
        if is_isolated(frame):
            return Contribution.zero(frame.n_atoms, kinds)
        positions_ec, pbc_c = _unwrapped(frame, self.vacuum)
        charges_e = self._charges_of(frame, pbc_c)
        scale = 1.0 if self.scale == "fit" else float(self.scale)
        if not scale or not charges_e.any():
            return Contribution.zero(frame.n_atoms, kinds)
        derivatives = not {"forces", "stress"}.isdisjoint(kinds)
        if pbc_c.any():
            structure = _crystal(frame, self.width) if pbc_c.all() else _slab(frame, positions_ec, pbc_c, self.width)
            sums = _periodic_sums(*structure, charges_e, self.width, derivatives)
        else:
            sums = _cluster_sums(positions_ec, charges_e, self.width, derivatives)
        energies_e, forces_ec, virial_cc = (scale**2 * _COULOMB * part for part in sums)
        return Contribution(
            energies_e, forces_ec if "forces" in kinds else None, virial_cc if "stress" in kinds else None
        )

    def _charges_of(self, frame: Frame, pbc_c: BoolArray) -> FloatArray:
        """Charge of each atom at scale 1, shape (N,), e."""
        charges_e = self._given_charges(frame)
        total = float(charges_e.sum())
        if abs(total) <= NEUTRAL:
            return charges_e
        if self.excess == "share":
            return charges_e - total / frame.n_atoms
        fix = "correct the charges, or give excess='share', which takes the rest from all atoms alike"
        what = (
            f"The charges of {Symbols(frame.numbers_e).get_chemical_formula('metal')} sum to {total:+.6g} e, not to 0"
        )
        if self.excess == "refuse":
            raise DataError(what, where=frame.where, fix=f"{fix}, or excess='background'")
        if pbc_c.sum() == 2:
            raise DataError(f"{what}, and a charged slab has no finite energy", where=frame.where, fix=fix)
        return charges_e

    def _given_charges(self, frame: Frame) -> FloatArray:
        if isinstance(self.charges, Mapping):
            table = np.full(len(chemical_symbols), np.nan)
            table[[atomic_numbers[symbol] for symbol in self.charges]] = list(self.charges.values())
            charges_e = table[frame.numbers_e]
            if np.isnan(charges_e).any():
                first = int(np.flatnonzero(np.isnan(charges_e))[0])
                symbol, known = chemical_symbols[frame.numbers_e[first]], ", ".join(self.charges)
                where = f"{frame.where}, atom {first}" if frame.where else f"atom {first}"
                what = f"Coulomb has no charge of {symbol}, only of {known}"
                raise SpeciesError(what, where=where, fix=f"give it, Coulomb({{'{symbol}': ...}}), and refit")
            return charges_e
        if self.charges == _OF_STRUCTURE:
            if frame.charges_e is None:
                fix = "store them with atoms.set_initial_charges, or name the array with Keys(charges=...)"
                raise DataError("The structure brings no charges for Coulomb", where=frame.where, fix=fix)
            return frame.charges_e
        raise ConfigError("this Coulomb has not been prepared", fix="use what Coulomb.prepared(frames) returns")


def _read(charges: object, frames: Sequence[Frame], strict: bool) -> dict[str, float] | str:
    """The setting `charges`, checked, with those of "oxidation" found."""
    if charges == _OF_STRUCTURE:
        return _OF_STRUCTURE
    if charges == _OXIDATION:
        return formal_charges(frames, strict)
    if not isinstance(charges, Mapping) or not charges:
        what = f"Coulomb.charges={charges!r} are no charges"
        fix = f"give {{'Na': 1, 'Cl': -1}}, '{_OXIDATION}' or '{_OF_STRUCTURE}'"
        raise ConfigError(what, fix=fix)
    for symbol, charge in charges.items():
        if not atomic_numbers.get(symbol):
            what = f"Coulomb.charges names {symbol!r}, which is not an element"
            raise SpeciesError(what, fix=nearest(str(symbol), chemical_symbols[1:]))
        if isinstance(charge, bool) or not isinstance(charge, numbers.Real) or not math.isfinite(charge):
            raise ConfigError(f"Coulomb's charge of {symbol} is {charge!r}, not a finite number", fix="give it in e")
    return {str(symbol): float(charge) for symbol, charge in charges.items()}


def _unwrapped(frame: Frame, vacuum: float | None) -> tuple[FloatArray, BoolArray]:
    """Positions, together on one side of any vacuum, and which directions are periodic; DataError if only one is."""
    positions_ec, pbc_c = frame.positions_ec, frame.pbc_c.copy()
    if vacuum is not None and pbc_c.any():
        box = _with_free_directions(frame.cell_cc, pbc_c)
        scaled_ec = positions_ec @ np.linalg.inv(box)
        heights = 1.0 / np.linalg.norm(np.linalg.inv(box), axis=0)
        for c in np.flatnonzero(pbc_c):
            s_e = scaled_ec[:, c] % 1.0
            order = np.sort(s_e)
            gap_e = np.diff(order, append=order[0] + 1.0)
            widest = int(np.argmax(gap_e))
            if gap_e[widest] * heights[c] >= vacuum:
                pbc_c[c] = False
                scaled_ec[:, c] = (s_e - order[(widest + 1) % len(order)]) % 1.0
        positions_ec = scaled_ec @ box
    if pbc_c.sum() == 1:
        what = "The Coulomb energy of a structure with one periodic direction is not available"
        fix = "make the structure periodic in all directions, in a wide cell, or cut a cluster from it"
        raise DataError(what, where=frame.where, fix=fix)
    return positions_ec, pbc_c


def _with_free_directions(cell_cc: FloatArray, pbc_c: BoolArray) -> FloatArray:
    """The cell, with unit vectors at right angles to the periodic ones where it is not periodic."""
    box = cell_cc.copy()
    if not pbc_c.all():
        box[~pbc_c] = np.linalg.svd(cell_cc[pbc_c])[2][int(pbc_c.sum()) :]
    return box


def _crystal(frame: Frame, width: float) -> tuple[Frame, Splitting]:
    """The structure in a reduced cell, and how to divide its sum."""
    split = splitting(frame.n_atoms, frame.volume, _ACCURACY, width)
    reduced_cc, steps = minkowski_reduce(frame.cell_cc)
    if np.count_nonzero(steps) == 3:  # only another order: the checks of a new frame are saved
        return frame, split
    return Frame(frame.numbers_e, frame.positions_ec, reduced_cc, frame.pbc_c, where=frame.where), split


def _slab(frame: Frame, positions_ec: FloatArray, pbc_c: BoolArray, width: float) -> tuple[Frame, Splitting]:
    """The structure in a cell whose third vector points out of the slab, through enough vacuum for `slab_sum`."""
    plane_cc = minkowski_reduce(_with_free_directions(frame.cell_cc, pbc_c), pbc=pbc_c)[0][pbc_c]
    normal_c = np.cross(*plane_cc)
    area = float(np.linalg.norm(normal_c))
    normal_c /= area
    shortest = 2.0 * np.pi / area * np.linalg.norm(plane_cc, axis=1).min()
    thickness, vacuum = np.ptp(positions_ec @ normal_c), -np.log(_ACCURACY) / shortest
    split = splitting(frame.n_atoms, area * (thickness + vacuum), _ACCURACY, width)
    height = thickness + max(vacuum, split.r_cut)  # no pairs of images along the normal
    cell_cc = np.vstack([plane_cc, height * normal_c])
    return Frame(frame.numbers_e, positions_ec, cell_cc, np.array([True, True, False]), where=frame.where), split


def _cluster_sums(positions_ec: FloatArray, charges_e: FloatArray, width: float, derivatives: bool) -> Sums:
    sums = Sums.zero(len(charges_e))
    for i_p, j_p, r_pc in all_pairs(positions_ec, _PAIRS_AT_ONCE):
        sums = sums.plus(pair_sum(i_p, j_p, r_pc, charges_e, 0.0, width, derivatives))
    return sums


def _periodic_sums(frame: Frame, split: Splitting, charges_e: FloatArray, width: float, derivatives: bool) -> Sums:
    """Ewald's sum of what `_crystal` or `_slab` gives."""
    positions_ec, cell_cc = frame.positions_ec, frame.cell_cc
    sums = reciprocal_sum(positions_ec, charges_e, cell_cc, split.alpha, split.k_cut, derivatives)
    if frame.pbc_c.all():
        sums = sums.plus(background_sum(charges_e, frame.volume, split.alpha, width))
    else:
        sums = sums.plus(slab_sum(positions_ec, charges_e, cell_cc))
    count = max(1.0, pairs_per_atom(frame, split.r_cut))
    for pairs in pieces(frame, split.r_cut, _PAIRS_IN_LIST / count):
        for part in pairs.blocks(math.ceil(_PAIRS_AT_ONCE / count)):
            sums = sums.plus(pair_sum(part.i_p, part.j_p, part.r_pc, charges_e, split.alpha, width, derivatives))
    return sums

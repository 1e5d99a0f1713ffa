"""The energy that an atom of each element gains, on average, by having neighbours at all."""

from __future__ import annotations

import numbers
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import ClassVar, Final

import numpy as np
from ase.data import atomic_numbers, chemical_symbols, covalent_radii

from gapkit._parameters import Parametric
from gapkit.atoms.frame import Frame
from gapkit.atoms.neighbours import NeighbourList, Pairs
from gapkit.atoms.pieces import pairs_per_atom, pieces
from gapkit.baselines.base import Contribution
from gapkit.errors import ConfigError, SpeciesError, nearest
from gapkit.numerics.cutoff import smooth_step
from gapkit.typing import FloatArray, IntArray, Kind

BOND: Final = 1.2
"""A neighbour counts fully up to this distance, in sums of covalent radii: bonds are shorter, even hot ones."""

FADE: Final = 1.5
"""Distance over which a neighbour beyond that ceases to count, Å."""

SATURATION: Final = 4.0
"""One full neighbour gives all but exp(-4) = 2 % of the energy; more of them add little."""

_PAIRS_AT_ONCE: Final = 100_000  # of some 150 bytes


class Cohesion(Parametric):
    """An atom that has a bond has, on average, the cohesive energy of its element; the terms learn what differs.

    E_i = c_Z (1 - exp(-κ Σ_j f(r_ij))), κ = 4, where f goes from 1 at 1.2 times the sum of the covalent radii to 0
    1.5 Å farther out with two continuous derivatives. Without it the terms carry the whole atomisation energy, and a
    sum over neighbours that binds so much binds squeezed atoms far too much. An isolated atom has no energy.

    Parameters
    ----------
    energies
        {symbol: c_Z, eV}, negative for elements that bind; any finite number. Elements that it does not name, all of
        them with None, get theirs in the fit, by least squares of the energies; it is 0 where e0 is not known from an
        isolated atom, but has the cohesion in it.

    Notes
    -----
    Covalent radii are those of B. Cordero et al., Dalton Trans. 2832 (2008), as in ASE.
    """

    kind: ClassVar[str] = "cohesion"

    def __init__(self, energies: Mapping[str, float] | None = None) -> None:
        self.energies = energies

    def prepared(self, frames: Sequence[Frame]) -> Cohesion:
        """A copy with checked energies; those that are left open are found later, from what other physics leaves.

        Raises
        ------
        ConfigError, SpeciesError
            An energy that is not a finite number; a name that is no element.
        """
        given = {} if self.energies is None else self.energies
        if not isinstance(given, Mapping):
            what = f"Cohesion.energies={given!r} are no energies of elements"
            raise ConfigError(what, fix="give {'Si': -4.6}, or None to find them in the fit")
        for symbol, energy in given.items():
            if not atomic_numbers.get(symbol):
                what = f"Cohesion.energies names {symbol!r}, which is not an element"
                raise SpeciesError(what, fix=nearest(str(symbol), chemical_symbols[1:]))
            if isinstance(energy, bool) or not isinstance(energy, numbers.Real) or not np.isfinite(float(energy)):
                what = f"Cohesion's energy of {symbol} is {energy!r}, not a finite number"
                raise ConfigError(what, fix="give it in eV, negative for binding, or leave it out")
        return Cohesion({str(symbol): float(energy) for symbol, energy in given.items()})

    def completed(self, energies: Mapping[int, float]) -> Cohesion:
        """A copy with energies (eV) by atomic number of those elements that have none yet."""
        return Cohesion({chemical_symbols[z]: float(c) for z, c in energies.items()} | dict(self._prepared()))

    @property
    def reach(self) -> float:
        """Largest distance at which a neighbour counts, Å."""
        radii = [float(covalent_radii[atomic_numbers[symbol]]) for symbol in self._prepared()]
        return 2.0 * BOND * max(radii) + FADE if radii else 0.0

    def evaluate(self, frame: Frame, kinds: Collection[Kind], pairs: Pairs | None = None) -> Contribution:
        """Energy of one structure, and the derivatives that `kinds` asks for.

        Parameters
        ----------
        pairs
            Neighbour pairs of the structure, all up to `reach` at least; None: they are looked for.

        Raises
        ------
        SpeciesError, ConfigError
            An element without an energy; a Cohesion that `prepared` has not returned.
        """
        c_e = self._energies_of(frame.numbers_e, frame.where)
        found = Contribution.zero(frame.n_atoms, kinds)
        for near in self._regions(frame) if pairs is None else [pairs.within(self.reach)]:
            found = found.plus(_of_pairs(near, c_e, kinds))
        return found

    def _regions(self, frame: Frame) -> Iterable[Pairs]:
        """All pairs within reach, those of one atom together, so many at once that memory is bounded."""
        most = _PAIRS_AT_ONCE / max(1.0, pairs_per_atom(frame, self.reach)) if self.reach else np.inf
        return [NeighbourList(self.reach).pairs(frame)] if frame.n_atoms <= most else pieces(frame, self.reach, most)

    def _energies_of(self, numbers_e: IntArray, where: str) -> FloatArray:
        """c_Z of each atom, shape (N,), eV."""
        energies = self._prepared()
        table = np.full(len(chemical_symbols), np.nan)
        table[[atomic_numbers[symbol] for symbol in energies]] = list(energies.values())
        c_e = table[numbers_e]
        if np.isnan(c_e).any():
            first = int(np.flatnonzero(np.isnan(c_e))[0])
            symbol, known = chemical_symbols[numbers_e[first]], ", ".join(energies) or "no element"
            what, fix = f"Cohesion has no energy of {symbol}, only of {known}", f"give that of {symbol}, or refit"
            raise SpeciesError(what, where=f"{where}, atom {first}" if where else f"atom {first}", fix=fix)
        return c_e

    def _prepared(self) -> Mapping[str, float]:
        if self.energies is None:
            raise ConfigError("this Cohesion has not been prepared", fix="use what Cohesion.prepared(frames) returns")
        return self.energies


def _of_pairs(near: Pairs, c_e: FloatArray, kinds: Collection[Kind]) -> Contribution:
    """What the centres of some pairs have, if these are all of their pairs."""
    r_p, i_p = np.linalg.norm(near.r_pc, axis=1), near.i_p
    f_p, slope_p = _neighbour(near.numbers_e[i_p], near.numbers_e[near.j_p], r_p)
    exponent_e = -SATURATION * np.bincount(i_p, f_p, len(c_e))
    gradient_p = (SATURATION * c_e * np.exp(exponent_e))[i_p] * slope_p
    gradient_pc = (gradient_p / r_p)[:, None] * near.r_pc
    return Contribution(
        -c_e * np.expm1(exponent_e),  # nothing for the centres of other pairs
        near.forces(gradient_pc) if "forces" in kinds else None,
        near.virial(gradient_pc) if "stress" in kinds else None,
    )


def _neighbour(z_p: IntArray, other_p: IntArray, r_p: FloatArray) -> tuple[FloatArray, FloatArray]:
    """How far each pair is a bond, f, and its slope, Å⁻¹; shapes (P,)."""
    # distances shifted to a common step from 1 to 1 + FADE, which onsets that differ from pair to pair need
    s_p = np.maximum(1.0 + r_p - BOND * (covalent_radii[z_p] + covalent_radii[other_p]), 1.0)
    f_p, over_s_p = smooth_step(s_p, 1.0 + FADE, FADE)
    return f_p, over_s_p * s_p

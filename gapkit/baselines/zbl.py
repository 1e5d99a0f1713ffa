"""Screened repulsion of nuclei, which keeps atoms apart at distances that no training structure has."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import combinations_with_replacement
from typing import Any, ClassVar, Final, TypeAlias

import numpy as np
from ase.data import atomic_numbers, chemical_symbols, covalent_radii
from ase.units import Bohr, Hartree

from gapkit._check import positive
from gapkit._parameters import Parametric
from gapkit.atoms.frame import Frame
from gapkit.atoms.neighbours import NeighbourList, Pairs
from gapkit.baselines.base import Contribution
from gapkit.errors import ConfigError, SpeciesError, nearest
from gapkit.numerics.cutoff import gentle_step, smooth_step
from gapkit.typing import FloatArray, IntArray, Kind

Radii: TypeAlias = float | Mapping[str | tuple[str, str], float] | None
_Step: TypeAlias = Callable[[FloatArray, float, float], tuple[FloatArray, FloatArray]]
_Pair: TypeAlias = tuple[int, int]  # atomic numbers in the alphabetical order of the symbols

CONTACT: Final = 1.6
"""Atoms touch that are at most this much (Å) further apart than their covalent radii; van der Waals radii are about
0.8 Å larger than those (L. Pauling, The Nature of the Chemical Bond)."""

UNSEEN: Final = 0.9
"""Outer radius for elements that never touch in the data, in sums of covalent radii: most bonds are longer."""

INNER: Final = 0.6
"""Inner radius, in outer radii."""

MARGIN: Final = 0.97
"""Outer radius, in shortest distances of the data: those of new structures of the same kind are a little shorter."""

_STEPS: Final[dict[int, _Step]] = {2: smooth_step, 4: gentle_step}
_SCREENING: Final = ((0.18175, 3.19980), (0.50986, 0.94229), (0.28022, 0.40290), (0.02817, 0.20162))
_LENGTH: Final = 0.46850  # Å
_CHARGE2: Final = Hartree * Bohr  # e²/4πε0, eV Å


class ZBL(Parametric):
    """Universal repulsion of Ziegler, Biersack and Littmark, switched off where the data begin.

    E = Σ f(r) Z Z' e²/(4πε0 r) φ(r/a) over pairs, a = 0.4685 Å / (Z^0.23 + Z'^0.23), where φ is a sum of four
    exponentials and f goes from 1 at the inner to 0 at the outer radius. Each atom gets half the energy of its pairs.

    Parameters
    ----------
    inner, outer
        Radii, Å, 0 < inner < outer: a number for all pairs of elements, or {"O-Si": Å} (also ("O", "Si")) for some.
        Where none is given, `prepared` takes as `outer` 0.97 times the shortest distance of these elements in the
        training structures, so that nothing changes there, or 0.9 times the sum of their covalent radii if they never
        touch; and as `inner` 0.6 times `outer`.
    smoothness
        Number of continuous derivatives of f, 4 or 2. With 4 it begins gently: atoms of new structures are often a
        little closer than any in the data. 2 is that of models of before.

    Notes
    -----
    J. F. Ziegler, J. P. Biersack and U. Littmark, The Stopping and Range of Ions in Solids (Pergamon, 1985).
    """

    kind: ClassVar[str] = "zbl"

    def __init__(self, inner: Radii = None, outer: Radii = None, smoothness: int = 4) -> None:
        self.inner = inner
        self.outer = outer
        self.smoothness = smoothness

    def prepared(self, frames: Sequence[Frame]) -> ZBL:
        """A copy with both radii of every pair of elements in the frames, by names such as "O-Si".

        Raises
        ------
        ConfigError, SpeciesError
            A radius that is not positive, given twice or not below the outer one; a pair that is no two elements;
            a smoothness other than 2 and 4.
        """
        if self.smoothness not in tuple(_STEPS):
            raise ConfigError(f"ZBL.smoothness={self.smoothness!r} does not exist", fix="give 4 or 2")
        species = sorted({int(z) for frame in frames for z in np.unique(frame.numbers_e)}, key=_symbol)
        pairs = list(combinations_with_replacement(species, 2))
        given_inner, given_outer = _read("inner", self.inner, pairs), _read("outer", self.outer, pairs)
        outer = given_outer | _outer_radii([pair for pair in pairs if pair not in given_outer], frames)
        inner = {pair: given_inner.get(pair, INNER * outer[pair]) for pair in pairs}
        for pair in pairs:
            if inner[pair] >= outer[pair]:
                what = f"ZBL.inner of {_name(pair)} ({inner[pair]:g} Å) is not below outer ({outer[pair]:g} Å)"
                raise ConfigError(what, fix="give a smaller inner radius, or a larger outer one")
        names = {pair: _name(pair) for pair in pairs}
        both: list[Any] = [{names[pair]: own[pair] for pair in pairs} for own in (inner, outer)]
        return ZBL(both[0], both[1], self.smoothness)

    @property
    def reach(self) -> float:
        """Largest outer radius, Å."""
        return max(self._prepared(self.outer).values(), default=0.0)

    def evaluate(self, frame: Frame, kinds: Collection[Kind], pairs: Pairs | None = None) -> Contribution:
        """Energy of one structure, and the derivatives that `kinds` asks for.

        Parameters
        ----------
        pairs
            Neighbour pairs of the structure, all up to `reach` at least; None: they are looked for.

        Raises
        ------
        SpeciesError, ConfigError
            A pair of elements that is close and has no radii; a ZBL that `prepared` has not returned.
        """
        near = NeighbourList(self.reach).pairs(frame) if pairs is None else pairs.within(self.reach)
        if not len(near.j_p):
            return Contribution.zero(frame.n_atoms, kinds)
        z_p, other_p = near.numbers_e[near.i_p], near.numbers_e[near.j_p]
        inner_p, outer_p = self._radii_of(z_p, other_p, frame.where)
        r_p = np.linalg.norm(near.r_pc, axis=1)
        energy_p, slope_p = _switched(z_p, other_p, r_p, inner_p, outer_p, _STEPS[self.smoothness])
        energies_e = np.bincount(near.i_p, 0.5 * energy_p, frame.n_atoms).astype(np.float64)
        gradient_pc = (0.5 * slope_p / r_p)[:, None] * near.r_pc
        return Contribution(
            energies_e,
            near.forces(gradient_pc) if "forces" in kinds else None,
            near.virial(gradient_pc) if "stress" in kinds else None,
        )

    def _radii_of(self, z_p: IntArray, other_p: IntArray, where: str) -> tuple[FloatArray, FloatArray]:
        """Inner and outer radius of every pair, shape (P,), Å."""
        size = len(chemical_symbols)
        code_p = np.minimum(z_p, other_p) * size + np.maximum(z_p, other_p)
        codes, index_p = np.unique(code_p, return_inverse=True)
        names = [_name(divmod(int(code), size)) for code in codes]
        inner, outer = self._prepared(self.inner), self._prepared(self.outer)
        for name in names:
            if name not in inner or name not in outer:
                known = ", ".join(sorted(outer))
                fix = f"give the radii of {name}, or refit with frames that have both elements"
                raise SpeciesError(f"ZBL has no radii of {name}, only of {known}", where=where, fix=fix)
        return np.array([inner[name] for name in names])[index_p], np.array([outer[name] for name in names])[index_p]

    @staticmethod
    def _prepared(radii: Radii) -> Mapping[Any, float]:
        if not isinstance(radii, Mapping):
            raise ConfigError("this ZBL has not been prepared", fix="use what ZBL.prepared(frames) returns")
        return radii


def _switched(
    z_p: IntArray, other_p: IntArray, r_p: FloatArray, inner_p: FloatArray, outer_p: FloatArray, step: _Step
) -> tuple[FloatArray, FloatArray]:
    """Switched repulsion f V of each pair, eV, and its slope, eV/Å; shapes (P,)."""
    a_p = _LENGTH / (z_p**0.23 + other_p**0.23)
    phi_p, slope_p = np.zeros_like(r_p), np.zeros_like(r_p)
    for weight, decay in _SCREENING:
        part_p = weight * np.exp(-decay * r_p / a_p)
        phi_p += part_p
        slope_p -= decay / a_p * part_p
    coulomb_p = _CHARGE2 * z_p * other_p / r_p
    # the step of unit width that ends at 2 takes radii that differ from pair to pair
    width_p = outer_p - inner_p
    s_p = np.maximum(1.0 + (r_p - inner_p) / width_p, 1.0)
    f_p, f_slope_p = step(s_p, 2.0, 1.0)
    energy_p = coulomb_p * phi_p
    return f_p * energy_p, f_p * coulomb_p * (slope_p - phi_p / r_p) + f_slope_p * s_p / width_p * energy_p


def _outer_radii(pairs: Sequence[_Pair], frames: Sequence[Frame]) -> dict[_Pair, float]:
    """Outer radius of each pair from the data: nothing that a training structure has is inside."""
    if not pairs:
        return {}
    bonds = {pair: float(covalent_radii[list(pair)].sum()) for pair in pairs}
    neighbours, size = NeighbourList(max(bonds.values()) + CONTACT), len(chemical_symbols)
    shortest = np.full(size * size, np.inf)
    for frame in frames:
        near = neighbours.pairs(frame)
        code_p = near.numbers_e[near.i_p] * size + near.numbers_e[near.j_p]
        np.minimum.at(shortest, code_p, np.linalg.norm(near.r_pc, axis=1))
    found = {pair: float(shortest[pair[0] * size + pair[1]]) for pair in pairs}
    return {
        pair: MARGIN * found[pair] if found[pair] <= bond + CONTACT else UNSEEN * bond for pair, bond in bonds.items()
    }


def _read(name: str, radii: Radii, pairs: Sequence[_Pair]) -> dict[_Pair, float]:
    """The radii that were given, by pair of atomic numbers."""
    if radii is None:
        return {}
    if not isinstance(radii, Mapping):
        radius = positive(f"ZBL.{name}", radii, "Å")
        return dict.fromkeys(pairs, radius)
    read: dict[_Pair, float] = {}
    for key, radius in radii.items():
        pair = _pair(name, key)
        if pair in read:
            raise ConfigError(f"ZBL.{name} of {_name(pair)} is given twice", fix="give it once")
        read[pair] = positive(f"ZBL.{name} of {_name(pair)}", radius, "Å")
    return read


def _pair(name: str, key: Any) -> _Pair:
    """Two atomic numbers of "O-Si" or ("Si", "O")."""
    symbols = key.split("-") if isinstance(key, str) else key
    if not isinstance(symbols, Sequence) or len(symbols) != 2:
        raise ConfigError(f"ZBL.{name} names {key!r}, which is no pair", fix="write two elements, such as 'O-Si'")
    for symbol in symbols:
        if not atomic_numbers.get(symbol):
            what = f"ZBL.{name} names {symbol!r}, which is not an element"
            raise SpeciesError(what, fix=nearest(str(symbol), chemical_symbols[1:]))
    first, second = sorted(symbols)
    return atomic_numbers[first], atomic_numbers[second]


def _name(pair: _Pair) -> str:
    return "-".join(sorted(map(_symbol, pair)))


def _symbol(number: int) -> str:
    return str(chemical_symbols[number])

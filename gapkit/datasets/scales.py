"""What a common factor between ΔE and the work of the forces says of the units of both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from gapkit.datasets.units import BOHR, CLOSE, ENERGIES, FORCES, HARTREE

SOFT: Final = 1.0
"""Force constant of an atom, eV/Å², below which forces are likely in a larger unit; sets looked at have 2 to 15 …"""
STIFF: Final = 65.0
"""… and diamond and graphene, the stiffest solids, about 40."""
OFF: Final = 0.12
"""By how much ΔE over the work of the forces may be off 1."""
_NEAR: Final = 0.05  # of a ratio, by which another reading may be farther off and is named too


class Reading(NamedTuple):
    """A unit that labels may have, and `factor`, what ΔE over the work of the forces then is."""

    rule: str
    what: str
    fix: str
    factor: float


UNNAMED: Final = "Forces or energies have another unit"
PER_ATOM: Final = "energy-per-atom"
_ATOMIC: Final = Reading(
    "force-unit",
    "energies and forces look like Rydberg and Rydberg/Bohr, or Hartree and Hartree/Bohr",
    f"if they are in Rydberg multiply energies by {HARTREE / 2.0:.6g} and forces by {HARTREE / BOHR / 2.0:.6g}, "
    f"if in Hartree by {HARTREE:.6g} and {HARTREE / BOHR:.6g}",
    1.0 / BOHR,
)
_BOHR_LENGTHS: Final = Reading(
    "lengths-in-bohr", "lengths look like Bohr", f"multiply cell and positions by {BOHR:.6g}", BOHR
)


def cause(k: float, k_atom: float, stiffness: float, one_factor: bool) -> tuple[str, str, str]:
    """Rule, what is wrong and its fix, for the parameters of `readings`."""
    if abs(k + 1.0) < OFF:
        return "force-sign", "Forces have the wrong sign, they are gradients", "multiply them by -1"
    found = readings(k, k_atom, stiffness, one_factor)
    if not found:
        fix = f"check both: forces times {k:.4g} would agree"
        return "force-unit", UNNAMED, fix
    what = ", or ".join(reading.what for reading in found)
    return found[0].rule, what[0].upper() + what[1:], "; or ".join(reading.fix for reading in found)


def readings(k: float, k_atom: float, stiffness: float, one_factor: bool = True) -> list[Reading]:
    """Units that would explain the factors, the likeliest first; none if nothing is that near.

    Parameters
    ----------
    k
        ΔE over the work of the forces; negative for forces of the wrong sign.
    k_atom
        The same with ΔE times the number of atoms; 0 if that agrees less well.
    stiffness
        Force constant of an atom by these forces, eV/Å².
    one_factor
        Whether one factor fits cells of all sizes.
    """
    sign = float(np.sign(k))
    known = _known(sign) if one_factor else []
    far = {reading: abs(np.log(abs(k) / reading.factor)) for reading in known}
    if k_atom:
        what, fix = "energies look like energies per atom", "multiply energies by the number of atoms N"
        far[Reading(PER_ATOM, what, _signed(fix, sign), abs(k / k_atom))] = abs(np.log(abs(k_atom)))
    nearest = min(far.values(), default=0.0)
    found = [reading for reading, off in far.items() if off <= min(nearest + _NEAR, np.log(1.0 + CLOSE))]
    soft = stiffness / BOHR < SOFT
    return sorted(found, key=lambda reading: (far[reading], (reading.what == _ATOMIC.what) != soft))


def _known(sign: float) -> Sequence[Reading]:
    forces = [
        Reading("force-unit", f"forces look like {unit}", f"multiply them by {sign / size:.6g}", 1.0 / size)
        for unit, size in FORCES.items()
    ]
    energies = [
        Reading("energy-unit", f"energies look like {unit}", f"multiply energies by {1.0 / size:.6g}", size)
        for unit, size in ENERGIES.items()
    ]
    others = [r._replace(fix=_signed(r.fix, sign)) for r in (*energies, _ATOMIC, _BOHR_LENGTHS)]
    return [*forces, *others]


def _signed(fix: str, sign: float) -> str:
    return fix if sign > 0.0 else f"{fix}, and forces by -1"

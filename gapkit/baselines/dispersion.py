"""DFT-D3 dispersion from the dftd3 library, an optional extra."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any, ClassVar, Final

import numpy as np
from ase.data import chemical_symbols
from ase.units import Bohr, Hartree

from gapkit._parameters import Parametric
from gapkit.atoms.frame import Frame
from gapkit.atoms.neighbours import Pairs
from gapkit.baselines.base import Contribution
from gapkit.errors import ConfigError, DataError, SpeciesError, nearest
from gapkit.typing import BoolArray, FloatArray, Kind

HEAVIEST: Final = 94
"""Last element with published D3 coefficients, Pu; the library must not see others."""

CUTOFF: Final = 60.0 * Bohr
"""Distance, Å, at which the library's sums over pairs end."""

_FIX: Final = "check the structure, or remove the frame"
_DAMPING: Final = {"bj": "RationalDampingParam", "zero": "ZeroDampingParam"}


class Dispersion(Parametric):
    """DFT-D3 dispersion energy without three-body terms, evaluated by the library dftd3 (`pip install gapkit[d3]`).

    The two atoms of a pair share its energy, which takes 16 N² bytes of memory. Pairs end at the library's cutoffs,
    60 Bohr and 40 Bohr for coordination numbers: the energy jumps by about 1e-7 eV where a pair passes one, which
    finite differences of the strain of a dense crystal see.

    Parameters
    ----------
    functional
        Density functional of the labels, by the library's name, such as pbe, pbesol, scan or b3lyp.
    damping
        ``bj``: rational, of Becke and Johnson; ``zero``: the first form of D3.

    Notes
    -----
    S. Grimme, J. Antony, S. Ehrlich and H. Krieg, J. Chem. Phys. 132, 154104 (2010); S. Grimme, S. Ehrlich and
    L. Goerigk, J. Comput. Chem. 32, 1456 (2011).
    """

    kind: ClassVar[str] = "dispersion"

    def __init__(self, functional: str = "pbe", damping: str = "bj") -> None:
        self.functional = functional
        self.damping = damping

    @property
    def reach(self) -> float:
        """Infinite: the library finds its pairs itself."""
        return math.inf

    def prepared(self, frames: Sequence[Frame]) -> Dispersion:
        """A copy with checked settings.

        Raises
        ------
        ConfigError
            The library is missing, or has no parameters of this functional with this damping.
        SpeciesError
            An element beyond Pu in the frames.
        """
        self._parameters()
        for frame in frames:
            _require_covered(frame)
        return Dispersion(self.functional, self.damping)

    def evaluate(self, frame: Frame, kinds: Collection[Kind], pairs: Pairs | None = None) -> Contribution:
        """Energy of one structure, and the derivatives that `kinds` asks for; `pairs` are not used.

        Raises
        ------
        ConfigError, SpeciesError
            As `prepared`.
        DataError
            The library cannot evaluate the structure.
        """
        parameters = self._parameters()
        _require_covered(frame)
        box_cc, pbc_c = _box(frame)
        derivatives: dict[str, Any] = {}
        try:
            model = _library().DispersionModel(frame.numbers_e, frame.positions_ec / Bohr, box_cc / Bohr, pbc_c)
            shares = model.get_pairwise_dispersion(parameters)
            if "forces" in kinds or "stress" in kinds:
                derivatives = model.get_dispersion(parameters, grad=True)
        except RuntimeError as error:
            raise DataError(f"dftd3 failed: {error}", where=frame.where, fix=_FIX) from error
        energies_e = Hartree * shares["additive pairwise energy"].sum(axis=1)
        forces_ec = -Hartree / Bohr * derivatives["gradient"] if "forces" in kinds else None
        virial_cc = Hartree * derivatives["virial"] if "stress" in kinds else None
        if not all(np.isfinite(part).all() for part in (energies_e, forces_ec, virial_cc) if part is not None):
            raise DataError("dftd3 gives NaN or infinite numbers", where=frame.where, fix=_FIX)
        return Contribution(energies_e, forces_ec, virial_cc)

    def _parameters(self) -> Any:
        """The library's damping parameters."""
        if self.damping not in _DAMPING:
            what = f"Dispersion has no damping {self.damping!r}"
            raise ConfigError(what, fix=nearest(str(self.damping), _DAMPING))
        library = _library()
        try:
            return getattr(library, _DAMPING[self.damping])(method=self.functional, atm=False)
        except (RuntimeError, AttributeError, TypeError) as error:
            what = f"D3 has no parameters of functional={self.functional!r} with damping='{self.damping}'"
            fix = "name the density functional of the labels, such as pbe, pbesol, scan or b3lyp"
            raise ConfigError(what, fix=fix) from error


def _library() -> Any:
    try:
        from dftd3 import interface
    except ImportError as error:
        raise ConfigError(
            "Dispersion needs the library dftd3, which is not installed", fix="pip install gapkit[d3]"
        ) from error
    return interface


def _box(frame: Frame) -> tuple[FloatArray, BoolArray]:
    """Cell and periodic directions for the library, which gets slabs and wires wrong (dftd3 1.7).

    They are made periodic with as much empty space as its cutoff. Lattice vectors of length 0 would give NaN.
    """
    open_c = ~frame.pbc_c
    box_cc = frame.box_cc
    if open_c.all():
        return box_cc, frame.pbc_c
    box_cc[open_c] *= CUTOFF + 1.0 + np.ptp(frame.positions_ec @ box_cc[open_c].T, axis=0)[:, None]
    return box_cc, np.ones(3, dtype=np.bool_)


def _require_covered(frame: Frame) -> None:
    heavy_e = frame.numbers_e > HEAVIEST
    if heavy_e.any():
        atom = int(np.flatnonzero(heavy_e)[0])
        symbol = chemical_symbols[frame.numbers_e[atom]]
        where = ", ".join(filter(None, [frame.where, f"atom {atom}"]))
        raise SpeciesError(f"D3 has no coefficients of {symbol}", where=where, fix="leave Dispersion out")

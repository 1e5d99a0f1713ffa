"""Units and sign conventions of gapkit, in one place.

Energies eV, lengths Å, forces eV/Å, stresses eV/Å³ inside and GPa in reports.
Stress has the sign and order of ASE: tension positive, Voigt xx yy zz yz xz xy,
stress = V⁻¹ ∂E/∂ε. A *virial* label has the sign of QUIP: virial = −V · stress.
Standard deviations σ of energy and stress in `Noise` are per atom (eV): a frame of N
atoms has σ√N for its energy and for its virial; σ of a force component does not scale.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np
from ase import units as _ase

from gapkit.typing import FloatArray, Kind

GPA: Final = _ase.GPa
"""1 GPa in eV/Å³."""


class Reported(NamedTuple):
    """Unit of a kind of label in reports and figures.

    Attributes
    ----------
    text, name
        For people, and as part of a name in JSON.
    scale
        Its number per eV/atom, eV/Å or eV/Å³.
    of_evaluation
        Its number per eV/atom, eV/Å or GPa, the units of `gapkit.Evaluation`.
    """

    text: str
    name: str
    scale: float
    of_evaluation: float


REPORTED: Final[Mapping[Kind, Reported]] = {
    "energy": Reported("meV/atom", "meV_per_atom", 1e3, 1e3),
    "forces": Reported("eV/Å", "eV_per_A", 1.0, 1.0),
    "stress": Reported("GPa", "GPa", 1.0 / GPA, 1.0),
}
"""Units of reports."""

SIGMA_UNITS: Final[Mapping[Kind, str]] = {"energy": "eV/atom", "forces": "eV/Å", "stress": "eV/atom (virial)"}
"""Units of the σ in `gapkit.Noise`."""

VOIGT: Final = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
"""Cartesian index pairs of the six Voigt components, in ASE's order."""

_ROWS: Final = np.array([a for a, _ in VOIGT])
_COLUMNS: Final = np.array([b for _, b in VOIGT])


def to_voigt(tensor_cc: FloatArray) -> FloatArray:
    """Six Voigt components of the symmetric part of tensors, shape (..., 3, 3) to (..., 6)."""
    upper = tensor_cc[..., _ROWS, _COLUMNS]
    lower = tensor_cc[..., _COLUMNS, _ROWS]
    return 0.5 * (upper + lower)


def from_voigt(voigt_v: FloatArray) -> FloatArray:
    """Symmetric tensors of Voigt components, shape (..., 6) to (..., 3, 3)."""
    tensor = np.empty((*voigt_v.shape[:-1], 3, 3))
    tensor[..., _ROWS, _COLUMNS] = voigt_v
    tensor[..., _COLUMNS, _ROWS] = voigt_v
    return tensor

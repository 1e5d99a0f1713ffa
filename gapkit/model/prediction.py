"""What a model says about one structure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gapkit.typing import FloatArray


@dataclass(frozen=True, eq=False)
class Prediction:
    """Result of `GAP.predict`; what was not asked for is None.

    Attributes
    ----------
    energy
        Total energy, eV.
    energies
        Local energies, shape (N,), eV; they sum to `energy`.
    forces
        Shape (N, 3), eV/Å.
    stress
        Voigt xx yy zz yz xz xy, tension positive, shape (6,), eV/Å³; periodic structures only.
    energy_std
        Posterior standard deviation of the total energy, eV (without the noise of a label).
    energies_std
        The same of the local energies, shape (N,), eV.
    by_term
        Total energy of each term and of the isolated atoms ("e0"), eV; they sum to `energy`.
    """

    energy: float
    energies: FloatArray | None = None
    forces: FloatArray | None = None
    stress: FloatArray | None = None
    energy_std: float | None = None
    energies_std: FloatArray | None = None
    by_term: Mapping[str, float] = field(default_factory=dict)


WANTED = ("energy", "energies", "forces", "stress", "energy_std", "energies_std")
"""What `GAP.predict` can be asked for."""

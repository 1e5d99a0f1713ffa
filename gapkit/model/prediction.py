"""What a model says about one structure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields

from gapkit.atoms.frame import Frame
from gapkit.errors import ConfigError, DataError, nearest
from gapkit.typing import FloatArray, IntArray


@dataclass(frozen=True, eq=False, repr=False)
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
    energy_std, energies_std, forces_std, stress_std
        Standard deviations to compare an error with, in the units and shapes above: calibrated where the model is
        (`gapkit.uncertainty.calibrate`), else the root of the sum of the squares of the next two. Local energies are no
        observable and never calibrated.
    energy_epistemic_std, …
        Posterior (DTC) standard deviation of the model itself: what more data would reduce.
    energy_aleatoric_std, …
        σ of a label, noise and misfit, by the model's `Noise`: a number for energy, forces and stress, and for each
        local energy σ of the energy per atom.
    forces_covariance
        Posterior covariance of all force components, atom by atom, shape (3N, 3N), (eV/Å)².
    forces_sample
        Forces of one posterior sample, shape (N, 3), eV/Å; only on request of a `GAPCalculator`.
    extrapolation
        Distance of each atom from the sparse environments, shape (N,), 0 … 1: the share √(1-k²) of the prior standard
        deviation of its local energy that is left if only the most similar sparse environment (correlation k) were
        known. 0: it is one of them; 1: unlike all of them, or most like an isolated atom whose energy no label tells.
        The largest over the many-body terms of the model; without any, over its bonds (0 without bonds).
    nearest
        Column of that sparse environment among the columns of the model, shape (N,).
    by_term
        Total energy of each term and of the isolated atoms ("e0"), eV; they sum to `energy`.
    """

    energy: float
    energies: FloatArray | None = None
    forces: FloatArray | None = None
    stress: FloatArray | None = None
    energy_std: float | None = None
    energy_epistemic_std: float | None = None
    energy_aleatoric_std: float | None = None
    energies_std: FloatArray | None = None
    energies_epistemic_std: FloatArray | None = None
    energies_aleatoric_std: float | None = None
    forces_std: FloatArray | None = None
    forces_epistemic_std: FloatArray | None = None
    forces_aleatoric_std: float | None = None
    stress_std: FloatArray | None = None
    stress_epistemic_std: FloatArray | None = None
    stress_aleatoric_std: float | None = None
    forces_covariance: FloatArray | None = None
    forces_sample: FloatArray | None = None
    extrapolation: FloatArray | None = None
    nearest: IntArray | None = None
    by_term: Mapping[str, float] = field(default_factory=dict)

    def __repr__(self) -> str:
        """The energy, and the names of what else was asked for: the arrays would fill pages."""
        given = [f.name for f in fields(self) if f.name not in ("energy", "by_term")]
        others = [name for name in given if getattr(self, name) is not None]
        return f"<Prediction: energy {self.energy:.6f} eV" + (f"; {', '.join(others)}>" if others else ">")


VALUES = ("energy", "energies", "forces", "stress")
WANTED = (*VALUES, *(f"{name}_std" for name in VALUES), "forces_covariance", "extrapolation")
"""What `GAP.predict` can be asked for; a standard deviation comes with its two parts."""


def has_stress(frame: Frame) -> bool:
    """Whether the cell of a structure has a volume to refer a stress to."""
    return bool(frame.pbc_c.any()) and frame.volume > 0.0


def wanted(want: Collection[str] | None, frame: Frame) -> set[str]:
    """What to compute, checked against what exists."""
    if want is None:
        return {"energy", "forces", "stress"} if has_stress(frame) else {"energy", "forces"}
    chosen = {want} if isinstance(want, str) else set(want)
    for name in sorted(map(str, chosen - {"by_term"})):
        if name not in WANTED:
            raise ConfigError(f"predict cannot give '{name}'", fix=nearest(name, WANTED))
    if chosen & {"stress", "stress_std"} and not has_stress(frame):
        raise DataError(
            "A structure without a periodic cell has no stress",
            where=frame.where,
            fix="leave stress out of what you want, or give it a cell and pbc=True",
        )
    return chosen

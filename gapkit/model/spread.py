"""Predictive standard deviations of one structure, from the rows that a fit would make of it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gapkit.atoms.frame import Frame
from gapkit.atoms.neighbours import Pairs
from gapkit.errors import ConfigError
from gapkit.gp.covariance import energy_prior, force_covariance_prior, force_prior, virial_prior
from gapkit.gp.design import FrameRows, frame_rows
from gapkit.gp.noise import label_std
from gapkit.model.state import ModelState
from gapkit.typing import KINDS, FloatArray, IntArray, Kind

DERIVED = frozenset({"forces_std", "stress_std", "forces_covariance"})
"""What needs the rows of a fit."""

_COPIES = 20.0  # of the derivative rows of a block, those of the sites around it included


@dataclass(frozen=True, eq=False)
class Spread:
    """Posterior variance of one property of one structure, in two parts, per atom for energies.

    Attributes
    ----------
    data_xc
        What the data leave, k*ᵀA⁻¹k*: energy (1, 1), (eV/atom)²; forces (N, 3), (eV/Å)²; stress (1, 6), (eV/Å³)².
    prior_xc
        What the sparse points do not span.
    """

    data_xc: FloatArray
    prior_xc: FloatArray

    @property
    def epistemic_xc(self) -> FloatArray:
        """Standard deviation of the model, in the shape of its parts."""
        return np.sqrt(self.data_xc + self.prior_xc)


def require_room(state: ModelState, frame: Frame, want: Collection[str], max_memory: float) -> None:
    """ConfigError for a structure whose derivative rows do not fit into memory."""
    n, m = frame.n_atoms, len(state.posterior.weights_m)
    need = 8.0 * 9 * n * m  # rows, and two whitened copies
    if "forces_covariance" in want:
        need += 8.0 * 4 * (3 * n) ** 2
    if need > max_memory:
        what = ", ".join(sorted(DERIVED & set(want)))
        raise ConfigError(
            f"{what} of {n} atoms needs {need / 1e9:.2g} GB of memory, the ceiling is {max_memory / 1e9:.2g} GB",
            where=frame.where,
            fix="raise max_memory, cut out the region of interest, or ask for energies_std, whose cost is linear",
        )


def energy_spread(state: ModelState, frame: Frame, row_m: FloatArray, regions: Sequence[Pairs]) -> Spread:
    """Posterior variance of the energy per atom; `row_m`: covariance of the total energy with the points."""
    parts = state.posterior.variances(row_m[None], np.array([energy_prior(state.terms, regions)]))
    return Spread(*(part[:, None] / frame.n_atoms**2 for part in parts))


def spreads(
    state: ModelState, frame: Frame, pairs: Pairs, rows: FrameRows, kinds: Collection[Kind], max_memory: float
) -> dict[Kind, Spread]:
    """Posterior variances of forces and stress; `pairs` are all pairs of the structure, `rows` made of them."""
    found: dict[Kind, Spread] = {}
    n_bytes = max_memory / _COPIES
    if "forces" in kinds and rows.forces_nm is not None:
        parts = state.posterior.variances(rows.forces_nm, force_prior(state.terms, pairs, n_bytes).ravel())
        found["forces"] = Spread(*(part.reshape(-1, 3) for part in parts))
    if "stress" in kinds and rows.virial_vm is not None:
        parts = state.posterior.variances(rows.virial_vm, np.diagonal(virial_prior(state.terms, pairs, n_bytes)))
        found["stress"] = Spread(*(part[None] / frame.volume**2 for part in parts))
    return found


def species_of_rows(frame: Frame, kind: Kind) -> IntArray:
    """Atomic number of each row of a `Spread`; 0 where it concerns the structure."""
    return frame.numbers_e if kind == "forces" else np.zeros(1, dtype=np.int64)


def aleatoric(state: ModelState, frame: Frame, kind: Kind) -> float:
    """σ of a label, in the units of a `Spread`: per atom for energies."""
    sigma = label_std(state.noise, frame.group, kind, frame.n_atoms, frame.volume)
    return sigma / frame.n_atoms if kind == "energy" else sigma


def combined(state: ModelState, frame: Frame, kind: Kind, spread: Spread, species_x: IntArray) -> FloatArray:
    """Standard deviation to compare an error with, in the shape of the parts."""
    calibration = state.calibration
    if calibration is not None:
        std_xc = calibration.std(kind, species_x, spread.data_xc, spread.prior_xc)
        if std_xc is not None:
            return std_xc
    return np.sqrt(spread.data_xc + spread.prior_xc + aleatoric(state, frame, kind) ** 2)


def described(state: ModelState, frame: Frame, kind: Kind, spread: Spread) -> dict[str, Any]:
    """The three standard deviations of a property as fields of a `Prediction`."""
    std = combined(state, frame, kind, spread, species_of_rows(frame, kind))
    epistemic, noise = spread.epistemic_xc, aleatoric(state, frame, kind)
    if kind == "energy":
        n = frame.n_atoms
        return {
            "energy_std": n * float(std[0, 0]),
            "energy_epistemic_std": n * float(epistemic[0, 0]),
            "energy_aleatoric_std": n * noise,
        }
    if kind == "stress":
        std, epistemic = std[0], epistemic[0]
    return {f"{kind}_std": std, f"{kind}_epistemic_std": epistemic, f"{kind}_aleatoric_std": noise}


def local_std(state: ModelState, frame: Frame, variance_e: FloatArray) -> dict[str, Any]:
    """The three standard deviations of the local energies."""
    noise = state.noise.sigma(frame.group, "energy") or 0.0
    return {
        "energies_std": np.sqrt(variance_e + noise**2),
        "energies_epistemic_std": np.sqrt(variance_e),
        "energies_aleatoric_std": noise,
    }


def derived(state: ModelState, frame: Frame, pairs: Pairs, want: Collection[str], max_memory: float) -> dict[str, Any]:
    """What is wanted of `DERIVED`, as fields of a `Prediction`; `pairs` are all pairs of the structure."""
    kinds = {kind for kind in KINDS if f"{kind}_std" in want and kind != "energy"}
    rows = frame_rows(state.terms, pairs, kinds | ({"forces"} if "forces_covariance" in want else set()))
    values: dict[str, Any] = {}
    for kind, spread in spreads(state, frame, pairs, rows, kinds, max_memory).items():
        values |= described(state, frame, kind, spread)
    if "forces_covariance" in want and rows.forces_nm is not None:
        prior = force_covariance_prior(state.terms, pairs)
        values["forces_covariance"] = state.posterior.covariance(rows.forces_nm, prior)
    return values

"""σ of every observation: the regulariser of the fit and the aleatoric part of the model.

This file alone knows how σ scales with the number of atoms.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from gapkit._check import positive
from gapkit._parameters import Parametric
from gapkit.atoms.frame import Frame
from gapkit.errors import ConfigError, nearest
from gapkit.typing import KINDS, FloatArray, Kind


class Noise(Parametric):
    """Standard deviations of the labels that are fitted, the misfit of the model included.

    Parameters
    ----------
    energy
        σ of a total energy, per atom: eV/atom. A frame of N atoms has σ√N.
    forces
        σ of a force component, eV/Å.
    stress
        σ of the virial V·stress, per atom: eV/atom. A frame of N atoms has σ√N, that is
        σ√N/V for each stress component.
    groups
        {config_type: {kind: σ}} for groups that differ; what is absent falls back on the above.

    None for a kind leaves it out of the fit.
    """

    def __init__(
        self,
        energy: float | None = 0.001,
        forces: float | None = 0.1,
        stress: float | None = 0.03,
        groups: Mapping[str, Mapping[str, float | None]] | None = None,
    ) -> None:
        self.energy = energy
        self.forces = forces
        self.stress = stress
        self.groups = groups

    def check(self) -> None:
        """Raise ConfigError for a σ that is not positive or a kind that does not exist."""
        for kind in KINDS:
            if getattr(self, kind) is not None:
                positive(f"Noise.{kind}", getattr(self, kind))
        for group, settings in _mapping("groups", self.groups or {}).items():
            for name, sigma in _mapping(f"groups['{group}']", settings).items():
                if name not in KINDS:
                    raise ConfigError(f"Noise.groups['{group}'] has no kind '{name}'", fix=nearest(name, KINDS))
                if sigma is not None:
                    positive(f"Noise.groups['{group}']['{name}']", sigma)

    def sigma(self, group: str, kind: Kind) -> float | None:
        """σ of a kind of label in a group, in the units above; None if it is left out."""
        own = (self.groups or {}).get(group, {})
        value: float | None = own[kind] if kind in own else getattr(self, kind)
        return value

    def scaled(self, factors: Mapping[str, float]) -> Noise:
        """The same with σ of some kinds times a factor, in all groups; kinds that are left out stay out."""

        def times(own: Mapping[str, float | None]) -> dict[str, float | None]:
            return {kind: None if s is None else factors.get(kind, 1.0) * s for kind, s in own.items()}

        sigmas = times({kind: getattr(self, kind) for kind in KINDS})
        groups = {group: times(own) for group, own in (self.groups or {}).items()}
        return Noise(sigmas["energy"], sigmas["forces"], sigmas["stress"], groups or None)


def _mapping(name: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"Noise.{name}={value!r} is no dictionary", fix="give {config_type: {kind: σ}}")
    return value


def row_scale(kind: Kind, n_atoms: int) -> float:
    """What σ is multiplied by for one row: √N for energies and virials, 1 for forces."""
    return 1.0 if kind == "forces" else float(np.sqrt(n_atoms))


def label_std(noise: Noise, group: str, kind: Kind, n_atoms: int, volume: float) -> float:
    """σ of one label: of a total energy (eV), a force component (eV/Å), a stress component (eV/Å³); 0 if left out."""
    sigma = (noise.sigma(group, kind) or 0.0) * row_scale(kind, n_atoms)
    return sigma / volume if kind == "stress" else sigma


def own_sigma(frame: Frame, kind: Kind) -> float | FloatArray | None:
    """σ that the frame brings itself, already per row: a number, or one per force component."""
    if kind == "forces" and frame.force_sigma_e is not None:
        return np.repeat(frame.force_sigma_e, 3)
    if kind in frame.sigma:
        return float(frame.sigma[kind]) * row_scale(kind, frame.n_atoms)
    return None

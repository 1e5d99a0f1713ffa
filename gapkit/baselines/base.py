"""What a baseline is: known physics with energy, forces and virial, subtracted before a fit and added after it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np

from gapkit.atoms.frame import Frame
from gapkit.atoms.neighbours import Pairs
from gapkit.typing import FloatArray, Kind

_B = TypeVar("_B", bound="Baseline")


@dataclass(frozen=True, eq=False)
class Contribution:
    """What a baseline adds to one structure.

    Attributes
    ----------
    energies_e
        Energy of each atom, shape (N,), eV; their sum is the energy.
    forces_ec
        Forces, shape (N, 3), eV/Å; None if not asked for.
    virial_cc
        Strain derivative ∂E/∂ε, shape (3, 3), symmetric, eV: V times the stress of ASE; None if not asked for.
    """

    energies_e: FloatArray
    forces_ec: FloatArray | None = None
    virial_cc: FloatArray | None = None

    @classmethod
    def zero(cls, n_atoms: int, kinds: Collection[Kind]) -> Contribution:
        """Nothing, with those derivatives that `kinds` asks for."""
        forces_ec = np.zeros((n_atoms, 3)) if "forces" in kinds else None
        return cls(np.zeros(n_atoms), forces_ec, np.zeros((3, 3)) if "stress" in kinds else None)

    def plus(self, other: Contribution, scale: float = 1.0) -> Contribution:
        """The sum with `scale` times another one that has the same derivatives."""
        forces_ec, virial_cc = self.forces_ec, self.virial_cc
        if forces_ec is not None and other.forces_ec is not None:
            forces_ec = forces_ec + scale * other.forces_ec
        if virial_cc is not None and other.virial_cc is not None:
            virial_cc = virial_cc + scale * other.virial_cc
        return Contribution(self.energies_e + scale * other.energies_e, forces_ec, virial_cc)


class Baseline(Protocol):
    """Known physics. The constructor stores settings; a model keeps what `prepared` returns.

    Energies are relative to isolated atoms: one atom alone, which is not periodic, has none.

    Attributes
    ----------
    kind
        Its name in `Prediction.by_term` and in model files.
    """

    kind: ClassVar[str]

    @property
    def reach(self) -> float:
        """Distance up to which `evaluate` needs neighbour pairs, Å; infinite where neighbour pairs do not help."""
        ...

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Settings as JSON types; the class called with them is the same baseline."""
        ...

    def prepared(self: _B, frames: Sequence[Frame]) -> _B:
        """A copy with checked settings, where those that were left open are chosen from the training frames.

        Raises
        ------
        ConfigError, SpeciesError, DataError
        """
        ...

    def evaluate(self, frame: Frame, kinds: Collection[Kind], pairs: Pairs | None = None) -> Contribution:
        """Energy of one structure, and the derivatives that `kinds` asks for.

        Parameters
        ----------
        kinds
            Any of energy, forces and stress; the energy is always there.
        pairs
            All neighbour pairs of the structure up to at least `reach`; None where they are not at hand.

        Raises
        ------
        DataError, SpeciesError
            The structure cannot be evaluated, with what is wrong, where, and the fix.
        """
        ...

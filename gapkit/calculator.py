"""The ASE adapter of a fitted model."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from ase import Atoms
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes

from gapkit._check import not_negative
from gapkit.atoms.labels import to_frame
from gapkit.atoms.neighbours import NeighbourList
from gapkit.errors import ConfigError, DataError
from gapkit.model.gap import GAP
from gapkit.model.prediction import Prediction, has_stress


class GAPCalculator(Calculator):
    """A model as an ASE calculator: for MD, optimisers, cell filters, phonons.

    Parameters
    ----------
    model
        A fitted `GAP`.
    skin
        Verlet skin, Å ≥ 0: neighbour pairs are searched anew when an atom has moved by skin/2.
    std
        Also compute the standard deviations of the total and local energy; they are found on
        `prediction`, not in `results`, whose keys ASE has closed.
    to_atoms
        Write the standard deviations to ``atoms.info["energy_std"]`` and
        ``atoms.arrays["energies_std"]`` of the structure that is evaluated.

    Attributes
    ----------
    prediction
        The last `Prediction`, None before the first calculation and after one that failed.
    """

    implemented_properties: list[str] = [  # noqa: RUF012 (ASE declares it so)
        "energy",
        "free_energy",
        "energies",
        "forces",
        "stress",
    ]

    def __init__(
        self, model: GAP, *, skin: float = 1.0, std: bool = False, to_atoms: bool = False, **kwargs: Any
    ) -> None:
        if not isinstance(model, GAP):
            raise ConfigError(
                f"GAPCalculator needs a fitted GAP, not {type(model).__name__}",
                fix="use GAPCalculator(gapkit.load(path))",
            )
        skin = not_negative("skin", skin, "Å")
        super().__init__(**kwargs)
        self.model, self.std, self.to_atoms = model, std or to_atoms, to_atoms
        self.prediction: Prediction | None = None
        self._neighbours = NeighbourList(model.reach, skin)

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Collection[str] = ("energy",),
        system_changes: Collection[str] = tuple(all_changes),
    ) -> None:
        """Fill `results` and `prediction`; called by ASE."""
        super().calculate(atoms, list(properties), list(system_changes))
        self.prediction = None
        current = self.atoms
        if current is None:
            raise DataError("calculate was called without a structure", fix="give atoms")
        frame = to_frame(current, labels=False)
        periodic = has_stress(frame)
        if "stress" in properties and not periodic:
            raise PropertyNotImplementedError("a structure without a periodic cell has no stress")
        want = {"energy", "energies", "forces"} | ({"stress"} if periodic else set())
        if self.std:
            want |= {"energy_std", "energies_std"}
        p = self.model.predict_frame(frame, want, self._neighbours)
        self.prediction = p
        self.results = {"energy": p.energy, "free_energy": p.energy, "energies": p.energies, "forces": p.forces}
        if p.stress is not None:
            self.results["stress"] = p.stress
        if self.to_atoms and atoms is not None:
            atoms.info["energy_std"] = p.energy_std
            atoms.set_array("energies_std", p.energies_std)

"""The ASE adapter of a fitted model."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from threading import RLock
from typing import Any

from ase import Atoms
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes

from gapkit._check import not_negative
from gapkit.atoms.labels import to_frame
from gapkit.atoms.neighbours import NeighbourList
from gapkit.errors import ConfigError, DataError, nearest
from gapkit.model.gap import GAP
from gapkit.model.prediction import Prediction, has_stress
from gapkit.typing import FloatArray

USUAL = frozenset({"energy_std", "energies_std"})
PER_STRUCTURE = ("energy_std", "stress_std")
PER_ATOM = ("energies_std", "forces_std", "extrapolation")
ON_REQUEST = frozenset({*PER_STRUCTURE, *PER_ATOM, "forces_covariance"})
"""What a calculator computes beside ASE's properties where it is asked to."""
_OF_ASE = frozenset(inspect.signature(Calculator.__init__).parameters) - {"self", "kwargs"}


class GAPCalculator(Calculator):
    """A model as an ASE calculator: for MD, optimisers, cell filters, phonons.

    Parameters
    ----------
    model
        A fitted `GAP`.
    skin
        Verlet skin, Å ≥ 0: neighbour pairs are searched anew when an atom has moved by skin/2.
    std
        Standard deviations to compute at every calculation: any of energy_std, energies_std, forces_std, stress_std,
        forces_covariance and extrapolation (see `Prediction`). True for the energies alone. They are found on
        `prediction`, not in `results`, whose keys ASE has closed. Those of the energy, the forces and the stress cost
        20 to 40 plain calculations: for dynamics use `gapkit.uncertainty.Sentinel`. A structure without a periodic
        cell has no stress_std.
    to_atoms
        Write them to the structure that is evaluated: one per structure to ``atoms.info["energy_std"]`` and
        ``["stress_std"]``, one per atom to ``atoms.arrays["energies_std"]``, ``["forces_std"]`` and
        ``["extrapolation"]``; std=True where no others are named. Extended XYZ keeps all of them. ASE's binary
        Trajectory keeps `info` and drops arrays that it does not know: see `to_info`.
    to_info
        Write those per atom to ``atoms.info``, too, under the same names, where a Trajectory keeps them; implies
        `to_atoms`.

    Attributes
    ----------
    prediction
        The last `Prediction`, None before the first calculation and after one that failed.
    sampler
        A function of the structure about to be evaluated that returns the weights of a posterior sample, shape (M,)
        (``model.state_.posterior.sample``), or None for none this time. With weights, ``forces_sample``,
        ``extrapolation`` and ``nearest`` of the prediction come from the same pass, for about 60 % of the cost of a
        calculation more. Copies of a calculator have no sampler.
    """

    implemented_properties: list[str] = [  # noqa: RUF012 (ASE declares it so)
        "energy",
        "free_energy",
        "energies",
        "forces",
        "stress",
    ]

    def __init__(
        self,
        model: GAP,
        *,
        skin: float = 1.0,
        std: bool | str | Collection[str] = False,
        to_atoms: bool = False,
        to_info: bool = False,
        **kwargs: Any,
    ) -> None:
        if not isinstance(model, GAP):
            raise ConfigError(
                f"GAPCalculator needs a fitted GAP, not {type(model).__name__}",
                fix="use GAPCalculator(gapkit.load(path))",
            )
        skin = not_negative("skin", skin, "Å")
        for name in set(kwargs) - _OF_ASE:
            own = ["skin", "std", "to_atoms", "to_info"]
            fix = "set model.n_jobs before" if name == "n_jobs" else nearest(name, own)
            raise ConfigError(f"GAPCalculator has no argument '{name}'", fix=fix)
        super().__init__(**kwargs)
        self._one_at_a_time = RLock()
        self.model, self.to_atoms, self.to_info = model, to_atoms or to_info, to_info
        self.std = _names(std) or (USUAL if self.to_atoms else frozenset())
        self.sampler: Callable[[Atoms], FloatArray | None] | None = None
        self.prediction: Prediction | None = None
        self._skin = skin
        self._follow()

    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        """What has changed since the last calculation: everything, if the model has learned meanwhile."""
        return super().check_state(atoms, tol) if self._state is self.model.state_ else list(all_changes)

    def get_property(self, name: str, atoms: Atoms | None = None, allow_calculation: bool = True) -> Any:
        """As in ASE; threads that share a calculator wait for one another."""
        with self._one_at_a_time:
            return super().get_property(name, atoms, allow_calculation)

    def _follow(self) -> None:
        """Take the cutoff of the model as it is now."""
        self._neighbours = NeighbourList(self.model.cutoff, self._skin)
        self._state = self.model.state_

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Collection[str] = ("energy",),
        system_changes: Collection[str] = tuple(all_changes),
    ) -> None:
        """Fill `results` and `prediction`; called by ASE."""
        super().calculate(atoms, list(properties), list(system_changes))
        self.prediction = None
        if self._state is not self.model.state_:
            self._follow()
        current = self.atoms
        if current is None:
            raise DataError("calculate was called without a structure", fix="give atoms")
        frame = to_frame(current, keys=self.model.state_.keys, labels=False)
        periodic = has_stress(frame)
        if "stress" in properties and not periodic:
            raise PropertyNotImplementedError("a structure without a periodic cell has no stress")
        want = {"energy", "energies", "forces"} | ({"stress"} if periodic else set())
        want |= self.std if periodic else self.std - {"stress_std"}
        weights_m = None if self.sampler is None else self.sampler(current if atoms is None else atoms)
        if weights_m is not None:
            want |= {"extrapolation"}
        p = self.model.predict_frame(frame, want, self._neighbours, weights_m)
        self.prediction = p
        self.results = {"energy": p.energy, "free_energy": p.energy, "energies": p.energies, "forces": p.forces}
        if p.stress is not None:
            self.results["stress"] = p.stress
        if self.to_atoms and atoms is not None:
            self._write(p, atoms)

    def _write(self, p: Prediction, atoms: Atoms) -> None:
        """Standard deviations into the structure; those that it no longer has are removed."""
        for name in sorted(self.std - {"forces_covariance"}):
            value = getattr(p, name)
            atoms.info.pop(name, None)
            if name in PER_ATOM:
                atoms.arrays.pop(name, None)  # of another structure's shape, perhaps
                atoms.set_array(name, value)
            if value is not None and (self.to_info or name in PER_STRUCTURE):
                atoms.info[name] = value

    def __getstate__(self) -> dict[str, Any]:
        """What copies and other processes get: a watcher stays with the original, and so does the lock."""
        return {k: v for k, v in self.__dict__.items() if k != "_one_at_a_time"} | {"sampler": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _one_at_a_time=RLock())


def _names(std: object) -> frozenset[str]:
    """The names that the argument `std` means, checked."""
    if isinstance(std, bool) or std is None:
        return USUAL if std else frozenset()
    if not isinstance(std, Collection):
        raise ConfigError(f"std={std!r} names nothing to compute", fix=f"give True, or any of {sorted(ON_REQUEST)}")
    chosen = frozenset({std} if isinstance(std, str) else map(str, std))
    for name in sorted(chosen - ON_REQUEST):
        raise ConfigError(f"GAPCalculator cannot give '{name}'", fix=nearest(name, ON_REQUEST))
    return chosen

"""What a law is, and what it needs of a model."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Protocol

from ase import Atoms

from gapkit import Prediction
from gapkit.typing import FloatArray


class Model(Protocol):
    """What a law needs: `gapkit.GAP` has it, and so have `TermModel` and `CalculatorModel`."""

    @property
    def reach(self) -> float:
        """Largest distance at which an atom sees another, Å."""
        ...

    def predict(self, atoms: Atoms, want: Collection[str]) -> Prediction:
        """Energy and what is wanted."""
        ...


@dataclass(frozen=True)
class Law:
    """One law.

    Attributes
    ----------
    number
        Its number in the design, section 6.
    check
        Raises AssertionError where a model breaks it on a structure.
    applies
        Whether it says something about a structure.
    """

    number: int
    check: Callable[[Any, Atoms], None]
    applies: Callable[[Atoms], bool] = lambda atoms: True

    @property
    def name(self) -> str:
        """Name of the law in words."""
        return self.check.__name__

    def __call__(self, model: Any, atoms: Atoms) -> None:
        if self.applies(atoms):
            self.check(model, atoms)


def has_volume(atoms: Atoms) -> bool:
    """Whether there is a stress."""
    return bool(atoms.pbc.any() and atoms.cell.rank == 3)


def is_cluster(atoms: Atoms) -> bool:
    """Whether nothing is periodic."""
    return not atoms.pbc.any()


def wanted(atoms: Atoms) -> set[str]:
    """All properties a structure has."""
    return {"energy", "energies", "forces"} | ({"stress"} if has_volume(atoms) else set())


def cutoffs(model: Any) -> set[float]:
    """Distances at which atoms stop to see each other, Å: the reach, and that of each term where they are known."""
    state = getattr(model, "state_", None)
    terms = [] if state is None else [term.descriptor.reach for term in state.terms]
    return {model.reach, *terms, *getattr(model, "cutoffs", ())}


def derivative_accuracy(model: Any) -> float:
    """Error, relative to the largest, of derivatives that a model takes numerically; 0 for all others."""
    return float(getattr(model, "derivative_accuracy", 0.0))


def there(values: FloatArray | None) -> FloatArray:
    """What was asked for; AssertionError if the model left it out."""
    if values is None:
        raise AssertionError("the model did not predict what was wanted")
    return values

"""Samples of the posterior: models that share all but their weights."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from copy import copy
from dataclasses import replace
from typing import Any, Protocol, TypeVar, overload

import numpy as np
from ase import Atoms

from gapkit.atoms.labels import to_frame
from gapkit.errors import ConfigError, nearest
from gapkit.model.memory import prediction_bytes
from gapkit.model.predict import evaluate_members
from gapkit.model.prediction import VALUES, Prediction, wanted
from gapkit.model.state import ModelState
from gapkit.model.terms import require_species


class Model(Protocol):
    """What a committee needs of its members."""

    state_: ModelState
    n_jobs: int
    max_memory: float | str | None


_M = TypeVar("_M", bound=Model)


class Committee(Sequence[_M]):
    """Models drawn from the posterior of one; each of them is an ordinary `GAP`.

    The standard deviation of what they predict is what the data leave of it, for any property that can be computed
    with them: elastic constants, barriers, melting points. What the sparse points do not span (a part of
    ``epistemic_std``) no sample shows.
    """

    def __init__(self, members: Sequence[_M]) -> None:
        self._members = list(members)

    @classmethod
    def draw(cls, model: _M, n: int, rng: np.random.Generator) -> Committee[_M]:
        """n members of a fitted model."""
        state, members = model.state_, []
        for weights_m in state.posterior.sample(n, rng):
            member = copy(model)
            posterior = replace(state.posterior, weights_m=weights_m)
            member.state_ = replace(state, posterior=posterior, rows=None, calibration=None)
            members.append(member)
        return cls(members)

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[_M]:
        return iter(self._members)

    @overload
    def __getitem__(self, index: int) -> _M: ...
    @overload
    def __getitem__(self, index: slice) -> Committee[_M]: ...
    def __getitem__(self, index: Any) -> Any:
        return Committee(self._members[index]) if isinstance(index, slice) else self._members[index]

    def predict(self, atoms: Atoms, want: Collection[str] | None = None) -> list[Prediction]:
        """Predictions of all members for one structure, which share the work on its environments.

        Parameters
        ----------
        atoms
            A structure.
        want
            Any of energy, energies, forces, stress. None: energy and forces, and the stress of a periodic structure.

        Raises
        ------
        SpeciesError, DataError, ConfigError
        """
        frame = to_frame(atoms, keys=self._members[0].state_.keys, labels=False)
        chosen = wanted(want, frame)
        for name in sorted(chosen - {*VALUES, "by_term"}):
            raise ConfigError(f"a committee cannot give '{name}'", fix=nearest(name, VALUES))
        state = self._members[0].state_
        require_species(state.species, [frame])
        weights_km = np.stack([member.state_.posterior.weights_m for member in self._members])
        ceiling = prediction_bytes(self._members[0].max_memory)
        return evaluate_members(state, weights_km, frame, chosen, self._members[0].n_jobs, ceiling)

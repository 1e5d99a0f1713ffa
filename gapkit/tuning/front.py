"""Models over the weights of the labels, and which of them none is better than."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from gapkit import GAP, ConfigError, Noise
from gapkit.errors import nearest
from gapkit.tuning.front_figure import save_front
from gapkit.typing import KINDS, BoolArray, FloatArray

_WORSE: Final = 1.05  # ratio of errors, in the geometric mean, that is worth a word


@dataclass(frozen=True, eq=False)
class Point:
    """A model on the way.

    Attributes
    ----------
    noise
        σ of the labels.
    values
        What is to be small, by name: meV/atom, eV/Å and GPa for errors.
    log_evidence
        Log marginal likelihood of the training labels.
    on_front
        Whether no other point is better in one of the values and worse in none.
    role
        ``start`` for the model as it was, ``evidence`` for the most probable σ, else empty.
    """

    noise: Noise
    values: Mapping[str, float]
    log_evidence: float
    on_front: bool
    role: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The point as JSON types; values that are no numbers are None."""
        values = {name: value if np.isfinite(value) else None for name, value in self.values.items()}
        sigmas = self.noise.get_params(deep=False)
        rest = {"log_evidence": self.log_evidence, "on_front": self.on_front, "role": self.role}
        return {"noise": sigmas, "values": values, **rest}


@dataclass(frozen=True, eq=False)
class Pareto:
    """Models over the weights of the labels.

    Attributes
    ----------
    points
        All of them; the first is the model as it was, the second has the most probable σ.
    units
        {objective: unit}; no unit for those that were given as functions.
    """

    points: tuple[Point, ...]
    units: Mapping[str, str]
    _model: GAP = field(repr=False)

    @property
    def objectives(self) -> tuple[str, ...]:
        """Names of what is to be small."""
        return tuple(self.units)

    @property
    def front(self) -> list[Point]:
        """Points that none is better than, from the best to the worst in the first objective."""
        return sorted((p for p in self.points if p.on_front), key=lambda p: p.values[self.objectives[0]])

    @property
    def dominated(self) -> list[Point]:
        """All others."""
        return [p for p in self.points if not p.on_front]

    def best(self, at_most: Mapping[str, float] | None = None, weights: Mapping[str, float] | None = None) -> Point:
        """The point of the front with the smallest weighted product of the objectives.

        Parameters
        ----------
        at_most
            {objective: upper bound}. An objective with a bound has, unless `weights` names it, no weight: with
            ``{"energy": 2.2}``, the least error of forces among those models.
        weights
            {objective: exponent ≥ 0}; None: 1 for each, so that 1 % is 1 % of any of them.

        Raises
        ------
        ConfigError
            An objective that does not exist; no point keeps the bounds.
        """
        limits = dict(at_most or {})
        given = {name: 0.0 if name in limits else 1.0 for name in self.objectives} if weights is None else dict(weights)
        for name in [*limits, *given]:
            if name not in self.objectives:
                raise ConfigError(f"'{name}' is no objective", fix=nearest(name, self.objectives))
        within = [p for p in self.front if all(p.values[name] <= limit for name, limit in limits.items())]
        if not self.front:
            raise ConfigError("no model has objectives that are numbers", fix="check the functions that were given")
        if not within:
            least = ", ".join(f"{name} {min(p.values[name] for p in self.front):.4g}" for name in limits)
            fix = f"ask for less, the smallest values are {least}, or give a finer or wider grid"
            raise ConfigError("no model keeps these bounds", fix=fix)
        used = given if any(given.values()) else dict.fromkeys(self.objectives, 1.0)
        return min(within, key=lambda p: sum(w * _log(p.values[name]) for name, w in used.items()))

    def pick(self, at_most: Mapping[str, float] | None = None, weights: Mapping[str, float] | None = None) -> GAP:
        """The model of `best`, ready to predict and to be saved."""
        return self.model(self.best(at_most, weights))

    def model(self, point: Point) -> GAP:
        """The model of one of the points."""
        return next(self._model.refits([point.noise]))

    @property
    def verdict(self) -> str:
        """Whether the σ that make the training labels most probable also predict best, in words."""
        chosen = next((p for p in self.points if p.role == "evidence"), None)
        if chosen is None:
            return "The evidence was not maximised."
        best = self.best()
        gain = np.mean([_log(chosen.values[name]) - _log(best.values[name]) for name in self.objectives])
        if gain < np.log(_WORSE):
            return f"The evidence and the held-out labels agree: the most probable σ give {self._in_words(chosen)}."
        return (
            f"The evidence and the held-out labels disagree: the most probable {_sigmas(chosen.noise)} give "
            f"{self._in_words(chosen)}, but {_sigmas(best.noise)} give {self._in_words(best)}."
        )

    def _in_words(self, point: Point) -> str:
        return ", ".join(f"{name} {point.values[name]:.4g} {unit}".rstrip() for name, unit in self.units.items())

    def plot(self, path: str | os.PathLike[str]) -> None:
        """Write a figure, in the format of the file name; ConfigError for one that cannot be written."""
        save_front(self, path)

    def as_dict(self) -> dict[str, Any]:
        """All points as JSON types."""
        return {"units": dict(self.units), "verdict": self.verdict, "points": [p.as_dict() for p in self.points]}


def not_dominated(values_xo: FloatArray) -> BoolArray:
    """Which rows no other row beats, better in one column and worse in none, shape (X,).

    Rows with values that are no numbers never are.
    """
    finite_x = np.asarray(np.isfinite(values_xo).all(axis=1))
    values_xo = np.where(finite_x[:, None], values_xo, np.inf)
    no_worse = (values_xo[:, None] <= values_xo).all(axis=2)
    better = (values_xo[:, None] < values_xo).any(axis=2)
    beaten_x = np.asarray((no_worse & better).any(axis=0))
    return finite_x & ~beaten_x


def _log(value: float) -> float:
    return float(np.log(max(value, 1e-300)))


def _sigmas(noise: Noise) -> str:
    return "σ " + ", ".join(f"{kind} {getattr(noise, kind):.3g}" for kind in KINDS if getattr(noise, kind) is not None)

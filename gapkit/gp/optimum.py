"""The maximum of the evidence over σ and δ together, from any start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gapkit.gp.likelihood import Balance, Likelihood
from gapkit.typing import FloatArray

WIDTH = float(np.log(100.0))
"""Standard deviation of the prior of log σ and log δ in `maximized`: a factor of 100 costs half a nat."""
SPAN = float(np.log(1e3))
"""How far log σ and log δ may be from the centre of that prior: labels are neither exact nor worthless."""

_WARM_STEPS, _WARM_CLOSE = 8, 0.3
_ROUNDS, _ROUND_STEPS = 4, 60
_FAR = (-0.5 * SPAN, 0.5 * SPAN)  # from the centre
_NEAR, _AIM, _ENOUGH = 0.1, 1e-3, 0.02  # of the distance to the optimum, in standard errors
_EDGE = 1e-6  # a logarithm that is so near a bound is at it


@dataclass(frozen=True, eq=False)
class Optimum:
    """The most probable σ and δ.

    Attributes
    ----------
    sigma_g, delta_t
        Where the search ended.
    before, after
        The evidence at its start and at its end.
    evaluations
        Number of evaluations.
    distance
        Largest distance of a log σ or log δ from the maximum, in its own standard error, to first order.
    converged
        Whether that is below 0.02.
    """

    sigma_g: FloatArray
    delta_t: FloatArray
    before: Balance
    after: Balance
    evaluations: int
    distance: float

    @property
    def converged(self) -> bool:
        """Whether what is left to gain is of no consequence."""
        return self.distance <= _ENOUGH


def maximized(
    likelihood: Likelihood,
    start: tuple[Sequence[float], Sequence[float]],
    centre: tuple[Sequence[float], Sequence[float]],
    free: Sequence[bool],
) -> Optimum:
    """σ and δ of the largest evidence times a weak log-normal prior (`WIDTH`), within `SPAN` of its centre.

    Fixed-point steps, which come near from far away, then L-BFGS-B in units of the standard errors, which come from
    the numbers of rows and weights that are determined. A σ of labels that could all be explained, or of none, is where
    the prior and the bounds have a say.

    Parameters
    ----------
    likelihood
        The evidence.
    start, centre
        First σ and δ, and those of the prior.
    free
        Which δ are varied.
    """
    search = _Search(likelihood, start, centre, free)
    before = search.evaluate(search.first_x)
    hills = [search.climbed(*search.warmed(search.first_x, before), _NEAR)]
    for far in search.elsewhere(before):
        hills.append(search.climbed(*search.warmed(far, search.evaluate(far)), _NEAR))
    x, found = search.top(*max(hills, key=lambda hill: search.value(*hill)))
    sigma_g, delta_t = search.split(x)
    return Optimum(sigma_g, delta_t, before, found, search.evaluations, search.distance(x, found))


class _Search:
    """The logarithms x of what is varied, and the steps of the search."""

    def __init__(
        self,
        likelihood: Likelihood,
        start: tuple[Sequence[float], Sequence[float]],
        centre: tuple[Sequence[float], Sequence[float]],
        free: Sequence[bool],
    ) -> None:
        self._likelihood, self._n_sigmas, self.evaluations = likelihood, len(start[0]), 0
        self._delta_t = np.array(start[1], dtype=float)
        self._free = np.array(free, dtype=bool)
        self._varied = np.concatenate([np.ones(len(start[0]), dtype=bool), self._free])
        both = np.log(np.concatenate(start)), np.log(np.concatenate(centre))
        first_x, self._centre_x = both[0][self._varied], both[1][self._varied]
        self.first_x = np.clip(first_x, self._centre_x - SPAN, self._centre_x + SPAN)

    def split(self, x: FloatArray) -> tuple[FloatArray, FloatArray]:
        """σ and δ."""
        delta_t = self._delta_t.copy()
        delta_t[self._free] = np.exp(x[self._n_sigmas :])
        return np.exp(x[: self._n_sigmas]), delta_t

    def evaluate(self, x: FloatArray) -> Balance:
        """The evidence."""
        self.evaluations += 1
        return self._likelihood.at(*self.split(x))

    def value(self, x: FloatArray, found: Balance) -> float:
        """What is maximised: log evidence and log prior."""
        return found.log_evidence - 0.5 * float(np.square((x - self._centre_x) / WIDTH).sum())

    def slope(self, x: FloatArray, found: Balance) -> FloatArray:
        """Its gradient."""
        return found.gradient[self._varied] - (x - self._centre_x) / WIDTH**2

    def scale(self, found: Balance) -> FloatArray:
        """Standard errors of x, about."""
        return 1.0 / np.sqrt(found.curvature[self._varied] + 1.0 / WIDTH**2)

    def distance(self, x: FloatArray, found: Balance) -> float:
        """Distance from the optimum; where a bound holds x back, there is none."""
        slope = self.slope(x, found)
        edge = np.where(slope > 0.0, self._centre_x + SPAN - x, x - self._centre_x + SPAN)
        return float(np.abs(np.where(edge > _EDGE, slope * self.scale(found), 0.0)).max(initial=0.0))

    def warmed(self, x: FloatArray, found: Balance) -> tuple[FloatArray, Balance]:
        """The best point of a few fixed-point steps from x."""
        best = x, found
        for _ in range(_WARM_STEPS):
            step = np.log(np.concatenate([found.sigma_steps, found.delta_steps])[self._varied])
            x = np.clip(x + step, self._centre_x - SPAN, self._centre_x + SPAN)
            found = self.evaluate(x)
            if self.value(x, found) > self.value(*best):
                best = x, found
            if np.abs(step).max(initial=0.0) < _WARM_CLOSE:
                break
        return best

    def top(self, x: FloatArray, found: Balance) -> tuple[FloatArray, Balance]:
        """The maximum above x."""
        for _ in range(_ROUNDS):
            x, found = self.climbed(x, found, _AIM)
            if self.distance(x, found) <= _ENOUGH:
                break
        return x, found

    def elsewhere(self, found: Balance) -> list[FloatArray]:
        """Where another maximum may be near, whatever the start: about the centre.

        Labels that are fewer than the weights may all be signal or all be noise: their σ can have two maxima.
        """
        few = np.zeros(len(self._centre_x))
        few[: self._n_sigmas] = found.rows_g < found.points_t.sum()
        return [self._centre_x + step * few for step in (_FAR if few.any() else (0.0,))]

    def climbed(self, x: FloatArray, found: Balance, aim: float) -> tuple[FloatArray, Balance]:
        """The best point that L-BFGS-B meets on its way from x to a distance `aim` of a maximum."""
        from scipy.optimize import minimize

        scale, best = self.scale(found), (x, found)
        low, high = (self._centre_x - SPAN - x) / scale, (self._centre_x + SPAN - x) / scale

        def loss(z: FloatArray) -> tuple[float, FloatArray]:
            nonlocal best
            here = x + scale * z
            now = self.evaluate(here)
            if self.value(here, now) >= self.value(*best):
                best = here, now
            return -self.value(here, now), -scale * self.slope(here, now)

        bounds, options = np.column_stack([low, high]), {"gtol": aim, "ftol": 1e-15, "maxiter": _ROUND_STEPS}
        minimize(loss, np.zeros(len(x)), jac=True, method="L-BFGS-B", bounds=bounds, options=options)
        return best

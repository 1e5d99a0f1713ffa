"""σ of the labels with which left-out frames are predicted best, and those of the largest evidence."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from gapkit.gp.compress import CompressedRows
from gapkit.gp.folds import Folds, Scales
from gapkit.gp.likelihood import Likelihood, Part
from gapkit.gp.optimum import maximized
from gapkit.typing import KINDS, FloatArray, Kind

_STEP = float(np.sqrt(10.0))
_RANGE = 1e-3, 1e2  # of a factor of σ
_FAR = 3  # steps of all kinds together
_SWEEPS = 4
_NEAR = 0.03  # of a logarithm
_MATTERS = 0.01  # relative gain of errors for which a step is taken
_ALIKE = 0.01  # relative difference of errors that says nothing
_USUAL = 0.03  # relative gain of errors for which σ of a kind leaves its usual ratio to that of the others
_PART = 0.3, 1.0
"""σ in units of the error of left-out forces. A smaller one follows the sparse points, and errs far from the data. A
larger one can be best for what is like nothing else, such as new molecules, and gives away what is known."""


def score_of(errors: Mapping[Kind, float]) -> float:
    """Mean logarithm of the errors of all kinds of label."""
    return float(np.mean(np.log(list(errors.values()))))


def scales_of_least_errors(folds: Folds, start: Scales) -> dict[Kind, float]:
    """Factors of σ with which left-out frames are predicted best, in steps of √10.

    All kinds together, a factor of 30 up and down, since there may be several minima; from the best, each kind alone.
    Where errors are flat their minimum is chance: then all kinds go to the middle of the factors that do as well. In
    the end σ of the forces (without any: of the energies) is 0.3 to 1 times their error. Before, σ of energies and of
    stress go towards the ratio to that of the forces from which the factors count, as far as errors do not mind: a few
    frames that are like no other can hide what all the others would gain.

    The evidence is no guide here: where the sparse points are too few for the data it takes what they cannot say for
    noise of the energies, of which there are few, and gives these away.
    """
    kinds = list(folds.errors(start))
    best = {kind: start[kind] for kind in kinds}
    found: dict[tuple[float, ...], float] = {}

    def score(scales: Mapping[Kind, float]) -> float:
        key = tuple(round(float(np.log(scales[kind])), 6) for kind in kinds)
        if key not in found:
            found[key] = score_of(folds.errors(scales))
        return found[key]

    tried = [scales for k in range(-_FAR, _FAR + 1) if _inside(scales := _times(best, _STEP**k))]
    best = min([*tried, best], key=score)
    alone: list[list[Kind]] = [[k] for k in ("energy", "stress") if k in kinds and len(kinds) > 1]
    for _ in range(_SWEEPS):
        before = best
        for moved in [kinds, *alone]:
            best = _climbed(score, best, moved)
        if best == before:
            break
    for kind in (k for k in ("energy", "stress") if k in kinds and "forces" in kinds):
        best = _towards_usual(score, best, kind)
    best = _in_the_middle(score, best)
    errors = folds.errors(best)
    guide: Kind = "forces" if "forces" in errors else kinds[0]
    error = errors[guide] / best[guide]
    factor, least = float(np.clip(1.0, _PART[0] * error, _PART[1] * error)), _RANGE[0] / min(best.values())
    return _times(best, max(factor, min(1.0, least)))


def _towards_usual(
    score: Callable[[Mapping[Kind, float]], float], best: dict[Kind, float], kind: Kind
) -> dict[Kind, float]:
    """The same with the factor of one kind as near to that of the forces as errors allow."""
    limit, found = score(best) + _USUAL, best
    while (ratio := best[kind] / found["forces"]) and abs(np.log(ratio)) > 0.5 * np.log(_STEP):
        best = {**best, kind: best[kind] * (_STEP if ratio < 1.0 else 1.0 / _STEP)}
        if not _inside(best) or score(best) > limit:
            break
        found = best
    return found


def _inside(scales: Mapping[Kind, float]) -> bool:
    return all(_RANGE[0] <= factor <= _RANGE[1] for factor in scales.values())


def _in_the_middle(score: Callable[[Mapping[Kind, float]], float], best: dict[Kind, float]) -> dict[Kind, float]:
    """The middle, or the larger one next to it, of the factors of all kinds about the best that are no worse."""
    limit, ends = score(best) + _ALIKE, []
    for sign in (-1, 1):
        k = 0
        while _inside(tried := _times(best, _STEP ** (k + sign))) and score(tried) <= limit:
            k += sign
        ends.append(k)
    return _times(best, _STEP ** -(-sum(ends) // 2))


def _times(scales: Mapping[Kind, float], factor: float) -> dict[Kind, float]:
    return {kind: scale * factor for kind, scale in scales.items()}


def _climbed(
    score: Callable[[Mapping[Kind, float]], float], best: dict[Kind, float], moved: Sequence[Kind]
) -> dict[Kind, float]:
    """The best factors on the line along which some kinds move together."""
    for step in (1.0 / _STEP, _STEP):
        while True:
            tried = {kind: factor * (step if kind in moved else 1.0) for kind, factor in best.items()}
            if not _inside(tried) or score(tried) > score(best) - _MATTERS:
                break
            best = tried
    return best


class Probable(NamedTuple):
    """The largest evidence: its logarithm, the factors of σ, and the number of labels."""

    log_evidence: float
    scales: dict[Kind, float]
    n_rows: int


def most_probable(
    prior_mm: FloatArray, fixed: CompressedRows, parts: Mapping[Kind, Part], start: Scales, steps: int | None = None
) -> Probable:
    """The maximum of the evidence over σ of each kind; with `steps`, so many fixed-point steps from `start`."""
    kinds = [kind for kind in KINDS if kind in parts]
    n_rows = sum(part.n_rows for kind in kinds for part in parts[kind].rows)
    likelihood = Likelihood([prior_mm], [parts[k] for k in kinds], Part([fixed], [1.0]))
    if steps is None:
        best = maximized(likelihood, ([start[k] for k in kinds], [1.0]), ([1.0] * len(kinds), [1.0]), [False])
        sigma_g, found = best.sigma_g, best.after
    else:
        sigma_g = np.array([start[kind] for kind in kinds])
        found = likelihood.at(sigma_g, np.ones(1))
        for _ in range(steps):
            if np.abs(np.log(found.sigma_steps)).max() < _NEAR:
                break
            sigma_g = sigma_g * found.sigma_steps
            found = likelihood.at(sigma_g, np.ones(1))
    scales = {kind: float(sigma) for kind, sigma in zip(kinds, sigma_g, strict=True)}
    return Probable(found.log_evidence, scales, n_rows)

"""Settings for users who give none.

First a few sets of terms compete, by the evidence of small fits to a part of the data. Then the number of sparse points
and σ of the labels come from one fit to a larger part, by errors of frames that are left out: its compressed rows hold
those of every smaller fit and of every fold, so that learning curves and σ cost no kernel evaluation.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from gapkit.errors import DataError, NothingInReach, warn
from gapkit.gp.folds import Folds
from gapkit.gp.noise import Noise
from gapkit.model.choice import DEFAULT, GIVEN, Choice
from gapkit.model.competing import FEW_TRIPLETS, STEPS, Contest, Shape
from gapkit.model.defaults import MOST_APART, MOST_TRIPLETS, default_terms, first_sparse, shared, soap_of
from gapkit.model.parallel import one_blas_thread
from gapkit.model.prepared import Prepared
from gapkit.model.terms import Term
from gapkit.model.trials import Compressed, Judged, Trials, gain_of
from gapkit.typing import KINDS
from gapkit.units import SIGMA_UNITS

_log = logging.getLogger(__name__)

FEWEST_FRAMES = 16
"""Labelled frames below which left-out frames say too little: settings come from the structures alone."""
DOUBLING = 0.04
"""Relative gain of errors of left-out frames for which the number of sparse points is doubled."""
MOST_POINTS = 10_000
_FADING = 0.7  # gain of a doubling over that of the last one
_CURVE_ATOMS, _CURVE_FRAMES = 10_000, 200  # of the part of the data on which points and σ are chosen
_CURVE_POINTS = 1500  # most sparse points of the fit from which the curve of errors comes
_APART_DATA = 3  # elements apart are compared with mixed ones once more on data so many times as large as before
_EVIDENCE_POINTS = 500  # most sparse points with which the evidence of all data is maximised
_OPERATIONS = 5e12  # of the rows of the final fit: some minutes
_SHARE = 0.5  # of the machine's memory
_CONTRADICTING = 0.1  # eV/atom; sound data take 0.01 at most, 0.08 with cells 50 eV/atom above the others among them
_UNKNOWN = 0.8  # share of forces that is missed in left-out frames


@dataclass(frozen=True, eq=False)
class Chosen:
    """What the data decided.

    Attributes
    ----------
    terms
        Terms of the model.
    noise
        σ of the labels; None where the fit itself is to learn a factor.
    choices
        The settings, each with its reason.
    """

    terms: list[Term]
    noise: Noise | None
    choices: list[Choice]


def choose(
    data: Prepared,
    given: Mapping[str, Any],
    noise: Noise | None,
    *,
    n_jobs: int,
    ceiling: float,
    start: Noise | None = None,
) -> Chosen:
    """Terms and σ for a model of labelled structures.

    Parameters
    ----------
    data
        The structures, and what baselines know of them.
    given
        Settings that are not to be chosen: arguments of `default_terms`.
    noise
        σ of the labels. None: to be chosen.
    n_jobs, ceiling
        As in a fit.
    start
        σ from which the choice begins, where it is free; None in it leaves a kind out.
    """
    start = start or Noise()
    trials = Trials(data, noise or start, noise is None, n_jobs, ceiling)
    if len(trials.used) < FEWEST_FRAMES:
        return _by_rule(data, given, noise, f"fewer than {FEWEST_FRAMES} frames with labels")
    try:
        with one_blas_thread(), tqdm(desc="choose", unit="trial", disable=None) as bar:
            return _Search(data, dict(given), noise, trials, ceiling, bar, start).run()
    except (DataError, NothingInReach) as error:  # frames that do not fill the folds, or few with neighbours
        return _by_rule(data, given, noise, error.what)


def _by_rule(data: Prepared, given: Mapping[str, Any], noise: Noise | None, reason: str) -> Chosen:
    """Settings from the structures alone."""
    terms, choices = default_terms(data.frames, **given), [Choice("terms", "pair + SOAP", f"{reason}: by rule")]
    if k := soap_of(terms).embedding:
        choices.append(Choice("elements", f"mixed to {k} densities", f"more than {MOST_APART} elements"))
    return Chosen(terms, noise, [*choices, *_of_soap(terms, given)])


_RULES = {
    "r_cut": "about 40 neighbours, within 4 to 6 Å",
    "sigma": "a fifth of the shortest bonds, within 0.4 to 0.5 Å",
    "n_sparse": "a quarter of the atoms, 200 to 1000 per element",
}


def _of_soap(terms: Sequence[Any], given: Mapping[str, Any], told: Collection[str] = ()) -> list[Choice]:
    """The settings of the SOAP term of which nothing has been said yet."""
    soap, choices = soap_of(terms), []
    for name in ("r_cut", "sigma", "n_max", "l_max", "zeta", "n_sparse"):
        value = soap.soap.get(name, getattr(soap, name, None))
        unit = " Å" if name in ("r_cut", "sigma") else ""
        if name not in told:
            value = f"{value:g}" if isinstance(value, (int, float)) else str(value)
            choices.append(Choice(name, f"{value}{unit}", GIVEN if name in given else _RULES.get(name, DEFAULT)))
    return choices


class _Curve(NamedTuple):
    """Errors of left-out frames by number of sparse points, gain of the last doubling, and a fit with few points."""

    judged: list[tuple[int, Judged]]
    gain: float
    small: tuple[Compressed, Folds, Judged]


@dataclass(eq=False)
class _Search:
    """The choices, in the order in which they are made."""

    data: Prepared
    given: dict[str, Any]
    noise: Noise | None
    trials: Trials
    ceiling: float
    bar: Any
    start: Noise = field(default_factory=Noise)
    choices: list[Choice] = field(default_factory=list)

    def run(self) -> Chosen:
        """Terms, then their number of sparse points and σ."""
        contest = Contest(self.data, self.given, self.trials, self.bar)
        shape = contest.winner()
        self.choices += contest.choices
        frames, wanted = self.data.frames, self.given.get("n_sparse")
        noise = self.noise
        if wanted is None or noise is None:
            shape, wanted, noise = self._sized(shape, wanted, contest)
        n_sparse = wanted if "n_sparse" in self.given else shared(wanted, frames)
        terms = default_terms(frames, **{**self.given, **shape.options(MOST_TRIPLETS), "n_sparse": n_sparse})
        said = {choice.name for choice in self.choices}
        return Chosen(terms, noise, [*self.choices, *_of_soap(terms, self.given, said)])

    def _tell(self, name: str, value: str, why: str) -> None:
        self.choices.append(Choice(name, value, why))
        _log.info("%s: %s (%s)", name, value, why)

    def _sized(self, shape: Shape, wanted: Any, contest: Contest) -> tuple[Shape, Any, Noise]:
        """The shape, number of sparse points and σ, from the errors of left-out frames."""
        frames = self.data.frames
        first = first_sparse(frames) if wanted is None else wanted
        n = min(first, _CURVE_POINTS) if isinstance(first, int) else first
        curve = self._curve(self._rows(shape, n))
        if self._looks_twice(shape, contest):
            shape, curve = self._apart(shape, curve, n, wanted)
        scales = curve.judged[-1][1].scales
        if wanted is None and curve.judged[-1][0] < 0.99 * n:  # there are no more distinct environments
            wanted = curve.judged[-1][0]
            self._tell("n_sparse", str(wanted), "all environments that are distinct")
        elif wanted is None:
            half, points = (k for k, _ in curve.judged[-2:])
            wanted, shrinking = self._points(points, curve.gain)
            what = "errors of forces" if "forces" in scales else "errors"
            told = f"{what} of left-out frames fall by {100 * curve.gain:.0f} % from {half} to {points}"
            limit = "; the most for these data and this machine" if wanted == self._most_points() else ""
            self._tell("n_sparse", str(wanted), f"{told}, doubled while it is worth {100 * DOUBLING:.0f} %{limit}")
            scales = {kind: scale * shrinking for kind, scale in scales.items()}
        noise = self.noise
        if noise is None:
            noise = self.start.scaled({str(kind): factor for kind, factor in scales.items()})
            self._tell_noise(noise, curve.small)
            _warn_of_energies(noise)
            _warn_of_forces(curve)
        return shape, wanted, noise

    def _rows(self, shape: Shape, n: Any) -> Compressed:
        """Rows of the larger part of the data, in folds."""
        part = self.trials.some(_CURVE_ATOMS, _CURVE_FRAMES)  # which may lack an element
        n_sparse = n if "n_sparse" in self.given else shared(n, [self.data.frames[s] for s in part])
        options = {**shape.options(FEW_TRIPLETS), "n_sparse": n_sparse}
        made = self.trials.compressed(default_terms(self.data.frames, **{**self.given, **options}), part, folds=True)
        self.bar.update()
        return made

    def _looks_twice(self, shape: Shape, contest: Contest) -> bool:
        """Whether elements were mixed that could stay apart, and there are far more data than in the contest."""
        n_atoms = sum(self.data.frames[s].n_atoms for s in self.trials.some(_CURVE_ATOMS, _CURVE_FRAMES))
        may_part = contest.n_species <= MOST_APART and not contest.strangers
        return shape.embedding is not None and may_part and n_atoms >= _APART_DATA * contest.n_atoms

    def _apart(self, shape: Shape, mixed: _Curve, n: Any, wanted: Any) -> tuple[Shape, _Curve]:
        """The same with elements apart, if errors of left-out frames will be smaller with the points of the final fit.

        Elements apart gain more from more points: the difference goes on as it went from a quarter of them to all.
        """
        other = replace(shape, embedding=None, alchemical=False)
        apart = self._curve(self._rows(other, n))
        first, last = (apart.judged[k][1].score - mixed.judged[k][1].score for k in (0, -1))
        points = mixed.judged[-1][0]
        doublings = np.log2([points / mixed.judged[0][0], self._points(points, mixed.gain)[0] / points])
        slope = min(0.0, last - first) / doublings[0] if doublings[0] else 0.0
        ahead = last + (slope * doublings[1] if wanted is None else 0.0)
        k = next(k for k, choice in enumerate(self.choices) if choice.name == "elements")
        than = "larger" if ahead > 0.0 else "smaller"
        by = f"{100 * abs(np.expm1(ahead)):.0f} % {than}"
        why = f"; with all data and points, errors of left-out frames are about {by} apart"
        told = self.choices[k]
        _log.info("apart over mixed: %.3f with few, %.3f with %d points, %.3f ahead", first, last, points, ahead)
        self.choices[k] = replace(told, value=told.value if ahead > 0.0 else other.elements, why=told.why + why)
        return (shape, mixed) if ahead > 0.0 else (other, apart)

    def _curve(self, made: Compressed) -> _Curve:
        """Errors of left-out frames with a quarter, a half and all of the sparse points; the gain of the last doubling.

        The gain is that of forces, of which there are most labels.
        """
        n = made.terms[-1].n_columns  # of SOAP
        curve, last_two = list[tuple[int, Judged]](), list[tuple[Folds, Judged]]()
        for points in sorted({max(n // 4, 1), max(n // 2, 1), n}):
            part = made if points == n else made.thinned(points)
            folds = Folds(part.prior_mm, part.fixed, part.folds)
            judged = self.trials.judged(folds, curve[-1][1].scales if curve else None)
            curve.append((points, judged if curve else self.trials.reconsidered(part, folds, judged, STEPS)))
            last_two = [*last_two[-1:], (folds, curve[-1][1])]
            if points <= _EVIDENCE_POINTS or len(curve) == 1:
                small = part, folds, curve[-1][1]
            _log.info("%d sparse points: errors in units of σ %s with σ times %s", points, *vars(curve[-1][1]).values())
            self.bar.update()
        return _Curve(curve, gain_of(*last_two) if len(last_two) > 1 else 0.0, small)

    def _points(self, points: int, gain: float) -> tuple[int, float]:
        """Number of sparse points after those of the curve, and the factor by which errors are expected to fall."""
        shrinking, most = 1.0, self._most_points()
        while gain * _FADING >= DOUBLING and points < most:
            gain *= _FADING
            step = min(2.0, most / points)
            points, shrinking = round(points * step), shrinking * float(np.exp(-gain * np.log2(step)))
        return points, shrinking

    def _most_points(self) -> int:
        """Limit of the number of sparse points: atoms, memory, time."""
        used = [self.data.frames[s] for s in self.trials.used]
        atoms = sum(f.n_atoms for f in used)
        memory = min(self.ceiling, _SHARE * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
        labels = sum(len({(f.group, kind) for f in used if kind in f.kinds}) for kind in KINDS)
        by_memory = np.sqrt(memory / (8.0 * (labels + 5)))
        by_time = np.sqrt(_OPERATIONS / (6.0 * atoms))
        return int(min(0.9 * atoms, MOST_POINTS, by_memory, by_time))

    def _tell_noise(self, noise: Noise, small: tuple[Compressed, Folds, Judged]) -> None:
        """σ, and what the evidence thinks of them: that of a fit with few points, about."""
        part, folds, judged = small
        likely = self.trials.evidence(part, judged.scales, steps=STEPS).scales
        rival = self.start.scaled({str(kind): factor for kind, factor in likely.items()})
        worse = 100.0 * float(np.expm1(Judged(folds.errors(likely), likely).score - judged.score))
        than = f"errors {abs(worse):.0f} % {'larger' if worse >= 0.0 else 'smaller'}"
        for kind in (k for k in KINDS if k in judged.errors):
            bound = ", within 0.3 to 1 times these" if kind == "forces" else ""
            theirs = f"the evidence takes about {getattr(rival, kind):.2g}, {than}"
            text = f"{getattr(noise, kind):.2g} {SIGMA_UNITS[kind]}"
            self._tell(f"sigma_{kind}", text, f"least errors of left-out frames{bound}; {theirs}")


def _warn_of_forces(curve: _Curve) -> None:
    """What it means where forces of left-out frames are hardly known."""
    errors, sizes = curve.judged[-1][1].errors, curve.small[1].sizes()
    share = errors.get("forces", 0.0) / sizes.get("forces", 1.0)
    if share > _UNKNOWN:
        what = f"Forces of left-out frames are hardly predicted: errors are {100 * share:.0f} % of their size"
        what += ". They may not belong to the structures, or these differ too much"
        warn(f"{what}. Fix: run `gapkit check` on the frames; if it finds nothing, add frames like the others.")


def _warn_of_energies(noise: Noise) -> None:
    """What such a σ of energies means."""
    if noise.energy is not None and noise.energy > _CONTRADICTING:
        what = (
            f"Energies of left-out frames contradict the rest (σ of {noise.energy:.2g} eV/atom fits them best): some "
        )
        what += "may be wrong, or of another method"
        warn(f"{what}. Fix: run `gapkit check` on the frames, leave out what it finds, and fit again.")

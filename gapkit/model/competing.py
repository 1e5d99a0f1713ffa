"""Terms that compete by the evidence of small fits to a part of the data."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from ase.data import chemical_symbols

from gapkit.atoms.frame import Frame
from gapkit.descriptors.embedding import most_similar
from gapkit.errors import NothingInReach
from gapkit.gp.folds import Scales
from gapkit.model.choice import GIVEN, Choice
from gapkit.model.defaults import MOST_APART, default_terms, distances, shared
from gapkit.model.prepared import Prepared
from gapkit.model.terms import Term, species_of
from gapkit.model.trials import Trials

_log = logging.getLogger(__name__)

WORTH = 0.01
"""Log evidence per label that matters: as much as errors that are 1 % smaller."""
STEPS = 8
"""Steps towards the largest evidence of a trial."""
FEW_TRIPLETS = 800
"""Sparse points of three-body terms until the final fit."""
_MET = 0.01  # share of the structures in which elements must be together to be known together
_WORTH_MIXING = 0.03  # log evidence per label, where all structures have one composition and none other is expected
_WORTH_RELATING = 0.1  # the same of central species that share their points, whose calls take longer
_TRIAL_POINTS = 300, 100, 700  # sparse points of a trial, those that each element adds, and the most
_TRIAL_ATOMS = 4  # for each of them, of the part of the data on which terms compete
_TRIAL_FRAMES = 20  # the fewest
_ALIKE = 0.1  # similarity of two elements from which on they compete as alike ones
_AHEAD = 0.5  # what more points would still gain, over the gain of the last doubling
_GROWTH, _CUTOFFS = 1.25, (3.0, 8.0)  # of the cutoff, Å


@dataclass(frozen=True)
class Shape:
    """What terms are made of.

    Attributes
    ----------
    r_cut, m, embedding, alchemical, alike
        As in `default_terms`.
    triplet
        Whether there is a three-body term.
    """

    r_cut: float
    m: float = 1.0
    triplet: bool = False
    embedding: int | None = None
    alchemical: bool = False
    alike: bool = False

    def options(self, triplets: int) -> dict[str, Any]:
        """Arguments of `default_terms`, where a three-body term has so many sparse points."""
        return {**vars(self), "triplet": triplets * self.triplet}

    @property
    def elements(self) -> str:
        """What becomes of the elements, for a person."""
        if self.embedding is None:
            return "alike, with a density each" if self.alike else "apart"
        return f"mixed to {self.embedding} densities" + (", sparse points in common" if self.alchemical else "")


class _Trial(NamedTuple):
    """Log evidence per label of a small fit, σ near its maximum, and what more sparse points would add."""

    log_evidence: float
    more: float

    @property
    def ahead(self) -> float:
        """As with more sparse points: what reaches farther needs more of them, and would lose with few."""
        return self.log_evidence + self.more

    def __str__(self) -> str:
        return _told(self.log_evidence)


def _told(log_evidence: float) -> str:
    return f"{log_evidence:.3f}" if np.isfinite(log_evidence) else "none (nothing in reach)"


class Contest:
    """The choice of a shape.

    Parameters
    ----------
    data
        The structures.
    given
        Settings that are not to be chosen: arguments of `default_terms`.
    trials
        What makes the small fits. They have several atoms for each sparse point, if there are so many: where nearly all
        atoms are sparse points a fit is a memory, and its evidence takes what it holds by a long reach for knowledge.
    bar
        Progress, one step for each of them.
    """

    def __init__(self, data: Prepared, given: Mapping[str, Any], trials: Trials, bar: Any) -> None:
        self._data, self._given, self._trials, self._bar = data, given, trials, bar
        self._seen: dict[Shape, _Trial] = {}
        self._scales: Scales | None = None
        self._part = trials.some(_TRIAL_ATOMS * _points_of(data.frames), _TRIAL_FRAMES)
        self.n_atoms = sum(data.frames[s].n_atoms for s in self._part)
        self.choices: list[Choice] = []

    @cached_property
    def n_species(self) -> int:
        """Number of elements of all structures."""
        return len(species_of(self._data.frames))

    @cached_property
    def one_composition(self) -> bool:
        """Whether all labelled structures have the same elements in the same ratios."""
        counts = [np.bincount(self._data.frames[s].numbers_e) for s in self._trials.used]
        return len({tuple((n // np.gcd.reduce(n)).tolist()) for n in counts}) == 1

    @cached_property
    def strangers(self) -> str:
        """Two or three elements that hardly ever are in one labelled structure, such as "Nb, Mo, W"; "" if all are.

        Apart, and with triangles, nothing is known of where they meet. Elements that are rare themselves do not count.
        """
        sets = [set(species_of([self._data.frames[s]])) for s in self._trials.used]
        least = max(1.0, _MET * len(sets))
        usual = [z for z in sorted(set().union(*sets)) if sum(z in own for own in sets) >= least]
        for few in (*combinations(usual, 2), *combinations(usual, 3)):
            if sum(own.issuperset(few) for own in sets) < least:
                return ", ".join(chemical_symbols[z] for z in few)
        return ""

    def winner(self) -> Shape:
        """Elements apart or mixed, cutoff, exponent of the weight, and whether there is a three-body term."""
        fixed = "r_cut" in self._given
        first = Shape(float(self._given["r_cut"]) if fixed else distances(self._data.frames).radius)
        first = self._mixed(first)
        gentle = first if fixed else self._cutoff(first)
        steep = replace(gentle, m=2.0) if fixed else self._cutoff(replace(gentle, m=2.0))
        best, other = sorted((gentle, steep), key=self._ahead, reverse=True)
        rivals = [s for s in self._seen if replace(s, r_cut=best.r_cut) == best]
        why = ", ".join(f"{_told(self._ahead(s))} at {s.r_cut:g} Å" for s in sorted(rivals, key=lambda s: s.r_cut))
        why = GIVEN if fixed else f"the longest of equal log evidence per label: {why}"
        chosen = self._with_triplets(best)
        self._tell("r_cut", f"{best.r_cut:g} Å", why)
        why = f"log evidence per label {_told(self._ahead(best))}; "
        why += f"with m {other.m:g} and {other.r_cut:g} Å {_told(self._ahead(other))}"
        self._tell("weight", f"(1 - 3x² + 2x³)^m of x = r/r_cut, m {best.m:g}", why)
        return chosen

    def _tell(self, name: str, value: str, why: str) -> None:
        self.choices.append(Choice(name, value, why))
        _log.info("%s: %s (%s)", name, value, why)

    def _with_triplets(self, plain: Shape) -> Shape:
        """The same with a three-body term where that is worth it."""
        if self.n_species > MOST_APART:
            self._tell("terms", "pair + SOAP", f"no triplets of more than {MOST_APART} elements")
            return plain
        if self.strangers:
            self._tell("terms", "pair + SOAP", f"no triplets, since the data do not show {self.strangers} together")
            return plain
        rival = replace(plain, triplet=True)
        without, with_triplets = self._judged(plain), self._judged(rival)
        better = with_triplets.log_evidence > without.log_evidence + WORTH
        name = "pair + triplet + SOAP" if better else "pair + SOAP"
        self._tell("terms", name, f"log evidence per label {with_triplets} with triplets, {without} without")
        return rival if better else plain

    def _mixed(self, apart: Shape) -> Shape:
        """The same with the elements mixed to as few densities as the evidence takes, if there are three or more.

        They stay apart only where that is better: mixed, a model errs less where nothing is known, as in new molecules.
        Of one composition alone they stay apart unless mixing is clearly better: apart gains more from more data.
        """
        if self.n_species < 3:
            return self._alike(apart) if self.n_species == 2 else apart
        best = replace(apart, embedding=2)
        for k in range(3, self.n_species + 1):
            rival = replace(apart, embedding=k)
            if self._ahead(rival) < self._ahead(best) + WORTH:
                break
            best = rival
        related = replace(best, alchemical=True)
        if self._ahead(related) > self._ahead(best) + _WORTH_RELATING:
            best = related
        few = self.n_species <= MOST_APART
        worth = -_WORTH_MIXING if self.one_composition else WORTH
        if few and not self.strangers and self._ahead(apart) > self._ahead(best) + worth:
            best = apart
        seen = ", ".join(f"{_told(self._ahead(shape))} {shape.elements}" for shape in self._seen)
        why = f"the data do not show {self.strangers} together; " if few and self.strangers else ""
        self._tell("elements", best.elements, f"{why}log evidence per label {seen}")
        return best

    def _alike(self, apart: Shape) -> Shape:
        """The same with two elements alike, if their chemistry is and the evidence takes it, or they never meet."""
        one, other = species_of(self._data.frames)
        if most_similar(other, [one])[1] < _ALIKE:
            return apart
        alike = replace(apart, alike=True)
        if self.strangers:
            self._tell("elements", alike.elements, f"the data do not show {self.strangers} together")
            return alike
        each = self._judged(alike), self._judged(apart)
        best = alike if each[0].log_evidence > each[1].log_evidence + WORTH else apart
        self._tell("elements", best.elements, f"log evidence per label {each[0]} alike, {each[1]} apart")
        return best

    def _cutoff(self, start: Shape) -> Shape:
        """The cutoff, from the first one in steps of a quarter: the longest with which the evidence loses little.

        The evidence is that of the forces, of which there are most labels; energies gain from a longer reach.
        """
        best = start
        while (longer := replace(best, r_cut=round(best.r_cut * _GROWTH, 1))).r_cut <= _CUTOFFS[1]:
            if self._ahead(longer) < self._ahead(best) - WORTH:
                break
            best = longer
        if best != start or start.m > 1.0:  # a steeper weight shortens the reach by itself
            return best
        while (shorter := replace(best, r_cut=round(best.r_cut / _GROWTH, 1))).r_cut >= _CUTOFFS[0]:
            if self._ahead(shorter) < self._ahead(best) + WORTH:
                break
            best = shorter
        return best

    def _ahead(self, shape: Shape) -> float:
        return self._judged(shape).ahead

    def _judged(self, shape: Shape) -> _Trial:
        """A small fit to a part of the data."""
        if shape not in self._seen:
            try:
                made = self._trials.compressed(self._terms(shape), self._part, folds=False)
            except NothingInReach:
                self._seen[shape] = _Trial(-np.inf, 0.0)
                return self._seen[shape]
            half = self._trials.evidence(made.thinned(made.terms[-1].n_columns // 2), self._scales, steps=STEPS)
            full = self._trials.evidence(made, half.scales, steps=STEPS)
            self._scales, gain = full.scales, full.log_evidence - half.log_evidence
            self._seen[shape] = _Trial(full.log_evidence / full.n_rows, _AHEAD * gain / full.n_rows)
            self._bar.update()
            _log.info("%s: log evidence per label %.4f + %.4f", shape, *self._seen[shape])
        return self._seen[shape]

    def _terms(self, shape: Shape) -> list[Term]:
        """Terms of this shape for the part of the data."""
        frames = [self._data.frames[s] for s in self._part]
        n_sparse = shared(min(_points_of(frames), sum(f.n_atoms for f in frames)), frames)
        return default_terms(self._data.frames, **{**self._given, **shape.options(FEW_TRIPLETS), "n_sparse": n_sparse})


def _points_of(frames: Sequence[Frame]) -> int:
    """Sparse points of a trial on some structures, where these have so many atoms."""
    first, each, most = _TRIAL_POINTS
    return min(first + each * len(species_of(frames)), most)

"""What came out of trials: the best settings, and whether evidence and left-out errors agree on them."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from ase import Atoms

from gapkit import GAP, Frame, Noise
from gapkit.numerics.stats import spearman
from gapkit.tuning.figure import save_trials
from gapkit.tuning.space import Space, in_words
from gapkit.tuning.trial import NOISES, SCORES, Trial, known_score
from gapkit.typing import KINDS

_ALIKE: Final = 0.01  # relative difference of errors that is none
_ENOUGH: Final = 3  # trials for a rank correlation
_SIDES: Final = 3  # values of which one may lie between the others


@dataclass(frozen=True, eq=False)
class Tuning:
    """What came out of `tune`.

    Attributes
    ----------
    trials
        All settings that were tried; the first one is that of the starting model.
    base
        The starting model, not fitted.
    space
        What was varied.
    seed
        Of the choice of sparse points.
    by
        What the best settings are chosen by, see `Trial.score`.
    left_out
        What was left out together: ``trajectory``, ``frame``, ``groups``.
    noise
        Whose σ the trials have, see `tune`.
    """

    trials: tuple[Trial, ...]
    base: GAP
    space: Space
    seed: int
    by: str
    left_out: str
    noise: str = NOISES[0]

    @property
    def best(self) -> Trial:
        """The trial with the smallest score."""
        return min(self.trials, key=lambda trial: trial.score(self.by))

    @property
    def best_by_evidence(self) -> Trial:
        """The trial with the largest evidence."""
        return max(self.trials, key=lambda trial: trial.log_evidence)

    @property
    def best_by_errors(self) -> Trial:
        """The trial with the smallest errors, energies and forces together."""
        return min(self.trials, key=lambda trial: trial.score(SCORES[0]))

    @property
    def rank_correlation(self) -> float:
        """Spearman's, of the log evidence and minus the score of errors; 1 where they agree. nan for under 3 trials."""
        pairs = [(t.log_evidence, -t.score(SCORES[0])) for t in self.trials if t.mae]
        return spearman(*map(np.array, zip(*pairs, strict=True))) if len(pairs) >= _ENOUGH else math.nan

    @property
    def loss(self) -> float:
        """By what fraction the errors of the choice by evidence are larger than the smallest (geometric mean)."""
        return math.expm1(self.best_by_evidence.score(SCORES[0]) - self.best_by_errors.score(SCORES[0]))

    @property
    def agrees(self) -> bool:
        """Whether evidence and errors choose the same settings, or such with errors that differ by less than 1 %."""
        return self.best_by_evidence is self.best_by_errors or self.loss < _ALIKE

    @property
    def agreement(self) -> str:
        """A sentence on whether evidence and errors choose the same, and what it costs to follow the evidence."""
        evidence, errors, n = self.best_by_evidence, self.best_by_errors, len(self.trials)
        rank = "" if math.isnan(self.rank_correlation) else f"; rank correlation {self.rank_correlation:.2f}"
        rank += f" over {n} trials" if n > 1 else ", the only trial"
        if evidence is errors:
            return f"Evidence and left-out errors agree on {in_words(errors.settings)}{rank}."
        if not evidence.mae:
            return f"Errors of the choice by evidence, {in_words(evidence.settings)}, are not known{rank}."
        change = {kind: 100.0 * (evidence.mae[kind] / errors.mae[kind] - 1.0) for kind in KINDS if kind in errors.mae}
        more = ", ".join(f"{kind} {percent:+.1f} %" for kind, percent in change.items())
        differ = [name for name, value in errors.settings.items() if evidence.settings[name] != value]
        theirs = in_words({name: evidence.settings[name] for name in differ})
        ours = in_words({name: errors.settings[name] for name in differ})
        verdict = "agree within 1 %" if self.agrees else "disagree"
        gain = evidence.log_evidence - errors.log_evidence
        return (
            f"Evidence and left-out errors {verdict}: the evidence prefers {theirs} (log evidence {gain:+.1f}), "
            f"errors {ours}. With the choice by evidence they are {more}{rank}."
        )

    @property
    def at_edge(self) -> dict[str, float]:
        """Settings of which the best value is the smallest or largest of three or more that were tried: beyond it there
        may be a better one."""
        found = {}
        for name in self.space.values:
            tried = {trial.settings[name] for trial in self.trials}
            numbers = [value for value in tried if isinstance(value, (int, float)) and not isinstance(value, bool)]
            best = self.best.settings[name]
            if len(numbers) == len(tried) >= _SIDES and best in (min(numbers), max(numbers)):
                found[name] = best
        return found

    def model(self, by: str | None = None) -> GAP:
        """The model with the best settings, not fitted; `by` another of the scores."""
        trial = min(self.trials, key=lambda trial: trial.score(known_score(by or self.by)))
        settings = {**self.base.get_params(deep=False), "terms": self.space.changed(dict(trial.settings))}
        return GAP(**settings | ({"noise": Noise(**trial.noise)} if self.noise == "kind" else {}))

    def fit(self, frames: Iterable[Atoms] | Iterable[Frame], by: str | None = None) -> GAP:
        """The model with the best settings, fitted to structures with the seed of the trials."""
        return self.model(by).fit(frames, rng=self.seed)

    def plot(self, path: str | os.PathLike[str]) -> None:
        """Write a figure of errors against evidence, in the format of the file name."""
        save_trials(self.trials, self.best, self.best_by_evidence, path)

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain numbers and text, for JSON: meV/atom, eV/Å, GPa."""
        return {
            "best": self.best.as_dict(),
            "best_by_evidence": self.best_by_evidence.as_dict(),
            "by": self.by,
            "left_out": self.left_out,
            "at_edge": self.at_edge,
            "agrees": self.agrees,
            "agreement": self.agreement,
            "loss": self.loss if math.isfinite(self.loss) else None,
            "rank_correlation": None if math.isnan(self.rank_correlation) else self.rank_correlation,
            "seed": self.seed,
            "trials": [trial.as_dict() for trial in self.trials],
        }

"""The order in which settings are tried: all of them, or one dimension after the other."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import prod

from tqdm import tqdm

from gapkit import ConfigError
from gapkit._check import positive, whole
from gapkit.tuning.checkpoint import Checkpoint
from gapkit.tuning.space import Settings, Space, in_words
from gapkit.tuning.trial import Bench, Trial, leave_aside

_UNITS = {"": 1.0, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


class Spent(Exception):
    """Nothing is left of the budget."""


@dataclass(frozen=True)
class Budget:
    """What a search may take: a number of trials, or seconds."""

    trials: float = float("inf")
    seconds: float = float("inf")

    @classmethod
    def of(cls, given: object) -> Budget:
        """A whole number of trials; a time as text ('10min', '2h') or, in seconds, as a float; None: no limit."""
        if given is None:
            return cls()
        if isinstance(given, str):
            match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*(s|min|h|d)\s*", given)
            if match is None:
                fix = "give '90s', '10min', '2h', or a number of trials"
                raise ConfigError(f"budget='{given}' is no time", fix=fix)
            return cls(seconds=positive("budget", float(match[1]) * _UNITS[match[2]], "s"))
        if isinstance(given, float):
            return cls(seconds=positive("budget", given, "s"))
        return cls(trials=whole("budget", given))


class Search:
    """Runs trials until all are done or the budget is spent."""

    def __init__(self, bench: Bench, checkpoint: Checkpoint, budget: Budget, score: str) -> None:
        self._bench, self._checkpoint, self._budget, self._score = bench, checkpoint, budget, score
        self._space: Space = bench.space
        self.done: dict[str, Trial] = {}
        self._fits: list[float] = []  # seconds of each
        for trial in checkpoint.trials:
            settings = self._space.of_another(trial.settings)
            if settings is not None:
                self.done[self._space.key(settings)] = replace(trial, settings=settings)

    def run(self, whole_grid: bool) -> None:
        """Try the start, then all settings if the budget has room for them, else one dimension after the other.

        Parameters
        ----------
        whole_grid
            Whether all settings are wanted.
        """
        outer = [name for name in self._space.values if name not in self._space.shared]
        with tqdm(initial=len(self.done), desc="tune", unit="trial", disable=None) as bar:
            self._bar = bar
            try:
                self._tried({name: self._space.values[name][0] for name in outer})
                if whole_grid and self._fits_in(prod(len(self._space.values[name]) for name in outer)):
                    for values in product(*(self._space.values[name] for name in outer)):
                        self._tried(dict(zip(outer, values, strict=True)))
                else:
                    self._one_by_one(outer)
                if self._bench.refused and len(self.done) == 1:  # there is nothing to compare
                    raise next(error for _, error in self._bench.refused.values())
            except Spent:
                pass

    def tell(self) -> None:
        """Warn of settings that cannot be fitted: of the first ones for each reason."""
        by_reason = {str(error): (settings, error) for settings, error in reversed(self._bench.refused.values())}
        for settings, error in reversed(by_reason.values()):
            leave_aside(settings, error)

    def _fits_in(self, n_fits: int) -> bool:
        """Whether the budget has room for so many fits like the first, with all that shares its rows."""
        each = prod(len(self._space.values[name]) for name in self._space.shared)
        first = sum(trial.seconds for trial in list(self.done.values())[:each])
        return n_fits * each <= self._budget.trials and n_fits * first <= self._budget.seconds

    def _one_by_one(self, outer: list[str]) -> None:
        """Take the best value of each dimension, others at their best so far, until nothing changes any more."""
        best = {name: self._space.values[name][0] for name in outer}
        least, changed = self._tried(best), True
        while changed:
            changed = False
            for name in outer:
                for value in self._space.values[name]:
                    found = self._tried({**best, name: value})
                    if found < least:
                        best, least, changed = {**best, name: value}, found, True

    def _tried(self, outer: Settings) -> float:
        """The least score of these settings, over all that shares their rows; Spent before it would cost too much.

        Infinite where none of them can be fitted.
        """
        shared = self._space.shared
        inner = [dict(zip(shared, values, strict=True)) for values in product(*(self._space.values[n] for n in shared))]
        each = [{name: (outer | own)[name] for name in self._space.values} for own in inner]
        while missing := self._missing(each)[: self._room()]:
            self._fits.append(0.0)
            for trial in self._bench.trials(missing):
                self.done[self._space.key(trial.settings)] = trial
                self._checkpoint.add(trial)
                self._fits[-1] += trial.seconds
                self._bar.update()
                self._bar.set_postfix_str(in_words(trial.settings))
        if self._missing(each):
            raise Spent
        found = [self.done[key] for key in map(self._space.key, each) if key in self.done]
        return min((trial.score(self._score) for trial in found), default=math.inf)

    def _missing(self, each: Sequence[Settings]) -> list[Settings]:
        """Those that were neither tried nor refused."""
        return [own for own in each if self._space.key(own) not in {**self.done, **self._bench.refused}]

    def _room(self) -> int:
        """Number of trials for which the budget has room; the first fit is always made."""
        if not self.done:
            return int(min(self._budget.trials, 10**9))
        spent = sum(trial.seconds for trial in self.done.values())
        mean = sum(self._fits) / len(self._fits) if self._fits else 0.0
        if spent + mean > self._budget.seconds:
            return 0
        return int(min(max(0, self._budget.trials - len(self.done)), 10**9))

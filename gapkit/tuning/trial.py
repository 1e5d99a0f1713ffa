"""One setting that was tried: its evidence, and the errors of training structures that were left out."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any, Final

from gapkit import GAP, ConfigError, DataError, GapkitError, GapkitWarning
from gapkit.errors import nearest, warn
from gapkit.tuning.space import Settings, Space, in_words
from gapkit.typing import Kind
from gapkit.units import REPORTED

SCORES: Final = ("leave_one_out", "energy", "forces", "stress", "evidence")

NOISES: Final = ("model", "kind")
"""Whose σ a trial has: those of the model, or of each kind of label that at the maximum of its evidence."""

_LEAST: Final = 1e-12  # errors below it are zero


@dataclass(frozen=True)
class Trial:
    """One setting of the model.

    Attributes
    ----------
    settings
        Value of each name of the space.
    log_evidence
        Log marginal likelihood of the labels.
    mae, rmse
        Errors of training structures that were left out, by kind: eV/atom, eV/Å, eV/Å³. Empty if that is not possible.
    noise
        σ of the labels with which the model was fitted, the arguments of `Noise`.
    n_sparse
        Number of sparse points of all terms.
    seconds
        Time that it took; of models that share their kernel rows, the first bears these.
    """

    settings: Mapping[str, Any]
    log_evidence: float
    mae: Mapping[Kind, float]
    rmse: Mapping[Kind, float]
    noise: Mapping[str, Any]
    n_sparse: int
    seconds: float

    def score(self, by: str) -> float:
        """What is to be small.

        ``leave_one_out``: mean of the logarithms of the mean absolute errors of energies per atom and of force
        components, so that 1 % of one weighs as much as 1 % of the other; a kind without labels does not count. The
        name of a kind: the logarithm of its error. ``evidence``: minus the log evidence.
        """
        if by == "evidence":
            return -self.log_evidence
        kinds: Sequence[Any] = [k for k in ("energy", "forces") if k in self.mae] if by == "leave_one_out" else [by]
        kinds = kinds or list(self.mae)
        if not self.mae or any(kind not in self.mae for kind in kinds):
            return math.inf
        return sum(math.log(max(self.mae[kind], _LEAST)) for kind in kinds) / len(kinds)

    def as_dict(self) -> dict[str, Any]:
        """The trial as plain numbers: meV/atom, eV/Å, GPa; the unit is part of the name."""
        document: dict[str, Any] = {"settings": dict(self.settings), "log_evidence": self.log_evidence}
        for kind, unit in REPORTED.items():
            if kind in self.mae:
                errors = {"mae": self.mae[kind], "rmse": self.rmse[kind]}
                document[kind] = {f"{n}_{unit.name}": unit.scale * error for n, error in errors.items()}
        return document | {"noise": dict(self.noise), "n_sparse": self.n_sparse, "seconds": self.seconds}


class Bench:
    """Makes trials: structures are read once, and kernel rows serve all powers ζ and all numbers of sparse points.

    Parameters
    ----------
    base
        The model to start from.
    data
        What it prepared.
    together
        A label for each structure: those with the same label are left out together. None: each by itself.
    seed
        Of the choice of sparse points.
    noise
        One of `NOISES`.
    """

    def __init__(
        self, base: GAP, data: Any, space: Space, together: Sequence[Any] | None, seed: int, noise: str = NOISES[0]
    ) -> None:
        self.base, self.data, self.space, self.together, self.seed = base, data, space, together, seed
        self._each_kind = noise == "kind"
        self._said = False
        self.refused: dict[str, tuple[Settings, ConfigError]] = {}
        """Settings that cannot be fitted, and why, by `Space.key`."""

    def trials(self, each: Sequence[Settings]) -> Iterator[Trial]:
        """Trials of settings that differ in what shares kernel rows alone, see `Space.shared`.

        There is none of settings that do not go together, which are `refused`; ConfigError for those of the start.
        """
        started, nested = time.perf_counter(), self.space.nested
        most = {nested: max(settings[nested] for settings in each)} if nested else {}
        largest = {self.space.key({**settings, **most}): {**settings, **most} for settings in each}
        try:
            models = dict(zip(largest, self._fits(list(largest.values())), strict=True))
        except ConfigError as error:
            if len(largest) == 1:
                self._refuse(each, error)
                return
            for key in largest:  # perhaps others can be fitted
                yield from self.trials([own for own in each if self.space.key({**own, **most}) == key])
            return
        for settings in each:
            whole = models[self.space.key({**settings, **most})]
            model = self._part(whole, int(settings[nested])) if nested else whole
            yield self._judged(settings, model, started)
            started = time.perf_counter()

    def _fits(self, each: Sequence[Settings]) -> list[GAP]:
        """Models with these settings, fitted."""
        with warnings.catch_warnings():
            if self._said:
                warnings.simplefilter("ignore", GapkitWarning)  # the same in every fit; the first one has said it
            terms = [self.space.changed(settings) for settings in each]
            fits = self.base.fit_each(terms, self.data, rng=self.seed, keep_rows=True)
        self._said = True
        return fits

    def _refuse(self, each: Sequence[Settings], error: ConfigError) -> None:
        """Remember settings that cannot be fitted."""
        if self.space.start in each:
            raise error
        self.refused |= {self.space.key(settings): (settings, error) for settings in each}

    def _part(self, whole: GAP, n: int) -> GAP:
        """The model on n of the sparse points, or on all if there are no more."""
        term = self.space.knobs[[k.name for k in self.space.knobs].index(self.space.nested)].term
        return whole.thinned(n) if n < whole.state_.terms[term].n_columns else whole

    def _judged(self, settings: Settings, model: GAP, started: float) -> Trial:
        if self._each_kind:
            model = copy(model).maximize_evidence("kind", delta=False)
        try:
            errors = model.leave_one_out_errors(self.data, self.together)
        except DataError as error:  # H is I to rounding
            leave_aside(settings, error)
            errors = {}
        return Trial(
            settings=dict(settings),
            log_evidence=model.log_evidence_,
            mae={kind: own.mae for kind, own in errors.items()},
            rmse={kind: own.rmse for kind, own in errors.items()},
            noise=model.state_.noise.get_params(deep=False),
            n_sparse=sum(term.n_columns for term in model.state_.terms),
            seconds=time.perf_counter() - started,
        )


def leave_aside(settings: Settings, error: GapkitError) -> None:
    """Warn of settings that cannot be judged."""
    what = f"{in_words(settings)} is left aside: {error.what[0].lower()}{error.what[1:]}."
    warn(f"{what} Fix: {error.fix}.")


def known_score(name: str) -> str:
    """A name of `SCORES`, or ConfigError."""
    if name not in SCORES:
        raise ConfigError(f"score='{name}' does not exist", fix=nearest(str(name), SCORES))
    return name

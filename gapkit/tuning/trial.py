"""One setting that was tried: its evidence, and the errors of training structures that were left out."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any, Final

from gapkit import GAP, DataError, GapkitWarning
from gapkit.tuning.space import Settings, Space, in_words
from gapkit.typing import Kind
from gapkit.units import GPA

UNITS: Final[Mapping[Kind, tuple[str, float]]] = {
    "energy": ("meV_per_atom", 1000.0),
    "forces": ("eV_per_A", 1.0),
    "stress": ("GPa", 1.0 / GPA),
}
"""Unit of each kind in reports, and that unit's number per eV/atom, eV/Å or eV/Å³."""

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
        for kind, (unit, scale) in UNITS.items():
            if kind in self.mae:
                values = {f"mae_{unit}": scale * self.mae[kind], f"rmse_{unit}": scale * self.rmse[kind]}
                document[kind] = values
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

    def trials(self, each: Sequence[Settings]) -> Iterator[Trial]:
        """Trials of settings that differ in what shares kernel rows alone, see `Space.shared`."""
        started, nested = time.perf_counter(), self.space.nested
        most = {nested: max(settings[nested] for settings in each)} if nested else {}
        largest = {self.space.key({**settings, **most}): {**settings, **most} for settings in each}
        with warnings.catch_warnings():
            if self._said:
                warnings.simplefilter("ignore", GapkitWarning)  # the same in every fit; the first one has said it
            terms = [self.space.changed(settings) for settings in largest.values()]
            fits = self.base.fit_each(terms, self.data, rng=self.seed, keep_rows=True)
        self._said = True
        models = dict(zip(largest, fits, strict=True))
        for settings in each:
            whole = models[self.space.key({**settings, **most})]
            model = self._part(whole, int(settings[nested])) if nested else whole
            yield self._judged(settings, model, started)
            started = time.perf_counter()

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
            what = f"{in_words(settings)} is left aside: {error.what[0].lower()}{error.what[1:]}."
            warnings.warn(f"{what} Fix: {error.fix}.", GapkitWarning, stacklevel=2)
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

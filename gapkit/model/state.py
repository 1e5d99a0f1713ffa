"""All that a fit learns, in one immutable piece."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from ase.data import chemical_symbols

from gapkit._check import whole
from gapkit.atoms.frame import Frame
from gapkit.atoms.keys import Keys
from gapkit.baselines.base import Baseline
from gapkit.gp.calibration import Calibration
from gapkit.gp.compress import CompressedRows
from gapkit.gp.noise import Noise
from gapkit.gp.posterior import Posterior, solve
from gapkit.gp.term import ISOLATED, SparseTerm
from gapkit.model.fitting import sigmas_of, training_errors
from gapkit.model.known import OpenScale
from gapkit.model.parallel import one_blas_thread
from gapkit.model.terms import Term
from gapkit.typing import FloatArray, IntArray

_log = logging.getLogger(__name__)


class Source(NamedTuple):
    """A structure of the fit that sparse points come from: file and frame, and config_type."""

    where: str
    group: str


def sources_of(frames: Sequence[Frame], terms: Iterable[SparseTerm]) -> dict[int, Source]:
    """The structures that sparse points come from, by their index; folders are left out of their names."""
    used = {int(s) for term in terms for origins in term.origins.values() for s in origins.frame_m if s >= 0}
    return {s: Source(re.split(r"[/\\]", frames[s].where)[-1] or f"frame {s}", frames[s].group) for s in sorted(used)}


@dataclass(frozen=True, eq=False)
class ModelState:
    """A fitted model.

    Attributes
    ----------
    settings, terms
        The user's terms, and the same with their sparse points chosen.
    noise
        σ of the labels.
    e0
        Energy of the isolated atom by atomic number, eV.
    baselines
        Known physics, complete: nothing of it is left open.
    prior_mm
        Upper triangular factor of K_mm/δ².
    posterior
        Weights, factors, evidence.
    rows
        Compressed training data; None where a model was saved without them.
    hashes
        One number per training frame, by which it is known again.
    training
        Numbers of frames and atoms, and training errors.
    calibration
        From raw to honest σ; None for a model that was not calibrated.
    sources
        The training structures that sparse points come from, by their index in the fit.
    keys
        Names under which structures hold their labels and charges.
    open_b
        Baselines whose scale the fit found. They are not saved.
    """

    settings: Sequence[Term]
    terms: Sequence[SparseTerm]
    noise: Noise
    e0: Mapping[int, float]
    baselines: Sequence[Baseline]
    prior_mm: FloatArray
    posterior: Posterior
    rows: Sequence[CompressedRows] | None
    hashes: np.ndarray
    training: Mapping[str, Any] = field(default_factory=dict)
    calibration: Calibration | None = None
    sources: Mapping[int, Source] = field(default_factory=dict)
    keys: Keys = field(default_factory=Keys)
    open_b: Sequence[OpenScale] = ()

    @property
    def species(self) -> tuple[int, ...]:
        """Atomic numbers that the model knows, ascending."""
        return tuple(sorted(set(self.e0).intersection(*(term.descriptor.species for term in self.terms))))

    @property
    def guessed(self) -> tuple[int, ...]:
        """Elements whose e0 is no energy of an isolated atom, but from least squares; files before schema 4 forgot."""
        return tuple(self.training.get("guessed", ()))

    @cached_property
    def guessed_m(self) -> IntArray:
        """Columns of the isolated atoms of these elements, of which no label tells."""
        found = [
            columns.start + own.start + np.flatnonzero(term.origins[channel].frame_m == ISOLATED)
            for term, columns in zip(self.terms, self.slices, strict=True)
            for channel, own in term.columns.items()
            if channel in term.origins and channel[0] in self.guessed
        ]
        return np.concatenate([np.empty(0, dtype=np.int64), *found])

    def is_compared(self, term: SparseTerm) -> bool:
        """Whether atoms are compared with its sparse points: if these are environments, or no term has such."""
        many_body = [all(len(channel) == 1 for channel in t.descriptor.channels) for t in self.terms]
        return many_body[list(self.terms).index(term)] or not any(many_body)

    @property
    def reach(self) -> float:
        """Largest distance at which an atom sees another, Å."""
        return max(term.descriptor.reach for term in self.terms)

    @property
    def varied_b(self) -> Sequence[OpenScale]:
        """Baselines whose scale the compressed data can find again: none after other data or baselines came."""
        present = {id(baseline) for baseline in self.baselines}
        stay = all(id(one.baseline) in present for one in self.open_b)
        return self.open_b if stay and all(part.open_nb is not None for part in self.rows or ()) else ()

    @property
    def slices(self) -> list[slice]:
        """Columns of each term among the columns of the model."""
        edges = np.cumsum([0] + [t.n_columns for t in self.terms])
        return [slice(a, b) for a, b in pairwise(edges)]

    def origin(self, column: int) -> str:
        """Where a sparse point comes from, in words; empty where that is not known."""
        column = whole("column", column, -1, sum(t.n_columns for t in self.terms) - 1)
        for term, columns in zip(self.terms, self.slices, strict=True):
            for channel, own in term.columns.items():
                m = column - columns.start - own.start
                if 0 <= m < own.stop - own.start and channel in term.origins:
                    origins, symbol = term.origins[channel], chemical_symbols[channel[0]]
                    return self._origin(int(origins.frame_m[m]), int(origins.atom_m[m]), symbol)
        return ""

    def _origin(self, frame: int, atom: int, symbol: str) -> str:
        if frame == ISOLATED:
            return f"isolated {symbol} atom"
        if frame not in self.sources:
            return ""
        where, group = self.sources[frame]
        return f"{where}, atom {atom} ({symbol})" + (f", {group}" if group != "default" else "")


def solved(state: ModelState) -> ModelState:
    """The model conditioned on its compressed data, with the noise it has."""
    used, sigmas = sigmas_of(state.rows or (), state.noise)
    with one_blas_thread():
        posterior = solve(state.prior_mm, used, sigmas)
    _log.info("log evidence %.1f", posterior.log_evidence)
    errors = training_errors(used, posterior.weights_m)
    training = {name: value for name, value in state.training.items() if name != "evidence"}  # of other data or noise
    return replace(state, posterior=posterior, training={**training, "errors": errors})

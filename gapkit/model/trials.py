"""Small fits to folds of the data, by which settings are judged."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from gapkit.atoms.frame import Frame
from gapkit.atoms.trajectories import TrajectoryKFold, trajectories
from gapkit.baselines.isolated import is_isolated
from gapkit.errors import GapkitWarning
from gapkit.gp.compress import CompressedRows, vanish
from gapkit.gp.evidence import learn_baseline_scales
from gapkit.gp.folds import Folds, Scales
from gapkit.gp.likelihood import Part
from gapkit.gp.noise import Noise
from gapkit.gp.term import SparseTerm
from gapkit.model.fitting import compress, isolated_rows, prior_factor, sigma_of, sigmas_of
from gapkit.model.memory import pool_bytes
from gapkit.model.prepared import Prepared
from gapkit.model.settings import name_of
from gapkit.model.sigmas import Probable, most_probable, scales_of_least_errors, score_of
from gapkit.model.terms import Term, species_of
from gapkit.model.thinning import of_columns, staying
from gapkit.numerics.factor import qr_triangle
from gapkit.typing import KINDS, FloatArray, Kind

_log = logging.getLogger(__name__)

N_FOLDS = 4
_FAR_BETTER = 0.2  # of a logarithm


@dataclass(frozen=True, eq=False)
class Judged:
    """Errors of left-out frames.

    Attributes
    ----------
    errors
        By kind, as `Folds.errors` means them, in units of the σ that the trials began with.
    scales
        Factors of σ that they are for.
    """

    errors: Mapping[Kind, float]
    scales: Scales

    @property
    def score(self) -> float:
        """Mean logarithm of the errors of all kinds."""
        return score_of(self.errors)


@dataclass(frozen=True, eq=False)
class Compressed:
    """Compressed rows of some terms.

    Attributes
    ----------
    terms
        The terms with their sparse points.
    prior_mm, fixed
        Factor of the prior, rows of isolated atoms.
    folds
        The rows of each fold, by kind of label.
    """

    terms: Sequence[SparseTerm]
    prior_mm: FloatArray
    fixed: CompressedRows
    folds: Sequence[Mapping[Kind, Part]]

    def thinned(self, n_sparse: int) -> Compressed:
        """The same with fewer sparse points; `terms` keep all of theirs."""
        columns = staying(self.terms, n_sparse)

        def thinner(part: Part) -> Part:
            return replace(part, rows=[of_columns(rows, columns) for rows in part.rows])

        folds = [{kind: thinner(part) for kind, part in own.items()} for own in self.folds]
        return Compressed(self.terms, qr_triangle(self.prior_mm[:, columns]), of_columns(self.fixed, columns), folds)

    @property
    def parts(self) -> dict[Kind, Part]:
        """All rows by kind of label."""
        both: dict[Kind, Part] = {}
        for kind in KINDS:
            own = [fold[kind] for fold in self.folds if kind in fold]
            if own:
                both[kind] = Part([r for p in own for r in p.rows], [s for p in own for s in p.sigmas])
        return both


class Trials:
    """Fits to folds of some of the structures, trajectories on one side.

    Parameters
    ----------
    data
        All structures.
    noise
        σ that the trials begin with.
    free
        Whether σ are chosen anew in every trial.
    n_jobs, ceiling
        As in a fit.

    Raises
    ------
    DataError
        The structures do not fill the folds.
    """

    def __init__(self, data: Prepared, noise: Noise, free: bool, n_jobs: int, ceiling: float) -> None:
        self._data, self._noise, self._free = data, noise, free
        self._n_jobs, self._ceiling = n_jobs, ceiling
        self._run_s = trajectories(data.frames)
        self.used = np.array([s for s, f in enumerate(data.frames) if f.kinds and not is_isolated(f)], dtype=np.int64)

    def some(self, n_atoms: int, n_frames: int) -> np.ndarray:
        """A random part of the structures with about so many atoms, but at least so many frames; in order."""
        drawn = np.random.default_rng(0).permutation(self.used)
        enough = np.cumsum([self._data.frames[s].n_atoms for s in drawn]) >= n_atoms
        return np.sort(drawn[: max(n_frames, 1 + int(np.argmax(enough)) if enough.any() else len(drawn))])

    def compressed(self, terms: Sequence[Term], part: np.ndarray, folds: bool) -> Compressed:
        """Rows of some structures, with sparse points among them; with `folds`, those of each fold by themselves."""
        frames, known = [self._data.frames[s] for s in part], [self._data.known[s] for s in part]
        random, pool = np.random.default_rng(0), pool_bytes(self._ceiling)
        with warnings.catch_warnings():  # of fewer distinct environments than points
            warnings.simplefilter("ignore", GapkitWarning)
            fitted = [term.choose(name_of(term, k), frames, random, pool, self._n_jobs) for k, term in enumerate(terms)]

        def rows_of(own: Sequence[int]) -> list[CompressedRows]:
            structures, theirs = [frames[s] for s in own], [known[s] for s in own]
            return compress(structures, fitted, theirs, self._noise, self._n_jobs, self._ceiling, progress=False)

        parts = _telling([rows_of(own) for own in (self._dealt(frames, part) if folds else [range(len(frames))])])
        prior_mm, n_open = prior_factor(fitted), len(self._data.found_b)
        exact = isolated_rows(fitted, species_of(frames), n_open)
        everything = [exact, *(rows for own in parts for rows in own)]
        scales_b = learn_baseline_scales(prior_mm, *sigmas_of(everything, self._noise), n_open)
        return Compressed(
            fitted,
            prior_mm,
            exact.minus(scales_b),
            [_by_kind([rows.minus(scales_b) for rows in own], self._noise) for own in parts],
        )

    def _dealt(self, frames: Sequence[Frame], part: np.ndarray) -> list[list[int]]:
        """Indices of the structures of each fold."""
        with warnings.catch_warnings():  # long runs are cut, and the reasons of a choice say so
            warnings.simplefilter("ignore", GapkitWarning)
            split = TrajectoryKFold(N_FOLDS).split(frames, groups=self._run_s[part])
            return [own.tolist() for _, own in split]

    def judged(self, folds: Folds, start: Scales | None = None) -> Judged:
        """Errors of left-out frames, at the σ with which they are smallest if these are free."""
        scales = start or dict.fromkeys(KINDS, 1.0)
        if self._free:
            scales = scales_of_least_errors(folds, scales)
        return Judged(folds.errors(scales), scales)

    def reconsidered(self, made: Compressed, folds: Folds, judged: Judged, steps: int) -> Judged:
        """The same, or the best next to the σ of the evidence, where left-out frames are predicted far better.

        Labels that contradict one another, such as a few energies of another method, make many minima of the errors.
        """
        if not self._free:
            return judged
        likely = self.evidence(made, judged.scales, steps=steps).scales
        if score_of(folds.errors(likely)) > judged.score - _FAR_BETTER:
            return judged
        scales = scales_of_least_errors(folds, likely)
        return Judged(folds.errors(scales), scales)

    def evidence(self, made: Compressed, start: Scales | None = None, *, steps: int | None = None) -> Probable:
        """The evidence at its maximum over σ if these are free; with `steps`, after so many fixed-point steps."""
        first = start or dict.fromkeys(KINDS, 1.0)
        return most_probable(made.prior_mm, made.fixed, made.parts, first, steps if self._free else 0)


def gain_of(fewer: tuple[Folds, Judged], more: tuple[Folds, Judged]) -> float:
    """Logarithm of the ratio of errors with fewer and with more points: the mean of that at the best σ of each."""
    kinds: list[Kind] = ["forces"] if "forces" in more[1].errors else list(more[1].errors)
    pairs = [(fewer[1].errors, more[0].errors(fewer[1].scales)), (fewer[0].errors(more[1].scales), more[1].errors)]
    return float(np.mean([np.log(before[kind] / after[kind]) for before, after in pairs for kind in kinds]))


def _telling(parts: Sequence[Sequence[CompressedRows]]) -> list[list[CompressedRows]]:
    """The rows of each part, without forces that are all zero, where there are other labels."""
    silent = vanish([rows for own in parts for rows in own if rows.key.kind == "forces" and not rows.key.own])
    others = any(rows.key.kind != "forces" for own in parts for rows in own)
    return [
        [rows for rows in own if rows.key.own or not (silent and others and rows.key.kind == "forces")] for own in parts
    ]


def _by_kind(rows: Sequence[CompressedRows], noise: Noise) -> dict[Kind, Part]:
    """Rows of each kind of label, with their σ."""
    made: dict[Kind, Part] = {}
    for kind in KINDS:
        own = [(part, sigma) for part in rows if part.key.kind == kind and (sigma := sigma_of(noise, part.key))]
        if own:
            made[kind] = Part([part for part, _ in own], [sigma for _, sigma in own])
    return made

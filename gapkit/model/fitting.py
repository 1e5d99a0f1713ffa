"""The steps of a fit: rows of all structures, compressed; prior; σ of each part; errors."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from scipy.linalg import block_diag
from tqdm import tqdm

from gapkit.atoms.frame import Frame
from gapkit.atoms.neighbours import NeighbourList
from gapkit.baselines.isolated import is_isolated
from gapkit.errors import ConfigError, DataError
from gapkit.gp.compress import CompressedRows, DataFold, RowKey, labelled
from gapkit.gp.design import frame_rows
from gapkit.gp.noise import Noise, own_sigma
from gapkit.gp.term import SparseTerm
from gapkit.gp.transfer import SUMMARY
from gapkit.model.kept import KeptRows
from gapkit.model.known import Known
from gapkit.model.memory import plan_fit
from gapkit.model.parallel import one_blas_thread
from gapkit.model.rows import rows_of_all
from gapkit.model.terms import isolated_frame
from gapkit.numerics.factor import jittered_cholesky
from gapkit.typing import KINDS, FloatArray, IntArray, Kind

_log = logging.getLogger(__name__)

EXACT = RowKey("", "energy", own=True)
"""Key of the rows that hold isolated atoms at e0."""
EXACT_SIGMA = 1e-5
"""σ of those rows, eV."""


def compress(
    frames: Sequence[Frame],
    terms: Sequence[SparseTerm],
    known: Sequence[Known],
    noise: Noise,
    n_jobs: int,
    max_memory: float = float("inf"),
    kinds: Collection[Kind] | None = None,
    progress: bool = True,
) -> list[CompressedRows]:
    """Rows of all structures as one factor per (group, kind), with a progress bar; see `compress_each`."""
    each = [np.arange(sum(term.n_columns for term in terms))]
    return compress_each(frames, terms, each, known, noise, n_jobs, max_memory, kinds, progress=progress)[0]


def compress_each(
    frames: Sequence[Frame],
    terms: Sequence[SparseTerm],
    columns: Sequence[IntArray],
    known: Sequence[Known],
    noise: Noise,
    n_jobs: int,
    max_memory: float = float("inf"),
    kinds: Collection[Kind] | None = None,
    *,
    keep: KeptRows | None = None,
    progress: bool = True,
) -> list[list[CompressedRows]]:
    """The same for several models, of which each has some of the columns; rows are made once.

    Parameters
    ----------
    columns
        Those of each model among the columns of the terms.
    known
        What is subtracted from the labels of each structure.
    kinds
        Kinds of label that are used where `noise` has a σ for them; None: all.
    keep
        Takes the rows of the structures.
    progress
        Whether a terminal sees a progress bar.
    """
    m, total = sum(term.n_columns for term in terms), sum(map(len, columns))
    _log.info("fit: %d frames, %d atoms, %d sparse points", len(frames), sum(f.n_atoms for f in frames), m)

    def used(frame: Frame) -> set[Kind]:
        with_noise = {k for k in kinds or KINDS if noise.sigma(frame.group, k) is not None}
        own = {k for k in kinds or KINDS if own_sigma(frame, k) is not None}
        return labelled(frame, with_noise | own)

    data = [(f, k) for f, k in zip(frames, known, strict=True) if used(f) and not is_isolated(f)]
    if all(is_isolated(f) for f in frames):
        raise DataError("All frames are isolated atoms", fix="add frames with two or more atoms")
    if not data:
        what = "No label is left to fit: Noise has None for every kind of label in the frames"
        raise ConfigError(what, fix="give a σ for one of them")
    structures = [frame for frame, _ in data]
    kinds_of = [used(frame) for frame in structures]
    n_open = len(data[0][1].open_b)
    plan = plan_fit(structures, kinds_of, max(m, total) + n_open, n_jobs, max_memory)
    _log.info("about %.2f GB of memory beside the structures, %d threads", plan.n_bytes / 1e9, plan.work.n_jobs)

    folds = [DataFold(len(own), plan.fold_rows, n_open, plan.work.n_jobs) for own in columns]
    bar = tqdm(data, desc="fit", unit="frame", disable=None if progress else True)
    each = rows_of_all(terms, structures, kinds_of, plan.work)
    for (frame, own), own_kinds, rows in zip(bar, kinds_of, each, strict=True):
        for fold, columns_m in zip(folds, columns, strict=True):
            part = rows if len(columns_m) == m else rows.some(columns_m)
            fold.add(frame, part, own.fixed, own_kinds, own.open_b)
        if keep is not None:
            keep.take(frame, rows)
    with one_blas_thread():
        return [fold.finish() for fold in folds]


def isolated_rows(terms: Sequence[SparseTerm], species: Sequence[int], n_open: int = 0) -> CompressedRows:
    """One row per element that holds the energy of the isolated atom at e0."""
    neighbours = NeighbourList(max(term.descriptor.reach for term in terms))
    rows = [frame_rows(terms, neighbours.pairs(isolated_frame(z)), {"energy"}).energy_m for z in species]
    with_targets = np.column_stack([rows, np.zeros((len(species), n_open + 1))])
    return CompressedRows(EXACT, with_targets / EXACT_SIGMA, len(species), len(species) * float(np.log(EXACT_SIGMA)))


def prior_factor(terms: Sequence[SparseTerm]) -> FloatArray:
    """Upper triangular factor of K_mm/δ² of all terms."""
    return np.asfortranarray(block_diag(*(jittered_cholesky(term.covariance())[0] / term.delta for term in terms)))


def sigma_of(noise: Noise, key: RowKey) -> float | None:
    """σ of the rows of a key; None where the noise leaves them out, 1 for those that were divided by their own."""
    return 1.0 if key.own else noise.sigma(key.group, key.kind)


def sigmas_of(rows: Sequence[CompressedRows], noise: Noise) -> tuple[list[CompressedRows], list[float]]:
    """The parts of the data that the noise setting uses, and σ of each."""
    used, sigmas = [], []
    for part in rows:
        sigma = sigma_of(noise, part.key)
        if sigma is not None:
            used.append(part)
            sigmas.append(sigma)
    if all(part.key == EXACT for part in used):
        fix = "give σ in Noise for a kind of label that the frames have"
        raise ConfigError("Noise leaves no label of more than isolated atoms to fit", fix=fix)
    return used, sigmas


def left_out(frames: Sequence[Frame], noise: Noise) -> list[list[str]]:
    """(group, kind) of the labels that a noise leaves out of the fit."""
    pairs = {(f.group, kind) for f in frames for kind in f.kinds if noise.sigma(f.group, kind) is None}
    return [list(pair) for pair in sorted(pairs)]


def require_kinds(missing: Sequence[Sequence[str]], noise: Noise) -> None:
    """ConfigError for a σ of labels that were left out of the fit."""
    for group, name in missing:
        kind = next(k for k in KINDS if k == name)
        if noise.sigma(group, kind) is not None:
            what = f"the {kind} labels of group '{group}' were left out of the fit"
            raise ConfigError(what, fix=f"give {kind}=None, or fit again with a σ for them")


def training_errors(rows: Sequence[CompressedRows], weights_m: FloatArray) -> list[dict[str, Any]]:
    """Root mean square residual of each (group, kind): eV/√atom for energy and virial, eV/Å for forces.

    For `own` rows, of frames that brought their own σ, it is in units of that σ.
    """
    errors = []
    for part in rows:
        if part.key in (EXACT, SUMMARY):
            continue
        residual = part.factor_nm[:, :-1] @ weights_m - part.factor_nm[:, -1]
        rms = float(np.sqrt(residual @ residual / part.n_rows))
        entry = {"group": part.key.group, "kind": part.key.kind, "own": part.key.own}
        errors.append({**entry, "rows": part.n_rows, "rms": rms})
    return errors

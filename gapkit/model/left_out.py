"""Errors of training structures that are left out of a fit, one by one or many together, without their variances."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence

import numpy as np
from tqdm import tqdm

from gapkit.atoms.frame import Frame
from gapkit.atoms.neighbours import NeighbourList
from gapkit.baselines.base import Contribution
from gapkit.baselines.isolated import is_isolated
from gapkit.errors import DataError
from gapkit.gp.compress import Observations, labelled, observations
from gapkit.gp.design import frame_rows
from gapkit.model.kept import KeptRows
from gapkit.model.known import total
from gapkit.model.parallel import ordered_map
from gapkit.model.residuals import kinds_to_judge, require_trained_on, scaled_errors, sigma_of_rows
from gapkit.model.state import ModelState
from gapkit.typing import KINDS, FloatArray, Kind


def left_out_differences(
    state: ModelState,
    frames: Sequence[Frame],
    together: Iterable[Hashable] | None,
    n_jobs: int,
    kept: KeptRows | None = None,
    known: Sequence[Contribution] | None = None,
) -> dict[Kind, FloatArray]:
    """Predicted minus true of training structures that were not in the fit, shape (n,) of each kind, per atom.

    The block formula of `gapkit.model.residuals.residuals`, with the rows of all structures of a block. Units: eV/atom,
    eV/Å, eV/Å³.

    Parameters
    ----------
    together
        A label of each structure: those with the same label are left out together. None: each by itself.
    n_jobs
        Threads over blocks.
    kept, known
        Rows of the structures, and what is subtracted from their labels, where they are at hand.
    """
    require_trained_on(state, frames)
    given = kept if kept is not None and kept.on(state.terms) else None
    blocks = _blocks(frames, together)
    used = [s for block in blocks for s in block]
    # here, as calculators do not share threads
    own = {s: total(state.baselines, state.e0, frames[s], frames[s].kinds) if known is None else known[s] for s in used}

    def differences(block: Sequence[int]) -> list[tuple[Kind, FloatArray]]:
        seen = [(s, part) for s in block for part in _observed(state, frames[s], own[s], given)]
        if not seen:
            return []
        parts = [part for _, part in seen]
        error_n = sigma_of_rows(state.noise, parts) * scaled_errors(state.posterior, state.noise, parts)
        split = np.split(error_n, np.cumsum([len(part.y_n) for part in parts])[:-1])
        return [(p.key.kind, e / _unit(frames[s], p.key.kind)) for (s, p), e in zip(seen, split, strict=True)]

    found: dict[Kind, list[FloatArray]] = {}
    bar = tqdm(blocks, desc="left out", unit="block", disable=None)
    for _, parts in zip(bar, ordered_map(differences, blocks, n_jobs), strict=True):
        for kind, error_n in parts:
            found.setdefault(kind, []).append(error_n)
    return {kind: np.concatenate(found[kind]) for kind in KINDS if kind in found}


def _blocks(frames: Sequence[Frame], together: Iterable[Hashable] | None) -> list[list[int]]:
    """Indices of the structures that are left out together; isolated atoms never are."""
    labels: list[Hashable] = list(range(len(frames)) if together is None else together)
    if len(labels) != len(frames):
        what = f"together has {len(labels)} labels for {len(frames)} frames"
        raise DataError(what, fix="give one label for each frame")
    blocks: dict[Hashable, list[int]] = {}
    for s, (frame, label) in enumerate(zip(frames, labels, strict=True)):
        if not is_isolated(frame):
            blocks.setdefault(label, []).append(s)
    return list(blocks.values())


def _observed(state: ModelState, frame: Frame, known: Contribution, kept: KeptRows | None) -> list[Observations]:
    """Labels of a structure that were in the fit, with their rows."""
    kinds = labelled(frame, kinds_to_judge(state, frame, True))
    rows = None if kept is None else kept.rows(frame)
    if rows is None:
        rows = frame_rows(state.terms, NeighbourList(state.reach).pairs(frame), kinds)
    return list(observations(frame, rows, known, sorted(kinds)))


def _unit(frame: Frame, kind: Kind) -> float:
    return {"energy": float(frame.n_atoms), "forces": 1.0, "stress": frame.volume}[kind]

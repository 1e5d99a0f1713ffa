"""How far two reference methods differ, from the labels of the second that are left out one by one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from tqdm import tqdm

from gapkit.atoms.frame import Frame
from gapkit.atoms.neighbours import NeighbourList
from gapkit.baselines.isolated import is_isolated
from gapkit.errors import DataError
from gapkit.gp.compress import CompressedRows, Observations, labelled, observations
from gapkit.gp.design import frame_rows
from gapkit.gp.noise import own_sigma
from gapkit.gp.posterior import solve
from gapkit.gp.transfer import Grown, Summary
from gapkit.model.fitting import isolated_rows, prior_factor, sigmas_of
from gapkit.model.known import Known
from gapkit.model.residuals import scaled_errors
from gapkit.model.state import ModelState
from gapkit.typing import KINDS

CANDIDATES = np.geomspace(1e-3, 30.0, 19)
"""Prior σ of the difference, in units of that of the model."""

_ROW_BYTES = 5e8  # rows of frames that are judged; of more frames some are, evenly


def most_apt(
    state: ModelState,
    terms: Sequence[Grown],
    data: Sequence[Frame],
    known: Sequence[Known],
    rows: Sequence[CompressedRows],
    past: Summary,
) -> float:
    """The prior σ of the difference with which frames that are left out are predicted best, in units of their σ.

    The evidence, which was tried, takes too large a difference where σ is smaller than the misfit.

    Parameters
    ----------
    terms
        Terms with the sparse points that the tuned model will have.
    data, known, rows
        Frames of the new method, what is subtracted from their labels, and their compressed rows.
    past
        What the model says before, on these sparse points.
    """
    new = [t.new for t in terms]
    used, sigmas = sigmas_of([isolated_rows(new, state.species), *rows], state.noise)
    seen = _observed(state, terms, data, known)
    prior_mm = prior_factor(new)

    def miss(f: float) -> float:
        posterior = solve(prior_mm / np.sqrt(1.0 + f**2), [past.rows(f), *used], [1.0, *sigmas])
        try:
            squares = [np.square(scaled_errors(posterior, state.noise, own)) for own in seen]
        except DataError:  # a frame that carries itself: so large a difference learns nothing from the others
            return np.inf
        return float(np.mean(np.concatenate(squares)))

    return float(min(tqdm(CANDIDATES, desc="difference", disable=None), key=miss))


def _observed(
    state: ModelState, terms: Sequence[Grown], data: Sequence[Frame], known: Sequence[Known]
) -> list[list[Observations]]:
    """Labels of the frames on the new sparse points, frame by frame, as many as fit into memory."""
    new = [t.new for t in terms]
    m, neighbours = sum(t.n_columns for t in new), NeighbourList(max(t.descriptor.reach for t in new))
    kinds_of = [
        labelled(f, {k for k in KINDS if state.noise.sigma(f.group, k) is not None or own_sigma(f, k) is not None})
        for f in data
    ]
    lengths = {"energy": 1, "forces": 0, "stress": 6}
    sizes = [8.0 * m * sum(lengths[k] or 3 * f.n_atoms for k in kinds) for f, kinds in zip(data, kinds_of, strict=True)]
    step = max(1, int(np.ceil(sum(sizes) / _ROW_BYTES)))
    seen = []
    for frame, kinds, own in list(zip(data, kinds_of, known, strict=True))[::step]:
        if kinds and not is_isolated(frame):
            rows = frame_rows(new, neighbours.pairs(frame), kinds)
            seen.append(list(observations(frame, rows, own.fixed, sorted(kinds))))
    return seen

"""Discrete choices of a model by the evidence and by errors of structures that are left out, over a grid."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ase import Atoms

from gapkit import GAP, ConfigError, Frame, trajectories
from gapkit._check import generator
from gapkit.errors import nearest, warn
from gapkit.tuning.checkpoint import Checkpoint
from gapkit.tuning.search import Budget, Search
from gapkit.tuning.space import space_of
from gapkit.tuning.trial import NOISES, SCORES, Bench, known_score
from gapkit.tuning.tuned import Tuning
from gapkit.typing import Rng

LEAVE = ("frame", "trajectory")
"""What is left out together by name."""

_FEW = 4  # trajectories, below which leaving one out would say more about extrapolation than about settings


def tune(
    frames: Iterable[Atoms] | Iterable[Frame],
    space: Mapping[str, Iterable[Any]] | None = None,
    budget: int | float | str | None = None,
    *,
    model: GAP | None = None,
    score: str = SCORES[0],
    leave: str | Sequence[Any] = LEAVE[0],
    noise: str = NOISES[0],
    rng: Rng = 0,
    n_jobs: int | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
) -> Tuning:
    """Try settings of the terms, and compare what the evidence and what errors of left-out structures say of them.

    A trial is one fit and the errors of all training structures as if each had not been in it, by the block formula
    of `GAP.leave_one_out_errors`: no refit. Structures are checked once, and baselines evaluated once. Kernel
    rows are made once for all ζ and δ of a SOAP term (`GAP.fit_each`) and for all numbers of sparse points, if these
    are in the order of farthest points (`GAP.thinned`). Settings that do not go together
    are left aside with a warning. Ctrl-C stops and keeps the trials so far.

    Parameters
    ----------
    frames
        Labelled structures.
    space
        {name: values}. ``zeta``, ``n_sparse``, ``embedding``, ``alchemical``, ``delta``, ``r_cut``, ``n_max``,
        ``l_max``, ``sigma``, ``rbf``, ``m`` (exponent of the weighting) and ``compression`` (its mode) are settings of
        the SOAP term; ``pair__r_cut`` is one of the pair term, ``soap1__zeta`` one of the term of that name in
        `Prediction.by_term`. The value of the starting model is always among them. None: values about those of the
        SOAP term.
    budget
        A number of trials, or a time: '10min', '2h', seconds as a float. All settings are tried if the budget has room
        for them, judged by the first fit; else one dimension after the other, from the start, each at the best value of
        the others, until nothing changes. Without a space and a budget: one dimension after the other. Trials of a
        checkpoint count.
    model
        To start from; not changed. None: a pair and a SOAP term by rule, from distances and numbers in the data. To
        start from what a fit of `GAP()` has chosen, give ``GAP(fitted.state_.settings, fitted.state_.noise)``.
    score
        What the best settings are chosen by, see `Trial.score`.
    leave
        What is left out together. ``frame``: nothing, which tells how well new structures like these are predicted; it
        is optimistic where frames follow one another in time. ``trajectory``: all frames of a run or of one crystal
        (`gapkit.trajectories`), which tells how well others are predicted, and chooses fewer sparse points. Or a label
        for each frame.
    noise
        ``model``: the noise of the model in all trials; if it has none, one factor of σ is learned in each, by which σ
        of energies and forces are bound to one another. ``kind``: in each trial, σ of each kind of label at the maximum
        of the evidence (`GAP.maximize_evidence`); the model with the best settings has these σ.
    rng
        Generator or seed of the choice of sparse points.
    n_jobs
        Cores. None: as many as the model has.
    checkpoint
        File to which every trial is written when it is done; if it exists, its trials are not made again.

    Raises
    ------
    DataError, SpeciesError, ConfigError
    """
    known_score(score)
    if noise not in NOISES:
        raise ConfigError(f"noise='{noise}' does not exist", fix=nearest(str(noise), NOISES))
    limit = Budget.of(budget)
    given = GAP() if model is None else model
    base = GAP(**given.get_params(deep=False)).set_params(**({} if n_jobs is None else {"n_jobs": n_jobs}))
    data = base.prepare(frames)
    base.set_params(terms=list(data.terms), baselines=list(data.baselines))
    varied = space_of(base.terms or (), space)
    seed = rng if isinstance(rng, int) else int(generator(rng).integers(2**31))
    together, left_out = _together(data.frames, leave)
    head = {"data": data.hash, "model": _described(base, noise), "left_out": _digest(together), "seed": seed}
    search = Search(Bench(base, data, varied, together, seed, noise), Checkpoint(checkpoint, head), limit, score)
    try:
        search.run(whole_grid=not (space is None and budget is None))
    except KeyboardInterrupt:
        if not search.done:
            raise
        warn("tuning was interrupted; the trials so far are kept")
    search.tell()
    return Tuning(tuple(search.done.values()), base, varied, seed, score, left_out, noise)


def _together(frames: Sequence[Frame], leave: str | Sequence[Any]) -> tuple[list[Any] | None, str]:
    """Labels of what is left out together, and a word for it."""
    if not isinstance(leave, str):
        return list(leave), "groups"
    if leave not in LEAVE:
        raise ConfigError(f"leave='{leave}' does not exist", fix=nearest(leave, LEAVE) + ", or a label for each frame")
    if leave == "frame":
        return None, leave
    labels = trajectories(frames).tolist()
    n = len({label for label, frame in zip(labels, frames, strict=True) if frame.n_atoms > 1})
    if n < _FEW:
        what = f"The frames are of {n} trajectories, too few to leave one out: frames are left out one by one."
        warn(f"{what} Fix: give leave='frame', or a label for each frame.")
        return None, "frame"
    return labels, leave


def _described(base: GAP, noise: str) -> str:
    """Text by which a starting model, and whose σ its trials have, is known again."""
    params = base.get_params(deep=False)
    text = repr([noise, *(params[name] for name in ("terms", "noise", "baselines", "e0", "keys"))])
    return _digest(re.sub(r" at 0x[0-9a-f]+", "", text))


def _digest(value: Any) -> str:
    return hashlib.sha256(repr(value).encode()).hexdigest()[:16]

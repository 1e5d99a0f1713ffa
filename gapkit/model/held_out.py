"""Labelled structures whose kernel rows are kept, so that errors of any weights need no kernel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from tqdm import tqdm

from gapkit.atoms.frame import Frame
from gapkit.errors import ConfigError, DataError
from gapkit.gp.compress import observations
from gapkit.model.known import total
from gapkit.model.memory import plan_rows
from gapkit.model.rows import rows_of_all
from gapkit.model.schema import columns_of, known_physics_of
from gapkit.model.state import ModelState
from gapkit.typing import KINDS, FloatArray, Kind


@dataclass(frozen=True)
class Errors:
    """Errors of one kind of label: of energies per atom (eV/atom), force (eV/Å) or stress components (eV/Å³).

    Attributes
    ----------
    mae, rmse
        Mean absolute and root mean square error.
    n
        Number of values.
    """

    mae: float
    rmse: float
    n: int

    @classmethod
    def of(cls, error_n: FloatArray) -> Errors:
        """Those of some differences, predicted minus true."""
        return cls(float(np.abs(error_n).mean()), float(np.sqrt(np.mean(error_n**2))), len(error_n))


class _Model(Protocol):
    """Any fitted model: a `GAP`, or a member of a committee."""

    state_: ModelState


class HeldOut:
    """Rows of the labels of structures that a model was not fitted to; see `GAP.held_out`.

    What they cost once, errors of another noise, other δ or a posterior sample do not cost again: these have other
    weights, and the sparse points stay.

    Attributes
    ----------
    n_frames
        Number of structures.
    rows
        Kernel rows of each kind, shape (n, M), in units of the errors.
    target
        Labels without what is known of them, shape (n,).
    """

    def __init__(
        self, state: ModelState, n_frames: int, rows: Mapping[Kind, FloatArray], target: Mapping[Kind, FloatArray]
    ) -> None:
        self.n_frames, self.rows, self.target = n_frames, rows, target
        self._state = state

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """Kinds of which there is a label."""
        return tuple(self.rows)

    def differences(self, model: _Model) -> dict[Kind, FloatArray]:
        """Predicted minus true, shape (n,) of each kind, by a model with the same sparse points; units as in `Errors`.

        Raises
        ------
        ConfigError
            The model has other sparse points, e0 or baselines than that of which the rows were made.
        """
        state = model.state_
        _require_same(self._state, state)
        return {kind: rows_nm @ state.posterior.weights_m - self.target[kind] for kind, rows_nm in self.rows.items()}

    def errors(self, model: _Model) -> dict[Kind, Errors]:
        """Errors of a model with the same sparse points, as `gapkit.evaluate` finds them; ConfigError for others."""
        return {kind: Errors.of(error_n) for kind, error_n in self.differences(model).items()}


def held_out(state: ModelState, frames: Sequence[Frame], n_jobs: int, ceiling: float) -> HeldOut:
    """Rows of all labels of some structures; see `GAP.held_out`.

    Parameters
    ----------
    ceiling
        Bytes of memory, of which the rows take 8 (M + 1) each.
    """
    m = sum(term.n_columns for term in state.terms)
    data = [frame for frame in frames if any(_count(frame, kind) for kind in frame.kinds)]
    if not data:
        raise DataError("No frame has a label that counts", fix="give frames with energies, forces or stresses")
    counts = {kind: sum(_count(frame, kind) for frame in data) for kind in KINDS}
    work = plan_rows(data, sum(counts.values()), m, n_jobs, ceiling)
    rows = {kind: np.empty((n, m)) for kind, n in counts.items() if n}
    target = {kind: np.empty(len(own)) for kind, own in rows.items()}
    done = dict.fromkeys(rows, 0)

    each = rows_of_all(state.terms, data, [frame.kinds for frame in data], work)
    for frame, found in zip(tqdm(data, desc="held out", unit="frame", disable=None), each, strict=True):
        known = total(state.baselines, state.e0, frame, frame.kinds)  # here, as calculators do not share threads
        for part in observations(frame, found, known, frame.kinds):
            kind = part.key.kind
            here = slice(done[kind], done[kind] + len(part.y_n))
            unit = {"energy": float(frame.n_atoms), "forces": 1.0, "stress": frame.volume}[kind]
            np.divide(part.rows_nm, unit, out=rows[kind][here])
            np.divide(part.y_n, unit, out=target[kind][here])
            done[kind] = here.stop
    return HeldOut(state, len(frames), rows, target)


def _count(frame: Frame, kind: Kind) -> int:
    """Number of labels of a kind that are compared."""
    if kind not in frame.kinds:
        return 0
    atoms = frame.n_atoms if frame.force_mask_e is None else int(frame.force_mask_e.sum())
    return {"energy": 1, "forces": 3 * atoms, "stress": 6}[kind]


def _require_same(one: ModelState, other: ModelState) -> None:
    """ConfigError unless two models differ in noise, δ and weights alone."""
    same = all(a.points is b.points for a, b in zip(one.terms, other.terms, strict=False))
    if not (same and len(one.terms) == len(other.terms)):
        _compare(columns_of(one), columns_of(other), "sparse points")
    if one.baselines is not other.baselines or one.e0 is not other.e0:
        _compare(known_physics_of(one), known_physics_of(other), "e0 or baselines")


def _compare(one: Any, other: Any, what: str) -> None:
    """ConfigError where two descriptions differ."""
    try:
        np.testing.assert_equal(one, other)
    except AssertionError as error:
        text = f"the model has other {what} than that of which the rows were made"
        raise ConfigError(text, fix="call held_out of this model") from error

"""All data of one (group, kind) as one triangular factor, whatever the number of frames."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from gapkit.atoms.frame import Frame
from gapkit.gp.design import FrameRows
from gapkit.gp.noise import own_sigma, row_scale
from gapkit.numerics.factor import FOLD_ROWS, TriangularFold
from gapkit.typing import FloatArray, Kind


class RowKey(NamedTuple):
    """Which rows were folded together.

    `own` marks frames that brought their own σ: their rows are divided by it, and `Noise` does
    not apply to them.
    """

    group: str
    kind: Kind
    own: bool = False


@dataclass(frozen=True, eq=False)
class CompressedRows:
    """Triangular factor of [K | y] of one key.

    Attributes
    ----------
    key
        Group and kind.
    factor_nm
        Shape (n, M+1): rows divided by what σ is multiplied by, last column the targets.
    n_rows
        Number of observations.
    log_scale
        Sum over observations of the logarithm of what they were divided by.
    """

    key: RowKey
    factor_nm: FloatArray
    n_rows: int
    log_scale: float


class DataFold:
    """Folds structures one after the other.

    Parameters
    ----------
    n_columns
        Number M of sparse points.
    fold_rows
        Rows of one key that are gathered before they are folded.
    """

    def __init__(self, n_columns: int, fold_rows: int = FOLD_ROWS) -> None:
        self._n_columns, self._fold_rows = n_columns, fold_rows
        self._folds: dict[RowKey, TriangularFold] = {}
        self._log_scales: dict[RowKey, float] = {}

    def add(self, frame: Frame, rows: FrameRows, reference: float, kinds: Collection[Kind]) -> None:
        """Fold the labels of one frame; `reference` is the energy (eV) subtracted before the fit."""
        for part in observations(frame, rows, reference, kinds):
            self._fold(part.key, part.rows_nm, part.y_n, part.divisor_n)

    def _fold(self, key: RowKey, rows_nm: FloatArray, y_n: FloatArray, divisor_n: FloatArray) -> None:
        if key not in self._folds:
            self._folds[key] = TriangularFold(self._n_columns + 1, self._fold_rows)
        self._folds[key].add(rows_nm, y_n, divisor_n)
        self._log_scales[key] = self._log_scales.get(key, 0.0) + float(np.log(divisor_n).sum())

    def finish(self) -> list[CompressedRows]:
        """The factors, sorted by key."""
        return [
            CompressedRows(key, fold.factor(), fold.n_rows, self._log_scales[key])
            for key, fold in sorted(self._folds.items())
        ]


@dataclass(frozen=True, eq=False)
class Observations:
    """The labels of one kind of one frame.

    Attributes
    ----------
    key
        Where they are folded.
    rows_nm, y_n
        Rows and targets, shapes (n, M) and (n,); stress enters as the virial V·stress.
    divisor_n
        What σ of the kind is multiplied by, shape (n,); for `own` rows, σ itself.
    """

    key: RowKey
    rows_nm: FloatArray
    y_n: FloatArray
    divisor_n: FloatArray


def observations(
    frame: Frame, rows: FrameRows, reference: float, kinds: Collection[Kind]
) -> Iterator[Observations]:
    """Labels of one frame that a fit sees, kind by kind; `reference` is the energy (eV) subtracted before the fit."""
    for kind in kinds:
        values = _values(frame, rows, reference, kind)
        if values is None:
            continue
        rows_nm, y_n = values
        own = own_sigma(frame, kind)
        divisor = np.broadcast_to(row_scale(kind, frame.n_atoms) if own is None else own, (len(y_n),))
        if kind == "forces" and frame.force_mask_e is not None:
            use = np.repeat(frame.force_mask_e, 3)
            rows_nm, y_n, divisor = rows_nm[use], y_n[use], divisor[use]
        if len(y_n):
            yield Observations(RowKey(frame.group, kind, own is not None), rows_nm, y_n, divisor)


def _values(frame: Frame, rows: FrameRows, reference: float, kind: Kind) -> tuple[FloatArray, FloatArray] | None:
    """Rows and targets of one kind, or None without a label."""
    if kind == "energy" and frame.energy is not None:
        return rows.energy_m[None], np.array([frame.energy - reference])
    if kind == "forces" and frame.forces_ec is not None and rows.forces_nm is not None:
        return rows.forces_nm, frame.forces_ec.ravel()
    if kind == "stress" and frame.stress_v is not None and rows.virial_vm is not None:
        return rows.virial_vm, frame.stress_v * frame.volume
    return None


def labelled(frame: Frame, kinds: Mapping[Kind, object] | Collection[Kind]) -> set[Kind]:
    """Those kinds of which the frame has a label."""
    have: dict[Kind, object] = {"energy": frame.energy, "forces": frame.forces_ec, "stress": frame.stress_v}
    return {kind for kind in kinds if have[kind] is not None}

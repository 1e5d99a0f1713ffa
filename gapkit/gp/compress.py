"""All data of one (group, kind) as one triangular factor, whatever the number of frames."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from gapkit.atoms.frame import Frame
from gapkit.baselines.base import Contribution
from gapkit.gp.design import FrameRows
from gapkit.gp.noise import own_sigma, row_scale
from gapkit.numerics.factor import FOLD_ROWS, TriangularFold
from gapkit.typing import FloatArray, Kind
from gapkit.units import to_voigt

_ZERO = 1e-5  # root mean square of labels, eV/Å of forces


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
        Shape (n, M+1): rows divided by what σ is multiplied by, last column the targets. While the scales of baselines
        are open (see `DataFold`), their columns stand before the last one.
    n_rows
        Number of observations.
    log_scale
        Sum over observations of the logarithm of what they were divided by.
    open_nb
        What the baselines of open scale give at scale 1, once it has been subtracted, shape (n, B); None: unknown.
    """

    key: RowKey
    factor_nm: FloatArray
    n_rows: int
    log_scale: float
    open_nb: FloatArray | None = None

    def minus(self, scales_b: FloatArray) -> CompressedRows:
        """The same with `scales_b` times the baselines of open scale subtracted from the targets."""
        if not len(scales_b):
            return self
        m = self.factor_nm.shape[1] - len(scales_b) - 1
        open_nb = self.factor_nm[:, m:-1].copy()
        target_n = self.factor_nm[:, -1] - open_nb @ scales_b
        factor_nm = np.asfortranarray(np.column_stack([self.factor_nm[:, :m], target_n]))
        return replace(self, factor_nm=factor_nm, open_nb=open_nb)

    def plus(self, scales_b: FloatArray) -> CompressedRows:
        """What `minus` was called on."""
        if self.open_nb is None:
            return self
        columns = [self.factor_nm[:, :-1], self.open_nb, self.factor_nm[:, -1] + self.open_nb @ scales_b]
        return replace(self, factor_nm=np.asfortranarray(np.column_stack(columns)), open_nb=None)


def vanish(rows: Sequence[CompressedRows]) -> bool:
    """Whether all these labels are zero but for rounding, as forces are by symmetry: they say nothing of σ."""
    n_rows = sum(part.n_rows for part in rows)
    return bool(rows) and sum(float(np.square(part.factor_nm[:, -1]).sum()) for part in rows) < n_rows * _ZERO**2


class DataFold:
    """Folds structures one after the other.

    Parameters
    ----------
    n_columns
        Number M of sparse points.
    fold_rows
        Rows of one key that are gathered before they are folded.
    n_open
        Number of baselines whose scale is found after the fold: each has a column of its own.
    n_threads
        Threads that fold.
    """

    def __init__(self, n_columns: int, fold_rows: int = FOLD_ROWS, n_open: int = 0, n_threads: int = 1) -> None:
        self._n_columns, self._fold_rows, self._n_threads = n_columns + n_open + 1, fold_rows, n_threads
        self._folds: dict[RowKey, TriangularFold] = {}
        self._log_scales: dict[RowKey, float] = {}

    def add(
        self,
        frame: Frame,
        rows: FrameRows,
        known: Contribution,
        kinds: Collection[Kind],
        open_b: Sequence[Contribution] = (),
    ) -> None:
        """Fold the labels of one frame.

        Parameters
        ----------
        known
            What is subtracted from the labels.
        open_b
            What the baselines of open scale give at scale 1.
        """
        for part in observations(frame, rows, known, kinds, open_b):
            if part.key not in self._folds:
                self._folds[part.key] = TriangularFold(self._n_columns, self._fold_rows, self._n_threads)
            self._folds[part.key].add(part.rows_nm, part.y_nt, part.divisor_n)
            log_scale = self._log_scales.get(part.key, 0.0)
            self._log_scales[part.key] = log_scale + float(np.log(part.divisor_n).sum())

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
    rows_nm, y_nt
        Rows, and baselines of open scale and targets, shapes (n, M) and (n, T); stress enters as the virial V·stress.
    divisor_n
        What σ of the kind is multiplied by, shape (n,); for `own` rows, σ itself.
    """

    key: RowKey
    rows_nm: FloatArray
    y_nt: FloatArray
    divisor_n: FloatArray

    @property
    def y_n(self) -> FloatArray:
        """The targets, shape (n,)."""
        return self.y_nt[:, -1]


def observations(
    frame: Frame,
    rows: FrameRows,
    known: Contribution,
    kinds: Collection[Kind],
    open_b: Sequence[Contribution] = (),
) -> Iterator[Observations]:
    """Labels of one frame that a fit sees, kind by kind, minus what is known (see `DataFold.add`)."""
    for kind in kinds:
        label_n, rows_nm = _label(frame, kind), _rows(rows, kind)
        if label_n is None or rows_nm is None:
            continue
        y_nt = np.column_stack([*(_part(b, kind) for b in open_b), label_n - _part(known, kind)])
        own = own_sigma(frame, kind)
        divisor = np.broadcast_to(row_scale(kind, frame.n_atoms) if own is None else own, (len(y_nt),))
        if kind == "forces" and frame.force_mask_e is not None:
            use = np.repeat(frame.force_mask_e, 3)
            rows_nm, y_nt, divisor = rows_nm[use], y_nt[use], divisor[use]
        if len(y_nt):
            yield Observations(RowKey(frame.group, kind, own is not None), rows_nm, y_nt, divisor)


def _label(frame: Frame, kind: Kind) -> FloatArray | None:
    """Labels of one kind, shape (n,), or None."""
    if kind == "energy" and frame.energy is not None:
        return np.array([frame.energy])
    if kind == "forces" and frame.forces_ec is not None:
        return frame.forces_ec.ravel()
    return frame.stress_v * frame.volume if kind == "stress" and frame.stress_v is not None else None


def _rows(rows: FrameRows, kind: Kind) -> FloatArray | None:
    return {"energy": rows.energy_m[None], "forces": rows.forces_nm, "stress": rows.virial_vm}[kind]


def _part(known: Contribution, kind: Kind) -> FloatArray:
    """The same of a baseline."""
    if kind == "energy":
        return np.array([known.energies_e.sum()])
    if kind == "forces" and known.forces_ec is not None:
        return known.forces_ec.ravel()
    if kind == "stress" and known.virial_cc is not None:
        return to_voigt(known.virial_cc)
    raise TypeError(f"a baseline was evaluated without {kind}")


def labelled(frame: Frame, kinds: Mapping[Kind, object] | Collection[Kind]) -> set[Kind]:
    """Those kinds of which the frame has a label."""
    have: dict[Kind, object] = {"energy": frame.energy, "forces": frame.forces_ec, "stress": frame.stress_v}
    return {kind for kind in kinds if have[kind] is not None}

"""What a learning curve is: errors of held-out frames, fit by fit."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from gapkit._check import whole
from gapkit.tuning.learning_figure import LAST, save_curve
from gapkit.typing import KINDS, Kind
from gapkit.units import REPORTED


@dataclass(frozen=True)
class CurvePoint:
    """One fit of a learning curve.

    Attributes
    ----------
    n_frames, n_sparse
        Training frames without isolated atoms; sparse points of the term with environments that has most.
    mae, rmse
        Errors of the held-out frames by kind of label: eV/atom, eV/Å, GPa.
    seconds
        Wall time of the fit, or of thinning the one on all frames.
    """

    n_frames: int
    n_sparse: int
    mae: Mapping[Kind, float]
    rmse: Mapping[Kind, float]
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers for JSON, with units in their names as in `Evaluation.as_dict`."""
        document: dict[str, Any] = {"frames": self.n_frames, "sparse_points": self.n_sparse}
        for kind, mae in self.mae.items():
            unit, scale = REPORTED[kind].name, REPORTED[kind].of_evaluation
            document[kind] = {f"mae_{unit}": scale * mae, f"rmse_{unit}": scale * self.rmse[kind]}
        return {**document, "fit_seconds": self.seconds}


@dataclass(frozen=True)
class LearningCurve:
    """Errors of held-out frames.

    Attributes
    ----------
    by_frames
        Fits to ever more frames with the model's own number of sparse points; each subset holds those before it.
    by_sparse
        Fits to all training frames on ever more sparse points.
    n_test
        Number of held-out frames, the same for all fits.
    """

    by_frames: tuple[CurvePoint, ...]
    by_sparse: tuple[CurvePoint, ...]
    n_test: int

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The kinds of label that the held-out frames have."""
        points = (*self.by_frames, *self.by_sparse)
        return tuple(kind for kind in KINDS if points and kind in points[0].mae)

    def exponent(self, kind: Kind, measure: str = "rmse", last: int = LAST) -> float:
        """Slope p of error ∝ (number of frames)^p over the last fits, by least squares in logarithms; NaN for fewer.

        Near zero: more frames of this sort do not help; noise, the number of sparse points or the descriptor sets the
        limit. What one more doubling of the frames brings is about the factor 2^p.
        """
        points = self.by_frames[-whole("last", last, 2) :]
        if len(points) < 2:
            return float("nan")
        x = np.log([point.n_frames for point in points])
        y = np.log([getattr(point, measure)[kind] for point in points])
        return float(np.polyfit(x, y, 1)[0])

    def as_dict(self) -> dict[str, Any]:
        """All numbers for JSON: errors in meV/atom, eV/Å and GPa, and the slopes of the rms errors."""
        return {
            "test_frames": self.n_test,
            "by_frames": [point.as_dict() for point in self.by_frames],
            "by_sparse_points": [point.as_dict() for point in self.by_sparse],
            "slope_with_frames": {k: self.exponent(k) for k in self.kinds} if len(self.by_frames) > 1 else {},
        }

    def plot(self, path: str | os.PathLike[str]) -> None:
        """Write a figure on logarithmic axes in the format of the file name (png, pdf, svg)."""
        save_curve(self, path)

    def __str__(self) -> str:
        """The rms errors as a table."""
        head = [f"{f'{kind} ({REPORTED[kind].text})':>18}" for kind in self.kinds]
        lines = ["frames  sparse points" + "".join(head)]
        for point in (*self.by_frames, *self.by_sparse):
            errors = (f"{REPORTED[kind].of_evaluation * point.rmse[kind]:18.4g}" for kind in self.kinds)
            lines.append(f"{point.n_frames:6d}  {point.n_sparse:13d}" + "".join(errors))
        return "\n".join(lines)

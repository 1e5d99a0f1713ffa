"""One number for how well labels are predicted, as scikit-learn's searches want it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gapkit.atoms.frame import Frame
from gapkit.errors import DataError
from gapkit.model.prediction import Prediction
from gapkit.typing import FloatArray, Kind


def scored(frames: Sequence[Frame]) -> tuple[Kind, list[Frame]]:
    """The kind of label that a score is made of, and the frames that have it."""
    kind: Kind = "forces" if any(map(_has_forces, frames)) else "energy"
    used = [f for f in frames if (_has_forces(f) if kind == "forces" else f.energy is not None)]
    if not used:
        raise DataError("No frame has forces or an energy to score", fix="give frames with one of these labels")
    return kind, used


def score(kind: Kind, frames: Sequence[Frame], predictions: Sequence[Prediction]) -> float:
    """R² of force components, or of energies per atom."""
    if kind == "forces":
        return _r2(*map(np.concatenate, zip(*map(_seen_forces, frames, predictions), strict=True)))
    size_s = np.array([f.n_atoms for f in frames])
    return _r2(np.array([f.energy for f in frames]) / size_s, np.array([p.energy for p in predictions]) / size_s)


def _has_forces(frame: Frame) -> bool:
    """Whether there is a force that no mask leaves out."""
    return frame.forces_ec is not None and (frame.force_mask_e is None or bool(frame.force_mask_e.any()))


def _seen_forces(frame: Frame, prediction: Prediction) -> tuple[FloatArray, FloatArray]:
    """True and predicted force components of the atoms that no mask leaves out."""
    true_ec, predicted_ec = np.asarray(frame.forces_ec), np.asarray(prediction.forces)
    use = slice(None) if frame.force_mask_e is None else frame.force_mask_e
    return true_ec[use].ravel(), predicted_ec[use].ravel()


def _r2(true: FloatArray, predicted: FloatArray) -> float:
    error, spread = float(((true - predicted) ** 2).sum()), float(((true - true.mean()) ** 2).sum())
    return 1.0 - error / spread if spread else float(error == 0.0)  # as scikit-learn for labels that are all equal

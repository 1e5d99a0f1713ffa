"""Does σ find what the model does not know? python tests/benchmarks/uncertainty_ood.py [silicon] [molybdenum]

One config_type at a time is kept out of a fit with settings by rule. σ is calibrated on the training frames alone, by
leaving single frames and whole config_types out. The held-out frames and the ordinary test frames are then predicted:
rank correlation of σ and error per atom, how well σ finds frames whose force RMSE exceeds twice the ordinary one, and
rms(error)/rms(σ) of every group. About eight minutes for both sets on two cores.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np
from ase import Atoms
from by_rule import by_rule
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from gapkit import GapkitWarning, Residuals, read_frames
from gapkit.uncertainty import calibrate

DATA = Path(__file__).parents[2] / "data"
HEAD = "kept out   frames held+ordinary  F RMSE held/ordinary  ρ all  ρ held  hot frames  AUROC  rms(error)/rms(σ)"


def rms(values: np.ndarray) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(values**2)))


def of_frames(values_x: np.ndarray, rows: Residuals) -> np.ndarray:
    """Root mean square of the values of each frame."""
    frames = np.unique(rows.frame_x)
    return np.array([rms(values_x[rows.frame_x == s]) for s in frames])


def line(group: str, train: list[Atoms], test: list[Atoms]) -> str:
    """One row of the table: the model that never saw `group`."""
    fitted = [a for a in train if a.info["config_type"] != group]
    model = by_rule(fitted).fit(fitted, rng=0)
    calibrate(model, fitted, leave_one_out=True)
    held = [a for a in train + test if a.info["config_type"] == group]
    ordinary = [a for a in test if a.info["config_type"] != group]
    rows = model.residuals(held + ordinary)["forces"]
    error_x, std_x, is_held = rows.rms_error_x, rows.rms_std_x, rows.frame_x < len(held)
    error_s, std_s = of_frames(error_x, rows), of_frames(std_x, rows)
    usual = rms(error_x[~is_held])
    hot = error_s > 2.0 * usual
    auroc = f"{roc_auc_score(hot, std_s):5.2f}" if 0 < hot.sum() < len(hot) else "    -"
    groups = np.array([a.info["config_type"] for a in held + ordinary])[rows.frame_x]
    parts = [f"{g} {rms(error_x[groups == g]) / rms(std_x[groups == g]):.2f}" for g in np.unique(groups)]
    rho = [spearmanr(std_x[part], error_x[part])[0] for part in (slice(None), is_held)]
    return (
        f"{group:10} {len(held):6} + {len(ordinary):<10} {rms(error_x[is_held]):12.3f} / {usual:.3f}    "
        f"{rho[0]:6.2f} {rho[1]:6.2f}  {hot.sum():6}     {auroc}   {', '.join(parts)}"
    )


def main(names: list[str]) -> None:
    warnings.simplefilter("ignore", GapkitWarning)
    for name in names or ["silicon", "molybdenum"]:
        train, test = (read_frames(DATA / name / f"{part}.xyz") for part in ("train", "test"))
        print(f"\n{name}\n{HEAD}", flush=True)
        for group in sorted({a.info["config_type"] for a in train}):
            print(line(group, train, test), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])

"""What ranks errors of forces? python tests/benchmarks/uncertainty_candidates.py [silicon] [molybdenum]

One config_type at a time is kept out of a fit with settings by rule; Spearman's ρ per atom between the force error (rms
over components) and what might tell of it, over ordinary test frames and at most 40 held-out ones together, and inside
the held-out ones. The row `perfect` draws errors from the data part itself: no σ can rank better than about that, since
errors scatter around any σ. About three minutes for both sets on two cores.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np
from ase import Atoms
from by_rule import by_rule
from scipy.stats import spearmanr

from gapkit import GAP, GapkitWarning, Residuals, read_frames
from gapkit.atoms.labels import to_frame
from gapkit.atoms.neighbours import NeighbourList

DATA = Path(__file__).parents[2] / "data"
MOST = 40  # held-out frames: all of them would outweigh the ordinary ones


def of_atoms(model: GAP, atoms: Atoms) -> dict[str, np.ndarray]:
    """Candidates that need no derivative of the variance, one value for each atom."""
    p = model.predict(atoms, {"forces", "energies_std", "extrapolation"})
    pairs, n = NeighbourList(model.reach).pairs(to_frame(atoms, labels=False)), len(atoms)
    variance_e = p.energies_epistemic_std**2
    count_e = np.bincount(pairs.i_p, minlength=n)
    return {
        "local energy, σ": np.sqrt(variance_e),
        "local energy, mean of neighbours": np.bincount(pairs.i_p, variance_e[pairs.j_p], n) / np.maximum(1, count_e),
        "distance to sparse points": p.extrapolation,
        "size of the force": np.linalg.norm(p.forces, axis=1),
    }


def candidates(model: GAP, frames: list[Atoms], rows: Residuals) -> dict[str, np.ndarray]:
    """All candidates, one value for each row."""
    data_x, prior_x = rows.data_xc.mean(axis=1), rows.prior_xc.mean(axis=1)
    found = {"force, data part": data_x, "force, what points do not span": prior_x, "force, both": data_x + prior_x}
    parts = [of_atoms(model, atoms) for atoms in frames]
    return found | {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def rho(value_x: np.ndarray, error_x: np.ndarray, is_held: np.ndarray) -> str:
    """Spearman's ρ of all rows, and of the held-out ones."""
    return " ".join(f"{spearmanr(value_x[own], error_x[own])[0]:6.2f}" for own in (slice(None), is_held))


def table(name: str) -> None:
    """ρ of every candidate, for each config_type that is kept out."""
    train, test = (read_frames(DATA / name / f"{part}.xyz") for part in ("train", "test"))
    groups = sorted({a.info["config_type"] for a in train})
    cells: dict[str, list[str]] = {}
    for group in groups:
        fitted = [a for a in train if a.info["config_type"] != group]
        model = by_rule(fitted).fit(fitted, rng=0)
        held = [a for a in train + test if a.info["config_type"] == group]
        held = held[:: -(-len(held) // MOST)]
        frames = held + [a for a in test if a.info["config_type"] != group]
        rows = model.residuals(frames)["forces"]
        error_x, is_held = rows.rms_error_x, rows.frame_x < len(held)
        drawn_xc = np.random.default_rng(0).normal(scale=np.sqrt(rows.data_xc))
        for label, value_x in candidates(model, frames, rows).items():
            cells.setdefault(label, []).append(rho(value_x, error_x, is_held))
        drawn_x = np.square(drawn_xc).mean(axis=1)
        cells.setdefault("perfect", []).append(rho(rows.data_xc.mean(axis=1), drawn_x, is_held))
    print(f"\n{name:36}" + "".join(f"{group:>16}" for group in groups))
    print(" " * 36 + "      all   held" * len(groups))
    for label, own in cells.items():
        print(f"{label:36}" + "".join(f"{cell:>16}" for cell in own), flush=True)


def main(names: list[str]) -> None:
    warnings.simplefilter("ignore", GapkitWarning)
    for name in names or ["silicon", "molybdenum"]:
        table(name)


if __name__ == "__main__":
    main(sys.argv[1:])

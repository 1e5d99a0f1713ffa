"""σ of forces beside what others offer: python tests/benchmarks/uncertainty_methods.py --data DIR

Three ways to a σ for the same errors, on silicon and on 3BPA (four elements; DIR holds the folder 3bpa): the predictive
distribution of gapkit; the variance of the local energy from K_mm alone, which knows neither labels nor noise (what GAP
codes print); an ensemble of five models, each fitted to as many frames drawn with replacement. Settings by rule; every
fifth training frame is kept out to calibrate all three in the same way; figures are of test frames. About six minutes
on two cores.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from ase import Atoms
from by_rule import by_rule

from gapkit import GAP, Calibration, GapkitWarning, Residuals, read_frames
from gapkit.atoms.labels import to_frame
from gapkit.atoms.neighbours import NeighbourList
from gapkit.gp.term import Covariance
from gapkit.numerics import stats
from gapkit.uncertainty.calibrate import scales_of
from gapkit.uncertainty.curve import taken

DATA = Path(__file__).parents[2] / "data"
MEMBERS = 5
ZERO = 1e-6  # eV/Å: forces that are zero by symmetry, in the labels and in every model
COLUMNS = {"raw rms(err)/rms(σ)": 20, "calibrated": 12, "NLL": 8, "miscal. area": 14, "68 %": 7, "95 %": 7, "ρ": 7}
HEAD = " " * 34 + "".join(name.rjust(width) for name, width in COLUMNS.items())


def local_variance(model: GAP, frames: Sequence[Atoms]) -> np.ndarray:
    """k** - k*ᵀ K_mm⁻¹ k* of the local energy of every atom, eV²: the variance that GAP codes print."""
    state, found = model.state_, []
    for atoms in frames:
        pairs = NeighbourList(model.reach).pairs(to_frame(atoms, labels=False))
        whole = Covariance(np.zeros((len(atoms), len(state.posterior.weights_m))), np.zeros(len(atoms)))
        for term, columns in zip(state.terms, state.slices, strict=True):
            part = replace(whole, rows_em=whole.rows_em[:, columns])
            weights = np.zeros((1, term.n_columns))
            term.accumulate(pairs, weights, np.zeros((1, len(atoms))), None, part)
        found.append(state.posterior.variances(whole.rows_em, whole.prior_e)[1])
    return np.concatenate(found)


def with_variance(rows: Residuals, variance_xc: np.ndarray, error_xc: np.ndarray | None = None) -> Residuals:
    """The same rows with another variance, and other errors where the method predicts otherwise."""
    error = rows.error_xc if error_xc is None else error_xc
    variance = np.broadcast_to(np.maximum(variance_xc, 1e-20), error.shape)
    return replace(rows, error_xc=error, data_xc=variance, prior_xc=np.zeros_like(error))


def line(name: str, held: Residuals, test: Residuals) -> str:
    """One row of the table: a method, calibrated on the frames kept out as gapkit calibrates itself."""
    held, test = (taken(rows, rows.rms_error_x > ZERO) for rows in (held, test))
    calibration = Calibration({"forces": scales_of("forces", held, np.random.default_rng(0))})
    std_xc = calibration.std("forces", test.species_x, test.data_xc, test.prior_xc)
    raw_xc, error_xc = np.sqrt(test.data_xc + test.prior_xc), test.error_xc
    rms = [np.sqrt(np.mean(x**2)) for x in (error_xc, raw_xc, std_xc)]
    rho = stats.spearman(np.sqrt(np.mean(std_xc**2, axis=1)), test.rms_error_x)
    return (
        f"{name:34}{rms[0] / rms[1]:20.2f}{rms[0] / rms[2]:12.2f}{stats.nll(error_xc, std_xc):8.2f}"
        f"{stats.miscalibration_area(error_xc, std_xc):14.3f}{100 * stats.coverage(error_xc, std_xc, 0.6827):7.0f}"
        f"{100 * stats.coverage(error_xc, std_xc, 0.95):7.0f}{rho:7.2f}"
    )


def compare(name: str, train: list[Atoms], test: list[Atoms], alone: list[Atoms]) -> None:
    """The table of one set."""
    held = train[2::5]
    fit = [a for k, a in enumerate(train) if k % 5 != 2]
    model = by_rule(fit + alone).fit(fit + alone, rng=0)
    rows = {part: model.residuals(frames)["forces"] for part, frames in (("held", held), ("test", test))}
    rms = np.sqrt(np.mean(rows["test"].error_xc ** 2))
    sizes = f"{len(fit)} frames fitted, {len(held)} to calibrate, {len(test)} to test"
    print(f"\n{name}: {sizes}, force RMSE {rms:.3f} eV/Å")
    print(HEAD, flush=True)
    print(line("gapkit, predictive distribution", rows["held"], rows["test"]), flush=True)
    k_mm = {p: with_variance(rows[p], local_variance(model, f)[:, None]) for p, f in (("held", held), ("test", test))}
    print(line("GAP, K_mm-only local energy", k_mm["held"], k_mm["test"]), flush=True)
    rng, members = np.random.default_rng(0), []
    for _ in range(MEMBERS):
        again = [fit[k] for k in rng.integers(len(fit), size=len(fit))]
        members.append(by_rule(again + alone).fit(again + alone, rng=rng))
    ensemble = {}
    for part, frames in (("held", held), ("test", test)):
        forces = np.stack([np.concatenate([p.forces for p in m.predict(frames, {"forces"})]) for m in members])
        error = forces.mean(axis=0) - np.concatenate([a.get_forces() for a in frames])
        ensemble[part] = with_variance(rows[part], forces.var(axis=0, ddof=1), error)
    print(line(f"ensemble of {MEMBERS} bootstrap fits", ensemble["held"], ensemble["test"]), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    given = parser.parse_args()
    warnings.simplefilter("ignore", GapkitWarning)
    start = time.perf_counter()
    compare("silicon", *(read_frames(DATA / "silicon" / f"{part}.xyz") for part in ("train", "test")), alone=[])
    molecules = read_frames(given.data / "3bpa" / "train_300K.xyz")[:400:2]
    compare("3BPA", molecules[:150], molecules[150:], alone=read_frames(given.data / "3bpa" / "iso_atoms.xyz"))
    print(f"\n{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()

"""Evidence and Pareto front on silicon, M = 1000: python tests/benchmarks/evidence.py

E + F, r_cut 8 Å, ζ = 6, n = l = 8, as `silicon_table.py`. Widths of the density compete by the evidence, σ of the
labels and δ of the terms at its maximum each time; test errors stand beside. Then the front of 100 models: on frames
that are held out of the training set, and on the test frames. About ten minutes on two cores.
"""

from __future__ import annotations

import time
import warnings
from pathlib import Path

from gapkit import GAP, GapkitWarning, Noise, SoapTerm, evaluate, read_frames, split
from gapkit.tuning import Pareto, Point, pareto

DATA = Path(__file__).parents[2] / "data" / "silicon"
WIDTHS = (0.45, 0.5, 0.55, 0.6, 0.65)
AT_MOST = 2.2  # meV/atom


def model(width: float) -> GAP:
    """The peer's comparison of `silicon_table.py`, with another width of the density."""
    weighting = {"function": "poly", "r0": 8.0, "c": 1.0, "m": 1.0}
    soap = {"r_cut": 8.0, "n_max": 8, "l_max": 8, "sigma": width, "weighting": weighting}
    return GAP([SoapTerm(soap, zeta=6, n_sparse=1000)], Noise(0.0005, 0.05, None), n_jobs=2)


def shown(fitted: GAP, frames: list) -> str:
    """Mean absolute errors."""
    found = evaluate(fitted, frames)
    return f"{1e3 * found.energy.mae:.2f} meV/atom  {found.forces.mae:.4f} eV/Å"


def by_evidence(train: list, test: list) -> GAP:
    """The width of the largest evidence."""
    best = None
    print("width   log evidence   test errors before         after maximize_evidence()     σ energy, forces")
    for width in WIDTHS:
        one = model(width).fit(train)
        before = shown(one, test)
        start = time.perf_counter()
        report = one.maximize_evidence().evidence_
        each = (time.perf_counter() - start) / report.evaluations
        noise = one.state_.noise
        print(
            f"{width:5.2f}   {one.log_evidence_:12.1f}   {before}   {shown(one, test)}   "
            f"{noise.energy:.4f} {noise.forces:.4f}   ({report.evaluations} evaluations of {each:.2f} s)",
            flush=True,
        )
        best = one if best is None or one.log_evidence_ > best.log_evidence_ else best
    return best


def fronts(train: list, test: list) -> None:
    """Fronts of held-out training frames and of the test frames."""
    part, held = split(train, 0.2)
    for name, fitted, frames in (("held-out training frames", part, held), ("the test frames", train, test)):
        one = model(0.5).fit(fitted)
        start = time.perf_counter()
        found = pareto(one, frames, grid=100)
        print(f"\nfront on {name}: {len(found.front)} of {len(found.points)} in {time.perf_counter() - start:.0f} s")
        for label, point in (("least product", found.best()), (f"energy ≤ {AT_MOST}", _below(found))):
            if point is None:
                print(f"{label}: none")
                continue
            refitted = model(0.5).fit(train).refit(point.noise)
            values = f"{point.values['energy']:.2f} meV/atom, {point.values['forces']:.4f} eV/Å"
            print(f"{label}: {values}; fitted to all training frames, test: {shown(refitted, test)}", flush=True)


def _below(found: Pareto) -> Point | None:
    """The least error of forces with energies below the limit, if any."""
    inside = [p for p in found.points if p.values["energy"] <= AT_MOST]
    return min(inside, key=lambda p: p.values["forces"], default=None)


def main() -> None:
    warnings.simplefilter("ignore", GapkitWarning)
    train, test = (read_frames(DATA / f"{part}.xyz") for part in ("train", "test"))
    best = by_evidence(train, test)
    print(f"largest evidence: width {best.state_.settings[0].soap['sigma']}, test {shown(best, test)}", flush=True)
    fronts(train, test)


if __name__ == "__main__":
    main()

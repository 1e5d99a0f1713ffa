"""Evidence and Pareto front on silicon, M = 1000: python tests/benchmarks/evidence.py

E + F, r_cut 8 Å, ζ = 6, n = l = 8, as `silicon_table.py`. Widths of the density and exponents of its weight compete by
the evidence, σ of the labels and δ of the terms at its maximum each time; test errors stand beside. Then fronts of 100
models, of the settings of `silicon_table.py` and of those that the evidence chose: on frames that are held out of the
training set, and on the test frames. About twenty minutes on two cores.
"""

from __future__ import annotations

import itertools
import time
import warnings
from pathlib import Path

from gapkit import GAP, GapkitWarning, Noise, SoapTerm, evaluate, read_frames, split
from gapkit.tuning import Pareto, Point, pareto

DATA = Path(__file__).parents[2] / "data" / "silicon"
WIDTHS = (0.45, 0.5, 0.55, 0.6)
EXPONENTS = (1.0, 2.0, 3.0)
BY_HAND = 0.5, 1.0  # width and exponent of `silicon_table.py`
AT_MOST = 2.2  # meV/atom


def model(width: float, m: float) -> GAP:
    """The peer's comparison of `silicon_table.py`, with another width of the density and another weight."""
    weighting = {"function": "poly", "r0": 8.0, "c": 1.0, "m": m}
    soap = {"r_cut": 8.0, "n_max": 8, "l_max": 8, "sigma": width, "weighting": weighting}
    return GAP([SoapTerm(soap, zeta=6, n_sparse=1000)], Noise(0.0005, 0.05, None), n_jobs=2)


def shown(fitted: GAP, frames: list) -> str:
    """Mean absolute errors."""
    found = evaluate(fitted, frames)
    return f"{1e3 * found.energy.mae:.2f} meV/atom  {found.forces.mae:.4f} eV/Å"


def by_evidence(train: list, test: list) -> tuple[float, float]:
    """Width and exponent of the largest evidence."""
    found = {}
    print("width   m   log evidence   test errors before         after maximize_evidence()     σ energy, forces")
    for width, m in itertools.product(WIDTHS, EXPONENTS):
        one = model(width, m).fit(train)
        before = shown(one, test)
        start = time.perf_counter()
        report = one.maximize_evidence().evidence_
        each = (time.perf_counter() - start) / report.evaluations
        noise, found[width, m] = one.state_.noise, one.log_evidence_
        print(
            f"{width:5.2f} {m:3.0f}   {one.log_evidence_:12.1f}   {before}   {shown(one, test)}   "
            f"{noise.energy:.4f} {noise.forces:.4f}   ({report.evaluations} evaluations of {each:.2f} s)",
            flush=True,
        )
    return max(found, key=lambda settings: found[settings])


def fronts(settings: tuple[float, float], train: list, test: list) -> None:
    """Fronts of held-out training frames and of the test frames."""
    print("\nwidth {:g} Å, m {:g}".format(*settings))
    part, held = split(train, 0.2)
    for name, fitted, frames in (("held-out training frames", part, held), ("the test frames", train, test)):
        one = model(*settings).fit(fitted)
        start = time.perf_counter()
        found = pareto(one, frames, grid=100)
        print(f"front on {name}: {len(found.front)} of {len(found.points)} in {time.perf_counter() - start:.0f} s")
        for label, point in (("least product", found.best()), (f"energy ≤ {AT_MOST}", _below(found))):
            if point is None:
                print(f"{label}: none")
                continue
            refitted = model(*settings).fit(train).refit(point.noise)
            values = f"{point.values['energy']:.2f} meV/atom, {point.values['forces']:.4f} eV/Å"
            print(f"{label}: {values}; fitted to all training frames, test: {shown(refitted, test)}", flush=True)


def _below(found: Pareto) -> Point | None:
    """The least error of forces with energies below the limit, if any."""
    inside = [p for p in found.points if p.values["energy"] <= AT_MOST]
    return min(inside, key=lambda p: p.values["forces"], default=None)


def main() -> None:
    warnings.simplefilter("ignore", GapkitWarning)
    train, test = (read_frames(DATA / f"{part}.xyz") for part in ("train", "test"))
    chosen = by_evidence(train, test)
    print("largest evidence: width {:g} Å, m {:g}".format(*chosen), flush=True)
    for settings in (BY_HAND, chosen):
        fronts(settings, train, test)


if __name__ == "__main__":
    main()

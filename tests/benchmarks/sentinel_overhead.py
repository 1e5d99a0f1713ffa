"""What a sentinel costs: MD steps with and without one, in turns, on one core.

    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python tests/benchmarks/sentinel_overhead.py [--repeat 2] [--steps 1000]

A model of 1000 SOAP points is fitted to every fourth frame of data/silicon. Silicon is heated to about 1200 K for 100
steps and run on with VelocityVerlet, with and without the sentinel in turns of 50 steps, so that both see the same
machine; CPU seconds are compared. Every exact σ is in the figures, that of the first look, too. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms, units
from ase.build import bulk
from ase.md.verlet import VelocityVerlet

from gapkit import GAP, GAPCalculator, GapkitWarning
from gapkit.atoms.labels import to_frames
from gapkit.model.defaults import default_terms
from gapkit.uncertainty import Sentinel

DATA = Path(__file__).parents[2] / "data" / "silicon" / "train.xyz"
PIECE = 50


def hot(model: GAP, repeat: int) -> tuple[Atoms, VelocityVerlet]:
    """Silicon at about 1200 K, after 100 steps; the same every time."""
    atoms = bulk("Si", cubic=True) * repeat
    spread_e = np.sqrt(atoms.get_masses() * 2.0 * 1200.0 * units.kB)
    atoms.set_momenta(np.random.default_rng(0).standard_normal((len(atoms), 3)) * spread_e[:, None])
    atoms.calc = GAPCalculator(model)
    dynamics = VelocityVerlet(atoms, 1.0 * units.fs)
    dynamics.run(100)
    return atoms, dynamics


def seconds(dynamics: VelocityVerlet, steps: int) -> float:
    """CPU time of some steps."""
    start = time.process_time()
    dynamics.run(steps)
    return time.process_time() - start


def compare(model: GAP, repeat: int, steps: int, limit: str | None, every: int) -> tuple[float, float, int, int]:
    """Seconds per step without and with the sentinel, exact evaluations, flags."""
    _, plain = hot(model, repeat)
    atoms, watched = hot(model, repeat)
    sentinel = Sentinel(atoms.calc, limit, every=every).attach(watched)
    without = with_it = 0.0
    for _ in range(steps // PIECE):
        without += seconds(plain, PIECE)
        with_it += seconds(watched, PIECE)
    return without / steps, with_it / steps, sentinel.exact_evaluations, len(sentinel.flags)


def main() -> None:
    """Fit, run, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--repeat", type=int, default=3, help="diamond cubes along an edge [3: 216 atoms]")
    parser.add_argument("--steps", type=int, default=1000, help="MD steps of each run [1000]")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", GapkitWarning)
    frames = ase.io.read(DATA, "::4")
    model = GAP(default_terms(to_frames(frames), r_cut=5.4, n_sparse=1000)).fit(frames)
    print(f"{8 * arguments.repeat**3} atoms, {arguments.steps} steps, M = {len(model.state_.posterior.weights_m)}")
    print(f"{'limit':>12} {'every':>5} {'plain ms':>9} {'watched ms':>10} {'overhead':>8} {'exact':>5} {'flags':>5}")
    for limit, every in (("1 eV/Å", 1), ("0.115 eV/Å", 1), ("1 eV/Å", 10), (None, 1)):
        plain, watched, exact, flags = compare(model, arguments.repeat, arguments.steps, limit, every)
        overhead = f"{100 * (watched / plain - 1):.0f} %"
        print(
            f"{limit or 'guards alone':>12} {every:5d} {1e3 * plain:9.2f} {1e3 * watched:10.2f} "
            f"{overhead:>8} {exact:5d} {flags:5d}",
            flush=True,
        )


if __name__ == "__main__":
    main()

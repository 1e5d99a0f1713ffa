"""The peer's fit that gapkit is compared with: python tests/benchmarks/gap_fit_silicon.py ENVIRONMENT

ENVIRONMENT is a virtual environment of its own with quippy-ase installed. Its gap_fit is run on
data/silicon (about 8 CPU minutes and 4 GB on one core); printed are its CPU time, peak memory and
errors on the test split. Its sparse points are drawn at random, so errors differ from run to run.
`compare_peers.py` runs the same fit beside gapkit's.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from peers.gap_fit import peer_fit
from peers.processes import Child
from peers.task import SILICON, silicon


def main(environment: Path) -> None:
    """Fit, then evaluate, each in a process of the peer's environment."""
    with tempfile.TemporaryDirectory() as folder:
        fit = peer_fit(environment, silicon(), Path(folder))
        print(f"gap_fit {fit.usage.cpu:.0f} CPU s, {fit.usage.peak_gb:.1f} GB", flush=True)
        with Child(environment / "bin" / "python", "quippy_side.py") as quippy:
            quippy.ask("load", model=str(fit.model))
            energy, forces = quippy.ask("errors", file=str(SILICON / "test.xyz"))
        print(f"E MAE {energy:.2f} meV/atom, F MAE {forces:.4f} eV/A")


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())

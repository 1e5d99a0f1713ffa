"""Peak memory of a fit against the number of frames: python tests/benchmarks/fit_memory.py

Each fit runs in a process of its own; the peak is the kernel's own figure (ru_maxrss). The frames
are read before the fit begins, and the process with nothing but them is shown beside it.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import warnings
from pathlib import Path

TRAIN = Path(__file__).parents[2] / "data" / "silicon" / "train.xyz"
FRAMES = (50, 100, 200)


def peak_mb() -> float:
    """Peak resident memory of this process so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def fit(n_frames: int) -> None:
    """Fit to n frames, evenly taken, and print peak memory before and after."""
    import numpy as np

    from gapkit import GAP, Noise, SoapTerm, read_frames

    warnings.simplefilter("ignore")
    frames = read_frames(TRAIN)
    frames = [frames[i] for i in np.linspace(0, len(frames) - 1, n_frames).astype(int)]
    before = peak_mb()
    soap = {"r_cut": 5.4, "n_max": 8, "l_max": 8, "sigma": 0.5}
    soap["weighting"] = {"function": "poly", "r0": 5.4, "c": 1.0, "m": 1.0}
    GAP([SoapTerm(soap, zeta=4, n_sparse=1000)], Noise(stress=None)).fit(frames)
    print(f"{n_frames:7d} {sum(map(len, frames)):7d} {before:12.0f} {peak_mb():12.0f}", flush=True)


if __name__ == "__main__":
    if len(sys.argv) == 2:
        fit(int(sys.argv[1]))
    else:
        print(" frames   atoms  MB before   MB at peak", flush=True)
        for n in FRAMES:
            subprocess.run([sys.executable, __file__, str(n)], check=True)

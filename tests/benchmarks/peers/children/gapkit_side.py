"""gapkit's side of the comparison; runs in the environment of gapkit."""

from __future__ import annotations

import subprocess
import time
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import scipy
import threadpoolctl
from serve import serve
from structures import Moving, rattled_silicon

import gapkit
from gapkit import GAP, Noise, SoapTerm, evaluate, read_frames
from gapkit.atoms.labels import to_frames
from gapkit.atoms.neighbours import NeighbourList

loaded: dict[str, Any] = {}


def versions() -> dict[str, str]:
    """Versions of gapkit and of what it computes with."""
    blas = {f"{i['internal_api']} {i['version']}" for i in threadpoolctl.threadpool_info() if i["user_api"] == "blas"}
    return {
        "gapkit": f"{version('gapkit')} {_commit()}".strip(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "BLAS": ", ".join(sorted(blas)),
    }


def _commit() -> str:
    """Commit of gapkit's source tree, with a + if it has changes; empty if it is no git tree."""
    git = ["git", "-C", str(Path(gapkit.__file__).parent), "describe", "--always", "--dirty=+", "--exclude=*"]
    try:
        return subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    except FileNotFoundError:
        return ""


def gemm(m: int, k: int, n: int) -> float:
    """Rate of an (m, k) by (k, n) product in Gflop/s, the best of ten samples of at least 20 ms."""
    rng = np.random.default_rng(0)
    a, b, out = rng.normal(size=(m, k)), rng.normal(size=(k, n)), np.empty((m, n))
    repeats = max(1, int(1e9 / (2 * m * k * n)))
    best = np.inf
    for _ in range(10):
        start = time.perf_counter()
        for _ in range(repeats):
            np.matmul(a, b, out=out)
        best = min(best, (time.perf_counter() - start) / repeats)
    return 2e-9 * m * k * n / best


def fit(
    file: str,
    out: str,
    soap: dict[str, Any],
    zeta: int,
    n_sparse: int | dict[str, int],
    sigmas: tuple[float, float],
    e0: dict[str, float] | None = None,
    n_jobs: int = 1,
) -> float:
    """Fit to energies and forces of the frames of a file and save the model; seconds of the fit itself."""
    frames = read_frames(file)
    model = GAP([SoapTerm(soap, zeta=zeta, n_sparse=n_sparse)], Noise(*sigmas, stress=None), e0=e0, n_jobs=n_jobs)
    start = time.perf_counter()
    model.fit(frames)
    seconds = time.perf_counter() - start
    model.save(out)
    return seconds


def gflop(file: str, model: str) -> float:
    """Operations of the cost model of a fit (docstrings of gapkit.gp.design and descriptors.soap_jacobian)."""
    term = GAP.load(model).state_.terms[0]
    n_max, neighbours, flop = term.descriptor.basis.n_max, NeighbourList(term.descriptor.reach), 0
    for frame in to_frames(read_frames(file)):
        pairs = neighbours.pairs(frame)
        for channel, points in term.points.items():
            n_pairs, (m, d) = len(term.descriptor.pairs_of(pairs, channel).e_p), points.x_md.shape
            partners = n_max * len(term.descriptor.species)
            flop += 2 * 3 * n_pairs * d * (m + n_max * partners)
        flop += 2 * (3 * frame.n_atoms + 1) * term.n_columns**2
    return 1e-9 * flop


def load(model: str, cells: list[int] | None = None, file: str | None = None, n_jobs: int = 1) -> None:
    """Read a model, and the structures that it will be called on."""
    loaded["model"] = GAP.load(model)
    loaded["model"].n_jobs = n_jobs
    loaded["structures"] = Moving.of(cells, file)


def call(want: tuple[str, ...] = ("energy", "forces")) -> tuple[float, float]:
    """Wall and CPU seconds for a prediction of every structure, each with a neighbour list of its own."""
    structures = loaded["structures"].step()
    start, cpu = time.perf_counter(), time.process_time()
    for atoms in structures:
        loaded["model"].predict(atoms, want=set(want))
    return time.perf_counter() - start, time.process_time() - cpu


def once(cells: list[int], want: tuple[str, ...] = ("energy", "forces")) -> dict[str, float]:
    """Seconds per atom of one prediction of rattled silicon, and its number of atoms."""
    atoms = rattled_silicon(cells)
    start = time.perf_counter()
    loaded["model"].predict(atoms, want=set(want))
    return {"per_atom": (time.perf_counter() - start) / len(atoms), "atoms": len(atoms)}


def errors(file: str) -> tuple[float, float]:
    """MAE of energy (meV/atom) and of the force components (eV/Å)."""
    table = evaluate(loaded["model"], read_frames(file)).as_dict()
    return table["energy"]["mae_meV_per_atom"], table["forces"]["mae_eV_per_A"]


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    serve(versions, gemm, fit, gflop, load, call, once, errors)

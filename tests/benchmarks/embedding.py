"""Accuracy and cost of an embedding: python tests/benchmarks/embedding.py --data FOLDER [--frames 500] [--learn]

FOLDER holds the data sets; the one used is 3bpa, a flexible molecule of four elements at 300 K. The full SOAP, in which
every element is a channel, is compared with embeddings of K = 2 and 3 from chemical features, and with `--learn` with
K = 2 learned on a few of the training frames. Errors are those of test_300K. Calls of all models take turns, and the
shortest counts; times are those of the processor, because the machine may be shared: pin the BLAS to one thread. Prints
a Markdown table, in which every figure stands beside its ratio to the full SOAP.
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from gapkit import GAP, Noise, SoapTerm, evaluate, read_frames
from gapkit.tuning import learn_embedding

R_CUT, N_SPARSE, ROUNDS, CALLS = 4.5, 1500, 30, 10
SOAP = {"r_cut": R_CUT, "n_max": 8, "l_max": 6, "sigma": 0.3}
SOAP |= {"weighting": {"function": "poly", "r0": R_CUT, "c": 1.0, "m": 1.0}}


def model(embedding: Any, n_sparse: int = N_SPARSE) -> GAP:
    """A SOAP term with the σ of the comparison with peers."""
    return GAP([SoapTerm(SOAP, n_sparse=n_sparse, embedding=embedding)], Noise(0.001, 0.1, None))


def call_times(models: list[GAP], molecules: list[Atoms]) -> list[float]:
    """Shortest time of a force call of each model, in ms, averaged over molecules; the models take turns."""
    best = np.full((len(models), len(molecules)), np.inf)
    for _ in range(ROUNDS):
        for k, fitted in enumerate(models):
            for m, atoms in enumerate(molecules):
                start = time.process_time()
                fitted.predict(atoms, {"energy", "forces"})
                best[k, m] = min(best[k, m], time.process_time() - start)
    return [float(1e3 * t) for t in best.mean(axis=1)]


def settings(train: list[Atoms], learn: bool) -> dict[str, Any]:
    """Embeddings by name."""
    found: dict[str, Any] = {"full": None, "K = 3": 3, "K = 2": 2}
    if learn:
        learned = learn_embedding(model(2), train)
        print(learned, "\n", flush=True)
        found["K = 2, learned"] = learned.vectors
    return found


def main() -> None:
    """Fit, evaluate and time all, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--frames", type=int, default=500)
    parser.add_argument("--learn", action="store_true")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    folder = arguments.data / "3bpa"
    train, test = read_frames(folder / "train_300K.xyz"), read_frames(folder / "test_300K.xyz")
    train = train[:: max(1, len(train) // arguments.frames)][: arguments.frames] + read_frames(folder / "iso_atoms.xyz")
    fits, seconds, errors = [], [], []
    chosen = settings(train, arguments.learn)
    for name, embedding in chosen.items():
        start = time.process_time()
        fits.append(model(embedding).fit(train))
        seconds.append(time.process_time() - start)
        table = evaluate(fits[-1], test).as_dict()
        errors.append((1e3 * table["forces"]["rmse_eV_per_A"], table["energy"]["rmse_meV_per_atom"]))
        print(f"{name}: {seconds[-1]:.0f} s, {errors[-1][0]:.1f} meV/Å, {errors[-1][1]:.3f} meV/atom", flush=True)
    columns = np.column_stack([errors, call_times(fits, test[:CALLS]), seconds])
    print(f"\n{len(train)} training frames, {N_SPARSE} sparse points, {len(test)} test frames\n")
    print("| SOAP | force RMSE (meV/Å) | energy RMSE (meV/atom) | force call (ms) | fit (s) |\n|---|---|---|---|---|")
    for name, row in zip(chosen, columns, strict=True):
        cells = [f"{x:.3g} ({x / full:.2f})" for x, full in zip(row, columns[0], strict=True)]
        print("|", " | ".join([name, *cells]), "|")


if __name__ == "__main__":
    main()

"""Errors on real data beside published ones: python tests/benchmarks/accuracy.py [mota|3bpa|ethanol|all] --data DIR

DIR holds the folders mota, 3bpa and ethanol. One recipe per set (`accuracy_recipes.py`), whose settings were chosen on
held-out frames of the training split, but for the molecules not blindly: the README says what was seen. Frames of the
published test split of Mo-Ta that are copies of training structures are named, and left out in a second row. Each set
runs in a process of its own, so that the peak of its memory is the kernel's own figure (ru_maxrss). About a quarter of
an hour on two free cores.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from accuracy_recipes import RECIPES, Recipe
from ase import Atoms

from gapkit import GAP, ZBL, Cohesion, GapkitWarning, evaluate, read_frames
from gapkit.datasets import copies

COLUMNS = ("set", "test", "energy", "published", "forces", "published", "M", "fit (s)", "peak (GB)")
BASELINES = (ZBL(), Cohesion())


def errors(model: GAP, frames: Sequence[Atoms], recipe: Recipe) -> tuple[float, float]:
    """Errors of energy and forces on labelled structures, in the units and the measure of the recipe."""
    found = evaluate(model, frames)
    if found.energy is None or found.forces is None:
        raise SystemExit("the test structures have no energies or no forces")
    difference = found.energy.predicted_n - found.energy.true_n
    if recipe.total:
        difference = difference * np.array([len(atoms) for atoms in frames])
    if recipe.measure == "MAE":
        return 1e3 * float(np.abs(difference).mean()), 1e3 * found.forces.mae
    return 1e3 * float(np.sqrt(np.square(difference).mean())), 1e3 * found.forces.rmse


def measure(name: str, recipe: Recipe, data: Path) -> None:
    """Fit one set, and print its rows of the table and its settings."""
    frames = [atoms for file in recipe.train for atoms in read_frames(data / name / f"{file}.xyz")]
    start = time.perf_counter()
    model = GAP(recipe.terms(), recipe.noise, baselines=BASELINES, n_jobs=2).fit(frames)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    columns = len(model.state_.posterior.weights_m)
    unit = "meV" if recipe.total else "meV/atom"
    cost = str(columns), f"{seconds:.0f}", f"{peak:.1f}"
    for test, published in recipe.tests.items():
        queries = read_frames(data / name / f"{test}.xyz")
        rows = {f"{test} ({recipe.measure})": queries}
        seen = copies(frames, queries) if queries[0].pbc.any() else {}
        new = [s for s in range(len(queries)) if s not in seen]
        if len(new) < len(queries):
            rows[f"{test}, the {len(new)} of {len(queries)} that are no copies"] = [queries[s] for s in new]
        for label, some in rows.items():
            energy, force = errors(model, some, recipe)
            shown = (f"{energy:.2f} {unit}", listed(published, 0), f"{force:.1f} meV/Å", listed(published, 1))
            print_row(name, label, *shown, *cost)
    known = ", ".join(type(baseline).__name__ for baseline in BASELINES)
    size = f"{len(frames)} frames, {sum(map(len, frames))} atoms"
    print(f"\n{name}: {size}; {recipe.described()}; baselines {known}", flush=True)


def print_row(*cells: str) -> None:
    """One row of a Markdown table."""
    print("| " + " | ".join(cells) + " |", flush=True)


def listed(published: Mapping[str, tuple[float, float]], column: int) -> str:
    """Published errors of energy (0) or forces (1)."""
    return ", ".join(f"{method} {values[column]:g}" for method, values in published.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", nargs="?", default="all", choices=[*RECIPES, "all"])
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    given = parser.parse_args()
    if given.set != "all":
        warnings.simplefilter("ignore", GapkitWarning)
        print_row(*COLUMNS)
        print_row(*["---"] * len(COLUMNS))
        measure(given.set, RECIPES[given.set], given.data)
        return
    for name in RECIPES:
        subprocess.run([sys.executable, __file__, name, "--data", str(given.data)], check=True)


if __name__ == "__main__":
    main()

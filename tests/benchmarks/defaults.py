"""What `GAP()` without settings reaches, and costs: python tests/benchmarks/defaults.py [SET|all] [--data DIR]

Sets: silicon (from this repository), mota, 3bpa, ethanol (folders of DIR). A row per test file with the errors of the
default model; then the settings, the time of the whole fit, and that of one fit with the settings that it chose. The
settings by hand that they are compared with are in `accuracy_recipes.py` and `silicon_table.py`. Each set runs in a
process of its own. About three quarters of an hour on two free cores.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
import warnings
from pathlib import Path

from accuracy import errors, print_row
from accuracy_recipes import RECIPES, Recipe

from gapkit import GAP, GapkitWarning, Noise, read_frames

SILICON = Path(__file__).parents[2] / "data"
SETS: dict[str, Recipe] = {
    "silicon": Recipe(("train",), {"test": {}}, list, Noise()),
    **RECIPES,
}
COLUMNS = ("set", "test", "energy", "forces", "M", "default fit (s)", "one fit (s)", "ratio", "peak (GB)")


def measure(name: str, recipe: Recipe, data: Path) -> None:
    """Fit one set without settings, and once more with those that were chosen."""
    folder = (SILICON if name == "silicon" else data) / name
    frames = [atoms for file in recipe.train for atoms in read_frames(folder / f"{file}.xyz")]
    start = time.perf_counter()
    model = GAP(n_jobs=2).fit(frames)
    default = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    settings, state = list(model.state_.settings), model.state_
    unit, columns = "meV" if recipe.total else "meV/atom", len(state.posterior.weights_m)
    found = [(test, errors(model, read_frames(folder / f"{test}.xyz"), recipe)) for test in recipe.tests]
    start = time.perf_counter()
    GAP(settings, state.noise, baselines=list(state.baselines), n_jobs=2).fit(frames)
    once = time.perf_counter() - start
    for test, (energy, force) in found:
        cost = (str(columns), f"{default:.0f}", f"{once:.0f}", f"{default / once:.1f}", f"{peak:.1f}")
        print_row(name, f"{test} ({recipe.measure})", f"{energy:.2f} {unit}", f"{force:.1f} meV/Å", *cost)
    print(f"\n{name}: {settings}, {state.noise}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", nargs="?", default="all", choices=[*SETS, "all"])
    parser.add_argument("--data", type=Path, default=SILICON, metavar="DIR")
    given = parser.parse_args()
    if given.set != "all":
        warnings.simplefilter("ignore", GapkitWarning)
        print_row(*COLUMNS)
        print_row(*["---"] * len(COLUMNS))
        measure(given.set, SETS[given.set], given.data)
        return
    for name in SETS:
        subprocess.run([sys.executable, __file__, name, "--data", str(given.data)], check=True)


if __name__ == "__main__":
    main()

"""What extending and fine-tuning are worth: python tests/benchmarks/transfer.py --data DIR [--only extend|tune]

DIR holds the folder mota: Mo, Ta and their alloys by one method (PBE). Prints two Markdown tables.

Extend: a model of Mo meets a random tenth of the Ta and alloy frames, without its old frames, beside a model of that
tenth alone with as many sparse points and beside one of everything. Errors on each test file, and what the extension
costs on Mo.

Fine-tune: there is no second functional in the data, so one is made, and it is stated: the labels of Mo plus an
embedding energy -A sqrt(ρ_i) with ρ_i a sum over neighbours of exp(-2(r/r0 - 1)) that fades at 4.5 Å, and an offset of
0.7 eV per atom. It moves cohesion, volume and surfaces by tenths of an eV per atom, as another functional does, and is
no function of the pairs. Few of its energies (no forces) are given to the model of Mo, and to a model of them alone,
with two σ; f is the prior σ of the difference that was found, in units of that of the model.

Pin the BLAS to one thread; takes about three minutes.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.neighborlist import neighbor_list

from gapkit import GAP, GapkitWarning, Noise, PairTerm, SoapTerm, evaluate, read_frames

R_CUT, M_OLD, M_NEW, SHARE, SEED = 5.0, 400, 400, 0.1, 0
SOAP = {"r_cut": R_CUT, "n_max": 6, "l_max": 5, "sigma": 0.5}
SOAP |= {"weighting": {"function": "poly", "r0": R_CUT, "c": 1.0, "m": 1.0}}
NOISE = Noise(0.001, 0.05, 0.02)
MO = ("Mo_AIMD", "Mo_Elastic", "Mo_Surface")
OTHERS = ("MoTa_SS", "Ta_AIMD", "Ta_Elastic", "Ta_Surface")
TESTS = ("MoTa_Test", "Ta_Test", "Mo_Test")
FEW, SIGMAS = (10, 30, 100), (0.001, 0.005)  # σ of the new energies, eV/atom
STRENGTH, OFFSET, NEAREST, FADE = 0.6, 0.7, 2.73, 4.5  # eV, eV, Å, Å


def model(n_sparse: int, noise: Noise = NOISE) -> GAP:
    """A pair term and a SOAP term."""
    return GAP([PairTerm(R_CUT), SoapTerm(SOAP, zeta=4, n_sparse=n_sparse)], noise)


def timed(work: Callable[[], GAP]) -> tuple[GAP, float]:
    """What was made, and the seconds that it took."""
    start = time.perf_counter()
    return work(), time.perf_counter() - start


def read(folder: Path, names: Iterable[str]) -> list[Atoms]:
    """All frames of some files."""
    return [atoms for name in names for atoms in read_frames(folder / f"{name}.xyz")]


def errors(made: GAP, frames: Sequence[Atoms]) -> tuple[float, float]:
    """MAE of energies (meV/atom) and forces (meV/Å); forces nan where there are none."""
    table = evaluate(made, frames).as_dict()
    forces = table["forces"]["mae_eV_per_A"] if table.get("forces") else float("nan")
    return table["energy"]["mae_meV_per_atom"], 1e3 * forces


def row(*cells: object) -> None:
    """One row of a Markdown table."""
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def head(*cells: str) -> None:
    """The first two."""
    row(*cells)
    row(*["---"] * len(cells))


def extend(folder: Path) -> None:
    """The table of the extension."""
    old, new = read(folder, MO), read(folder, OTHERS)
    rng = np.random.default_rng(SEED)
    tenth = [new[k] for k in sorted(rng.choice(len(new), round(SHARE * len(new)), replace=False))]
    print(f"\n{len(old)} frames of Mo, a tenth of the others: {len(tenth)} of {len(new)}; MAE in meV/atom / meV/Å\n")
    alone_mo, seconds = timed(lambda: model(M_OLD).fit(old))
    made = {"Mo alone": (alone_mo, seconds)}
    points = {"Mo": M_NEW // 2, "Ta": M_NEW // 2}
    made["Mo, extended by the tenth"] = timed(lambda: deepcopy(alone_mo).extend(tenth, n_sparse=points))
    alone_mo.state_ = replace(alone_mo.state_, rows=None)
    made["the same, saved without data"] = timed(lambda: deepcopy(alone_mo).extend(tenth, n_sparse=points))
    made["the tenth alone"] = timed(lambda: model(M_OLD + M_NEW).fit(tenth))
    made["both at once"] = timed(lambda: model(M_OLD + M_NEW).fit([*old, *tenth]))
    head("model", *TESTS, "M", "s")
    tests = {name: read(folder, [name]) for name in TESTS}
    found: dict[str, dict[str, tuple[float, float]]] = {}
    for name, (one, seconds) in made.items():
        own = [test for test, frames in tests.items() if _knows(one, frames)]
        found[name] = {test: errors(one, tests[test]) for test in own}
        cells = [" / ".join(f"{x:.2f}" for x in found[name][t]) if t in own else "" for t in TESTS]
        row(name, *cells, len(one.state_.posterior.weights_m), f"{seconds:.0f}")
    extended, tenth_alone = found["Mo, extended by the tenth"], found["the tenth alone"]
    print("\nextended over the tenth alone:", _ratios(extended, tenth_alone, TESTS))
    print("extended over both at once:", _ratios(extended, found["both at once"], TESTS))
    print("extended over Mo alone:", _ratios(extended, found["Mo alone"], ["Mo_Test"]), flush=True)


def _knows(made: GAP, frames: Sequence[Atoms]) -> bool:
    return {int(z) for atoms in frames for z in atoms.numbers} <= set(made.species_)


def _ratios(one: dict[str, tuple[float, float]], other: dict[str, tuple[float, float]], tests: Iterable[str]) -> str:
    """Errors of energy / forces over those of another model."""
    return ", ".join(
        f"{test} " + " / ".join(f"{a / b:.2f}" for a, b in zip(one[test], other[test], strict=True)) for test in tests
    )


def other_method(atoms: Atoms) -> Atoms:
    """The structure with the energy of the made-up method, and no other label."""
    i_p, r_p = neighbor_list("id", atoms, FADE)
    density = np.exp(-2.0 * (r_p / NEAREST - 1.0)) * (1.0 - (r_p / FADE) ** 2) ** 2
    energy = -STRENGTH * np.sqrt(np.bincount(i_p, density, len(atoms))).sum() + OFFSET * len(atoms)
    copy = atoms.copy()
    copy.calc = SinglePointCalculator(copy, energy=atoms.get_potential_energy() + energy)
    return copy


def tune(folder: Path) -> None:
    """The table of the fine-tuning."""
    frames, tests = read(folder, MO), [other_method(atoms) for atoms in read(folder, ["Mo_Test"])]
    old, seconds = timed(lambda: model(M_OLD).fit(frames))
    order = np.random.default_rng(SEED).permutation(len(frames))
    print(f"\nMo, {len(frames)} frames by PBE ({seconds:.0f} s); energies of the other method, MAE in meV/atom\n")
    shift = np.array([atoms.get_potential_energy() / len(atoms) for atoms in tests])
    shift -= [p.energy / len(p.forces) for p in old.predict(tests, {"energy", "forces"})]
    print(f"the old model, moved by the mean difference: {1e3 * np.abs(shift - np.median(shift)).mean():.1f}\n")
    head("new energies", "σ (meV/atom)", "they alone", "fine-tuned", "ratio", "difference = 0", "f", "s")
    for n, sigma in product(FEW, SIGMAS):
        few, noise = [other_method(frames[k]) for k in order[:n]], Noise(sigma, NOISE.forces, NOISE.stress)
        start = time.perf_counter()
        tuned = deepcopy(old).fine_tune(few, noise=noise)
        seconds = time.perf_counter() - start
        stiff = deepcopy(old).fine_tune(few, noise=noise, difference=0.0)
        alone = model(M_OLD, Noise(sigma, None, None)).fit(few)
        a, b, c = (errors(one, tests)[0] for one in (alone, tuned, stiff))
        f = np.sqrt(tuned.state_.terms[0].delta ** 2 - 1.0)
        row(n, 1e3 * sigma, f"{a:.2f}", f"{b:.2f}", f"{b / a:.2f}", f"{c:.2f}", f"{f:.2g}", f"{seconds:.0f}")


def main() -> None:
    """Both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--only", choices=["extend", "tune"])
    given = parser.parse_args()
    warnings.simplefilter("ignore", GapkitWarning)
    if given.only != "tune":
        extend(given.data / "mota")
    if given.only != "extend":
        tune(given.data / "mota")


if __name__ == "__main__":
    main()

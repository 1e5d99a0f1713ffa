"""Energy and forces of 1152 silicon atoms, neighbours included; the codes take turns."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from statistics import median

from peers.bench import Bench, threads_available
from peers.processes import Child, say
from peers.snap import prepare, seconds_per_atom
from peers.table import Row, per_atom, versus

STD = ("energy", "forces", "energies_std")


def call(bench: Bench) -> list[Row]:
    """Rows against quippy and SNAP, with two threads, and with standard deviations."""
    n_atoms = 8 * bench.sizes.cells[0] * bench.sizes.cells[1] * bench.sizes.cells[2]
    with ExitStack() as stack:
        medians = take_turns(_timed(bench, stack, n_atoms), bench.sizes.rounds)
    own, std, what = medians["gapkit"], medians["std"], f"energy + forces, {n_atoms} Si atoms"
    rows = [
        Row(f"{what}, one core", per_atom(own), aim="≤ 60 µs/atom"),
        versus(f"{what}, one core, quippy", own, medians["quippy"], per_atom, "≥ 40 ×"),
        versus(f"{what}, one core, SNAP in LAMMPS", own, medians["snap"], per_atom, "≥ 3 ×"),
        Row(f"{what}, one core, σ of every energy", per_atom(std), "", f"{std / own:.2f} × without σ", "≤ 1.6 ×"),
    ]
    if "two" in medians:
        two = medians["two"]
        ratio = f"{own / two:.2f} × faster than one"
        rows.append(Row(f"{what}, two cores", per_atom(two), "", ratio, "≤ 35 µs/atom"))
    return rows


def take_turns(codes: dict[str, Callable[[], float]], rounds: int, unit: str = "µs/atom") -> dict[str, float]:
    """Median of each code's figure in s, after one round that is not counted."""
    figures: dict[str, list[float]] = {name: [] for name in codes}
    for k in range(rounds + 1):
        for name, once in codes.items():
            value = once()
            if k:
                figures[name].append(value)
        if k:
            say(f"round {k}: " + ", ".join(f"{name} {1e6 * v[-1]:.1f}" for name, v in figures.items()) + f" {unit}")
    return {name: median(values) for name, values in figures.items()}


def calls_of(child: Child, n_atoms: int, n_calls: int = 1, **arguments: object) -> Callable[[], float]:
    """A function that lets a child do some calls and gives their median time in seconds per atom."""
    return lambda: median(child.ask("call", **arguments) for _ in range(n_calls)) / n_atoms


def _timed(bench: Bench, stack: ExitStack, n_atoms: int) -> dict[str, Callable[[], float]]:
    """The codes, ready to be called."""
    task, cells = bench.silicon(), list(bench.sizes.cells)
    peer, own = bench.peer(task), bench.own(task, threads_available()[-1])
    quippy = stack.enter_context(bench.quippy())
    quippy.ask("load", model=str(peer.model), cells=cells)
    gapkit = {n: stack.enter_context(bench.gapkit(n)) for n in threads_available()}
    for n, child in gapkit.items():
        child.ask("load", model=str(own.model), cells=cells, n_jobs=n)
    lammps = prepare(bench.folder, bench.sizes.snap_steps)
    codes = {
        "gapkit": calls_of(gapkit[1], n_atoms, 5),
        "quippy": calls_of(quippy, n_atoms),
        "snap": lambda: seconds_per_atom(bench.environment, lammps),
        "std": calls_of(gapkit[1], n_atoms, 5, want=STD),
    }
    return codes | ({"two": calls_of(gapkit[2], n_atoms, 5)} if 2 in gapkit else {})

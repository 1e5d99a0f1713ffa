"""Energy and forces of 1152 silicon atoms, neighbours included; the codes take turns."""

from __future__ import annotations

from contextlib import ExitStack

from peers.bench import Bench, threads_available
from peers.snap import prepare, seconds_per_atom
from peers.table import Row, per_atom
from peers.turns import Timed, calls_of, compared, take_turns

STD = ("energy", "forces", "energies_std")


def call(bench: Bench) -> list[Row]:
    """Rows against quippy and SNAP, with two threads, and with standard deviations."""
    n_atoms = 8 * bench.sizes.cells[0] * bench.sizes.cells[1] * bench.sizes.cells[2]
    with ExitStack() as stack:
        medians = take_turns(_timed(bench, stack, n_atoms), bench.sizes.rounds, "atom")
    own, std, what = medians["gapkit"], medians["std"], f"energy + forces, {n_atoms} Si atoms"
    ratio = f"{std.wall / own.wall:.2f} × without σ"
    rows = [
        Row(f"{what}, one core", per_atom(own.wall), aim="≤ 60 µs/atom"),
        *compared(f"{what}, one core, quippy", own, medians["quippy"], per_atom, "≥ 40 ×"),
        *compared(f"{what}, one core, SNAP in LAMMPS", own, medians["snap"], per_atom, "≥ 3 ×"),
        Row(f"{what}, one core, σ of every energy", per_atom(std.wall), "", ratio, "≤ 1.6 ×"),
    ]
    if "two" in medians:
        two = medians["two"].wall
        rows.append(Row(f"{what}, two cores", per_atom(two), "", f"{own.wall / two:.2f} × one core", "≤ 35 µs/atom"))
    return rows


def _timed(bench: Bench, stack: ExitStack, n_atoms: int) -> dict[str, Timed]:
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

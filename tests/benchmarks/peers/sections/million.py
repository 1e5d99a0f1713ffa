"""Energy, forces and stress of a very large structure in one call."""

from __future__ import annotations

from statistics import median

from peers.bench import Bench, threads_available
from peers.processes import say
from peers.table import Row, gigabytes, per_atom

WANT = ("energy", "forces", "stress")


def million(bench: Bench) -> list[Row]:
    """A row of time and one of memory for each number of threads."""
    model = bench.own(bench.silicon(), threads_available()[-1]).model
    side = round((bench.sizes.large / 8) ** (1 / 3))
    return [row for n in threads_available() for row in _rows(bench, str(model), side, n)]


def _rows(bench: Bench, model: str, side: int, n: int) -> list[Row]:
    """Rows of one number of threads; both structures are called in the same process."""
    say(f"{8 * side**3} atoms, {n} threads")
    with bench.gapkit(n) as child:
        child.ask("load", model=model, n_jobs=n)
        small = median(child.ask("once", cells=(5, 5, 5), want=WANT)["per_atom"] for _ in range(7))
        large = child.ask("once", cells=(side, side, side), want=WANT)
        peak = child.close().peak_gb
    what = f"energy + forces + stress, {large['atoms']} Si atoms, {n} thread" + "s" * (n > 1)
    ratio = f"{large['per_atom'] / small:.3f} × 1000 atoms ({per_atom(small)})"
    return [
        Row(f"{what}: time", per_atom(large["per_atom"]), "", ratio, "≤ 1.10 ×"),
        Row(f"{what}: peak memory", gigabytes(peak), aim="< 8 GB"),
    ]

"""Rate of dgemm on one core: what the machine can do at best, and with the shapes of the fit."""

from __future__ import annotations

from peers.bench import Bench
from peers.processes import say
from peers.table import Row

SHAPES = ((2000, 2000, 2000), (288, 184, 1000), (64, 324, 1000), (192, 324, 1000))


def gemm(bench: Bench) -> list[Row]:
    """A row per shape."""
    say("gemm")
    rows = []
    with bench.gapkit() as child:
        for m, k, n in SHAPES:
            rate = child.ask("gemm", m=m, k=k, n=n)
            rows.append(Row(f"dgemm {m}x{k} by {k}x{n}, one core", f"{rate:.0f} Gflop/s"))
    return rows

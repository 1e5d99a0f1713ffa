"""Rate of dgemm on one core: what the machine can do at best, and with the shapes of the fit."""

from __future__ import annotations

from peers.bench import Bench

SHAPES = ((2000, 2000, 2000), (288, 184, 1000), (64, 324, 1000), (192, 324, 1000))


def gemm(bench: Bench) -> str:
    """A line with the rate of every shape, for the header."""
    with bench.gapkit() as child:
        rates = [child.ask("gemm", m=m, k=k, n=n) for m, k, n in SHAPES]
    listed = (f"{m}x{k} by {k}x{n} {rate:.0f}" for (m, k, n), rate in zip(SHAPES, rates, strict=True))
    return f"dgemm on one core, Gflop/s: {', '.join(listed)}"

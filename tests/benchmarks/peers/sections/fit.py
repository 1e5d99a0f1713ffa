"""The fit to silicon: time, memory and errors of both."""

from __future__ import annotations

from peers.bench import Bench, OwnFit, threads_available
from peers.gap_fit import PeerFit
from peers.processes import Child, say
from peers.table import Row, errors, gigabytes, seconds, versus
from peers.task import SILICON


def fit(bench: Bench) -> list[Row]:
    """Rows of wall time, CPU time and memory for one core and two, and of the errors."""
    task = bench.silicon()
    own = {n: bench.own(task, n) for n in threads_available()}
    peer = bench.peer(task)
    rows = [row for n, fitted in own.items() for row in _usage(f"fit of silicon, M = {task.m}", n, fitted, peer)]
    say("errors on the test split")
    with bench.gapkit() as gapkit, bench.quippy() as quippy:
        mine, theirs = _errors(gapkit, own[1].model), _errors(quippy, peer.model)
    return [*rows, _share(bench, own[1]), *errors("test MAE of silicon", mine, theirs)]


def _share(bench: Bench, own: OwnFit) -> Row:
    """How near the fit on one core comes to what dgemm could do at best with the operations of the cost model."""
    with bench.gapkit() as child:
        rate = child.ask("gemm", m=2000, k=2000, n=2000)
        gflop = child.ask("gflop", file=str(bench.folder / f"{bench.silicon().name}.xyz"), model=str(own.model))
    figure = f"{gflop:.0f} Gflop in {seconds(own.fit_s)}"
    share = f"{100 * gflop / own.fit_s / rate:.0f} % of dgemm"
    return Row("fit of silicon, one core: share of dgemm's rate", figure, "", share, "60 %")


def _usage(what: str, n: int, own: OwnFit, peer: PeerFit) -> list[Row]:
    """Rows of one number of cores; gap_fit has no threads, it always runs on one core."""
    what += ", one core" if n == 1 else f", {n} cores"
    mine, theirs, note = own.usage, peer.usage, peer.note
    return [
        versus(f"{what}: wall", mine.wall, theirs.wall, seconds, "≥ 50 ×" if n == 2 else "", note),
        versus(f"{what}: wall, GAP.fit alone", own.fit_s, theirs.wall, seconds, "", note),
        versus(f"{what}: CPU time", mine.cpu, theirs.cpu, seconds, "", note),
        versus(f"{what}: peak memory", mine.peak_gb, theirs.peak_gb, gigabytes, "≤ 0.7 GB", note),
    ]


def _errors(child: Child, model: object) -> list[float]:
    child.ask("load", model=str(model))
    answer: list[float] = child.ask("errors", file=str(SILICON / "test.xyz"))
    return answer

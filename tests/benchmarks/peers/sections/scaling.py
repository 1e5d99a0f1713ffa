"""How gapkit's time and memory grow with atoms, frames and sparse points."""

from __future__ import annotations

from dataclasses import replace
from statistics import median

from peers.bench import Bench, threads_available
from peers.processes import say
from peers.table import Row, gigabytes, per_atom, seconds
from peers.task import Task, silicon


def scaling(bench: Bench) -> list[Row]:
    """Rows for numbers of atoms, of frames and of sparse points."""
    sizes = bench.sizes
    tasks = [(f"{n} frames", silicon(n, sizes.n_max, sizes.m)) for n in sizes.scaling_frames]
    tasks += [("all frames", silicon(sizes.frames, sizes.n_max, m)) for m in sizes.scaling_m]
    return _calls(bench) + [_fit(bench, task, f"{frames}, M = {task.m}") for frames, task in tasks]


def _calls(bench: Bench) -> list[Row]:
    """Energy and forces of structures of growing size, on one core."""
    rows = []
    with bench.gapkit() as child:
        child.ask("load", model=str(bench.own(bench.silicon(), threads_available()[-1]).model))
        for cells in bench.sizes.scaling_cells:
            n_calls = max(1, min(15, 20_000 // (8 * cells[0] * cells[1] * cells[2])))
            answers = [child.ask("once", cells=cells) for _ in range(n_calls + 1)][-n_calls:]
            what = f"energy + forces, {answers[0]['atoms']} Si atoms, one core"
            rows.append(Row(what, per_atom(median(a["per_atom"] for a in answers))))
            say(f"{what}: {rows[-1].gapkit}")
    return rows


def _fit(bench: Bench, task: Task, label: str) -> Row:
    """One fit on all cores."""
    n = threads_available()[-1]
    fitted = bench.own(replace(task, name=f"silicon-{label}"), n)
    figure = f"{seconds(fitted.usage.wall)} ({seconds(fitted.fit_s)} in GAP.fit), {gigabytes(fitted.usage.peak_gb)}"
    return Row(f"fit of silicon, {label}, {n} threads", figure)

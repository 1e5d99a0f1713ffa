"""A flexible molecule of four elements: fits of both on some frames, calls, and gapkit's fit of all frames."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace

from peers.bench import Bench, OwnFit, threads_available
from peers.gap_fit import PeerFit
from peers.processes import say
from peers.table import Row, errors, gigabytes, milliseconds, seconds, versus
from peers.task import Task, evenly, isolated_energies, xyz_frames
from peers.turns import calls_of, compared, take_turns

SIGMAS = (0.001, 0.1)


def organic(bench: Bench) -> list[Row]:
    """Rows of fits, errors, calls and the large fit; one row that says why, if the data are not there."""
    train = bench.organic / "train_300K.xyz"
    if not train.exists():
        return [Row("organic molecule", "skipped: no train_300K.xyz, give --organic FOLDER")]
    frames = evenly(xyz_frames(train), bench.sizes.organic_all)
    some = evenly(frames, bench.sizes.organic_frames)
    small, held = task_of(bench, some), [f for f in frames if f not in some]
    own = {n: bench.own(small, n) for n in threads_available()}
    peer = bench.peer(small)
    rows = [row for n, fitted in own.items() for row in _fits(len(some), small, n, fitted, peer)]
    return rows + _calls(bench, own[1], peer, evenly(held, bench.sizes.organic_calls)) + [_all(bench, frames)]


def task_of(bench: Bench, frames: Sequence[str]) -> Task:
    """The fit of some frames; no more sparse points of an element than its atoms in them."""
    symbols = re.findall(r"(?m)^([A-Z][a-z]?)\s", "".join(frames))
    isolated = isolated_energies(bench.organic / "iso_atoms.xyz")
    e0 = {s: e for s, e in isolated.items() if s in symbols}
    n_sparse = {s: min(bench.sizes.organic_m, symbols.count(s)) for s in e0}
    name, n, l = f"organic-{len(frames)}", bench.sizes.organic_n, bench.sizes.organic_l
    return Task(name, "".join(frames), n, l, 0.3, 4.5, 4, n_sparse, SIGMAS, e0)


def _fits(n_frames: int, task: Task, n: int, own: OwnFit, peer: PeerFit) -> list[Row]:
    """Rows of one number of cores; gap_fit has no threads, it always runs on one core."""
    what = f"fit of {n_frames} molecules, M = {task.m}, " + ("one core" if n == 1 else f"{n} cores")
    mine, theirs, note = own.usage, peer.usage, peer.note
    return [
        versus(f"{what}: wall", mine.wall, theirs.wall, seconds, "≥ 20 ×", note),
        versus(f"{what}: CPU time", mine.cpu, theirs.cpu, seconds, "", note),
        versus(f"{what}: peak memory", mine.peak_gb, theirs.peak_gb, gigabytes, "", note),
    ]


def _calls(bench: Bench, own: OwnFit, peer: PeerFit, held: list[str]) -> list[Row]:
    """Errors and times on frames that were not fitted."""
    file = bench.folder / "held.xyz"
    file.write_text("".join(held))
    with ExitStack() as stack:
        gapkit, quippy = stack.enter_context(bench.gapkit()), stack.enter_context(bench.quippy())
        gapkit.ask("load", model=str(own.model), file=str(file))
        quippy.ask("load", model=str(peer.model), file=str(file))
        mine, theirs = gapkit.ask("errors", file=str(file)), quippy.ask("errors", file=str(file))
        codes = {"gapkit": calls_of(gapkit, len(held)), "quippy": calls_of(quippy, len(held))}
        medians = take_turns(codes, bench.sizes.rounds, "molecule")
    what = "energy + forces of one molecule, one core"
    rows = compared(what, medians["gapkit"], medians["quippy"], milliseconds, "≥ 20 ×")
    return rows + errors(f"MAE of {len(held)} other molecules", mine, theirs)


def _all(bench: Bench, frames: list[str]) -> Row:
    """gapkit's fit of all frames."""
    task = replace(task_of(bench, frames), name="organic-all")
    n = threads_available()[-1]
    say(f"all {len(frames)} molecules")
    usage = bench.own(task, n).usage
    figure = f"{seconds(usage.wall)}, {gigabytes(usage.peak_gb)}"
    return Row(f"fit of {len(frames)} molecules, M = {task.m}, {n} threads", figure, aim="< 3 GB")

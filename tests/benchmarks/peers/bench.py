"""One run of the comparison: where things are, and fits that several sections share."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from peers.gap_fit import PeerFit, peer_fit
from peers.processes import CORES, Child, Usage, say
from peers.sizes import Sizes
from peers.task import Task, silicon


class OwnFit(NamedTuple):
    """A fit of gapkit: its model, what the whole process used, and the seconds of `GAP.fit` in it."""

    model: Path
    usage: Usage
    fit_s: float


@dataclass
class Bench:
    """What the sections need to know.

    Attributes
    ----------
    environment
        Virtual environment of the peers.
    folder, cache
        Folder of this run, and that of the peers' fits, which may be older.
    organic
        Folder with train_300K.xyz and iso_atoms.xyz.
    """

    environment: Path
    folder: Path
    cache: Path
    organic: Path
    sizes: Sizes
    _peer: dict[str, PeerFit] = field(default_factory=dict)
    _own: dict[tuple[str, int], OwnFit] = field(default_factory=dict)

    def silicon(self) -> Task:
        """The fit to silicon."""
        return silicon(self.sizes.frames, self.sizes.n_max, self.sizes.m)

    def peer(self, task: Task) -> PeerFit:
        """gap_fit's fit, done once in a run."""
        if task.name not in self._peer:
            self._peer[task.name] = peer_fit(self.environment, task, self.cache)
        return self._peer[task.name]

    def own(self, task: Task, n_jobs: int = 1) -> OwnFit:
        """gapkit's fit with some threads on as many cores, done once in a run."""
        known = self._own.get((task.name, n_jobs))
        if known is None:
            known = self._own[task.name, n_jobs] = self._fit(task, n_jobs)
        return known

    def quippy(self) -> Child:
        """quippy in a process on one core."""
        return Child(self.environment / "bin" / "python", "quippy_side.py")

    @staticmethod
    def gapkit(n_cores: int = 1) -> Child:
        """gapkit in a process on some cores."""
        return Child(sys.executable, "gapkit_side.py", n_cores)

    def _fit(self, task: Task, n_jobs: int) -> OwnFit:
        say(f"gapkit: fit of {task.name} (M = {task.m}), {n_jobs} threads")
        xyz, out = self.folder / f"{task.name}.xyz", self.folder / f"{task.name}-{n_jobs}.gap"
        xyz.write_text(task.xyz)
        child = self.gapkit(n_jobs)
        fit_s = child.ask("fit", file=str(xyz), out=str(out), n_jobs=n_jobs, **task.gapkit())
        usage = child.close()
        say(f"gapkit: {usage.wall:.1f} s ({fit_s:.1f} s in fit), {usage.peak_gb:.2f} GB")
        return OwnFit(out, usage, fit_s)


def threads_available() -> tuple[int, ...]:
    """Numbers of threads to measure: 1, and 2 where there are two cores."""
    return (1, 2) if len(CORES) > 1 else (1,)

"""The peer's fit, and its results in a folder that may be kept."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path

from peers.machine import cpu_name
from peers.processes import Usage, run, say
from peers.task import Task


@dataclass(frozen=True)
class PeerFit:
    """A fit of gap_fit: its model, what it used, and when it ran if that was in an earlier run."""

    model: Path
    usage: Usage
    cached: str = ""

    @property
    def note(self) -> str:
        """For the table."""
        return f" (gap_fit of the cached run of {self.cached})" if self.cached else ""


def peer_fit(environment: Path, task: Task, folder: Path) -> PeerFit:
    """Run gap_fit on a task, in a subfolder of `folder`; if it ran there before, take what it left."""
    arguments = task.gap_fit()
    key = hashlib.sha256("\n".join([cpu_name(), *arguments, task.xyz]).encode()).hexdigest()[:12]
    place = folder / f"{task.name}-{key}"
    record = place / "used.json"
    if record.exists():
        known = json.loads(record.read_text())
        return PeerFit(place / "gp.xml", Usage(**known["usage"]), known["date"])
    place.mkdir(parents=True, exist_ok=True)
    (place / "train.xyz").write_text(task.xyz)
    say(f"gap_fit: {task.name}, M = {task.m}")
    usage, _ = run([environment / "bin" / "gap_fit", *arguments], place)
    say(f"gap_fit: {usage.wall:.0f} s, {usage.cpu:.0f} CPU s, {usage.peak_gb:.2f} GB")
    record.write_text(json.dumps({"usage": usage.as_dict(), "date": time.strftime("%Y-%m-%d %H:%M")}))
    return PeerFit(place / "gp.xml", usage)

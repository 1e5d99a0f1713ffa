"""Trials in a file of JSON lines, written one by one, so that a search goes on where it was interrupted."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from gapkit import ConfigError
from gapkit.tuning.trial import Trial

_WHAT: Final = {
    "data": "other structures or labels",
    "model": "another model to start from",
    "left_out": "another choice of what is left out together",
    "seed": "another seed",
}
"""Entries of the first line, and what is said when they differ."""


class Checkpoint:
    """The trials of one search.

    Parameters
    ----------
    path
        The file; None: nothing is written.
    head
        What the trials belong to, by the names of `_WHAT`.

    Raises
    ------
    ConfigError
        The file is no checkpoint, or belongs to another search.
    """

    def __init__(self, path: str | os.PathLike[str] | None, head: Mapping[str, Any]) -> None:
        self._path = None if path is None else Path(path)
        self.trials: list[Trial] = []
        if self._path is None:
            return
        if self._path.exists() and self._path.stat().st_size:
            self._read(self._path, head)
        else:
            _append(self._path, {"gapkit tune": 1, **head})

    def add(self, trial: Trial) -> None:
        """Write a trial; it is in the file when this returns."""
        self.trials.append(trial)
        if self._path is not None:
            _append(self._path, dict(vars(trial)))

    def _read(self, path: Path, head: Mapping[str, Any]) -> None:
        fix = "give the name of another file, or remove this one"
        content = path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]  # a line that was cut short has no end
        try:
            first, *lines = [json.loads(line) for line in whole.splitlines()]
            if "gapkit tune" not in first:
                raise ValueError("its first line is another one")
            trials = [Trial(**line) for line in lines]
        except (ValueError, TypeError) as error:
            raise ConfigError("the file is no checkpoint of gapkit tune", where=str(path), fix=fix) from error
        for name, what in _WHAT.items():
            if first.get(name) != head[name]:
                raise ConfigError(f"the checkpoint belongs to {what}", where=str(path), fix=fix)
        if len(whole) < len(content):
            os.truncate(path, len(whole))
        self.trials = trials


def _append(path: Path, entry: Mapping[str, Any]) -> None:
    try:
        with path.open("ab") as stream:
            stream.write(f"{json.dumps(entry, ensure_ascii=False)}\n".encode())
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        what = f"the checkpoint cannot be written: {error.strerror}"
        raise ConfigError(what, where=str(path), fix="choose another place") from error

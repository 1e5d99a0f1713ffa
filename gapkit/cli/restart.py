"""Where an interrupted `gapkit md` goes on: the last complete frame of its trajectory."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from ase import Atoms

from gapkit import DataError
from gapkit.atoms.extxyz import Piece, pieces_of
from gapkit.errors import warn


def last_frame(path: Path, start: Atoms, start_path: str) -> tuple[Atoms, int]:
    """The last complete frame of a trajectory of the same atoms as `start`, and its step.

    Raises
    ------
    DataError
        There is none that a run can go on from; a damaged place that is not the end of the file.
    """
    piece, _ = _whole(path)
    if piece is None:
        raise DataError("No frame is complete", where=str(path), fix="delete the file, and start anew")
    try:
        last = piece.read()
    except Exception as error:  # ASE's readers raise whatever comes their way
        raise _damaged(path, piece.line, f"{type(error).__name__}: {error}") from error
    step = last.info.get("step")
    if not isinstance(step, int | np.integer) or not last.has("momenta"):
        fix = "give a trajectory that gapkit md wrote, or start anew under another name"
        raise DataError("the last frame has no step or no momenta to continue from", where=str(path), fix=fix)
    if not np.array_equal(last.numbers, start.numbers):
        fix = f"give the structure that {path} was started from"
        raise DataError("the trajectory is of other atoms", where=start_path, fix=fix)
    return last, int(step)


def drop_rest(*paths: Path) -> None:
    """Shorten files that end within a frame to the frames before it, with a warning; none if one is damaged otherwise.

    The system shortens each in one step, and nothing is written: complete frames are safe whenever it is interrupted.
    """
    ends = [(path, _whole(path)[1]) for path in paths if path.exists()]
    for path, end in ends:
        _drop(path, end)


def _drop(path: Path, end: int) -> None:
    with path.open("rb") as stream:
        stream.seek(end)
        rest = stream.read()
    if rest:
        os.truncate(path, end)
    if rest.strip():
        what = f"{path} ended within a frame, as after a crash or on a full disk"
        warn(f"{what}: its last {len(rest)} bytes were dropped, all complete frames are kept.")


def _whole(path: Path) -> tuple[Piece | None, int]:
    """The last complete frame, and where it ends; DataError where what follows it is more than the start of a frame."""
    last, end = None, 0
    for piece in pieces_of(path):
        if piece.whole:
            last, end = piece, end + len(piece.text)
        elif not _begun(piece.text) or end + len(piece.text) < path.stat().st_size:
            raise _damaged(path, piece.line, "no frame begins here")
    return last, end


def _begun(text: bytes) -> bool:
    """Whether a frame may begin so; zeros are what a file system has of it after a crash."""
    return text.lstrip()[:1].isdigit() or not text.strip(b"\0")


def _damaged(path: Path, line: int, why: str) -> DataError:
    fix = "move it away, or start anew under another name"
    if line > 1:
        fix = f"cut the file before line {line} to go on from there, or start anew under another name"
    return DataError(f"The file is damaged: {why}", where=f"{path}, line {line}", fix=fix)

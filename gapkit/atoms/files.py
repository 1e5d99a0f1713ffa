"""Structures from files, with errors that say which file and what to do."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ase import Atoms

from gapkit.atoms.extxyz import blank_between, readable
from gapkit.errors import DataError


def read_frames(path: str | os.PathLike[str], index: Any = ":") -> list[Atoms]:
    """Structures of a file in any format that ASE reads, as a list also for a single index.

    Raises
    ------
    DataError
        The file is missing, empty or cannot be read (says after how many good frames), has a blank line between
        frames, or `index` selects nothing.
    """
    from ase.io import iread

    file = Path(path)
    if file.is_dir():
        raise DataError("This is a directory", where=str(file), fix="give a file in it")
    if not file.is_file():
        raise DataError("The file does not exist", where=str(file), fix="check the path and its spelling")
    if file.stat().st_size == 0:
        raise DataError("The file is empty", where=str(file), fix="give a file with at least one frame")
    structures: list[Atoms] = []
    try:
        for atoms in iread(file, index=index, do_not_split_by_at_sign=True):
            structures.append(atoms)  # one by one, to know where reading stopped
    except Exception as error:  # ASE's readers raise whatever comes their way
        raise _unreadable(file, len(structures) if index == ":" else None, error) from error
    if _format(file) == "extxyz" and (line := blank_between(file)):
        what = "A blank line stands between frames, at which reading stops: all that follows would be lost"
        raise DataError(what, where=f"{file}, line {line}", fix="delete the blank lines between frames")
    if not structures and (index == ":" or not file.read_bytes().strip()):
        raise _no_frame(file)
    if not structures:
        raise DataError(f"The index {index!r} selects no frame", where=str(file), fix="use ':' for all frames")
    return structures


def _unreadable(file: Path, count: int | None, error: Exception) -> DataError:
    """The error for a file of which ASE read `count` frames, None where it was not asked for all."""
    from ase.io.formats import get_compression

    if isinstance(error, PermissionError):
        return DataError("The file may not be read", where=str(file), fix="give one that you may read")
    form, line = _format(file), 0
    found, broken = readable(file)
    if form == "extxyz":
        count, line = found, broken
        if not found and not broken:
            return _no_frame(file)
    elif found:
        what = f"This is extended XYZ, but ASE does not tell it by the name, and reads it as {form or 'no format'}"
        root, packing = get_compression(file.name)
        name, end = Path(root).stem, f".{packing}" if packing else ""
        return DataError(what, where=str(file), fix=f"rename it to {name}.xyz{end} or {name}.extxyz{end}")
    place = str(file) if count is None else f"{file}, after {count} readable frames"
    place += f"; the next one begins at line {line}" if line else ""
    what = f"The file cannot be read: {type(error).__name__}: {str(error).strip().rstrip('.')}"
    fix = "correct the file; extended XYZ, with a name that ends in .xyz, is the safest format"
    return DataError(what, where=place, fix=fix)


def _no_frame(file: Path) -> DataError:
    return DataError("The file holds no frame", where=str(file), fix="give a file with at least one frame")


def _format(file: Path) -> str:
    """What ASE takes the file for, or would if it were not cut; empty if it does not know."""
    from ase.io.formats import filetype

    try:
        return str(filetype(str(file)))
    except Exception:  # ASE's readers raise whatever comes their way
        return "extxyz" if {".xyz", ".extxyz"} & set(file.suffixes) else ""

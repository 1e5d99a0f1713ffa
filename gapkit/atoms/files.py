"""Structures from files, with errors that say which file and what to do."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ase import Atoms

from gapkit.errors import DataError


def read_frames(path: str | os.PathLike[str], index: Any = ":") -> list[Atoms]:
    """Structures of a file in any format that ASE reads, as a list also for a single index.

    Raises
    ------
    DataError
        The file is missing, empty or cannot be read (says after how many good frames), or `index` selects nothing.
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
        place = f"{file}, after {len(structures)} readable frames"
        what = f"The file cannot be read: {type(error).__name__}: {str(error).rstrip('.')}"
        raise DataError(
            what, where=place, fix="correct the file; extended XYZ, with a name that ends in .xyz, is the safest format"
        ) from error
    if not structures:
        raise DataError(f"The index {index!r} selects no frame", where=str(file), fix="use ':' for all frames")
    return structures

"""Where the frames of an extended XYZ file begin and end, also of a damaged one."""

from __future__ import annotations

import io
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

from ase import Atoms


class Piece(NamedTuple):
    """The lines of one frame.

    Attributes
    ----------
    line
        Number of the first one in the file, from 1.
    text
        All of them; of what does not begin with a number of atoms, the first line.
    whole
        Whether all lines are there to their last character.
    """

    line: int
    text: bytes
    whole: bool

    def read(self) -> Atoms:
        """The structure; raises whatever ASE does."""
        from ase.io import iread  # slow to load, like all readers and writers

        return next(iread(io.StringIO(self.text.decode()), index=0, format="extxyz"))


def pieces_of(path: Path) -> Iterator[Piece]:
    """The frames of a file one after the other; the first one that is not whole ends it, blank lines at the end count
    for nothing.
    """
    from ase.io.formats import open_with_compression  # slow to load, like all readers and writers

    line = 1
    with open_with_compression(str(path), "rb") as stream:
        while head := stream.readline():
            if not head.strip() and not stream.read().strip():
                return
            try:
                n_atoms = int(head)
            except ValueError:
                yield Piece(line, head, False)
                return
            lines = [head, *takewhile(len, (stream.readline() for _ in range(n_atoms + 1)))]
            whole = len(lines) == n_atoms + 2 and lines[-1].endswith(b"\n")
            yield Piece(line, b"".join(lines), whole)
            if not whole:
                return
            line += len(lines)


def blank_between(path: Path) -> int:
    """Line of a blank one before more text, where ASE stops as if the file ended there; 0 without one."""
    return next((piece.line for piece in pieces_of(path) if not piece.text.strip()), 0)


def readable(path: Path) -> tuple[int, int]:
    """Number of frames that can be read, and the line where the next one begins, 0 without one."""
    count = line = 0
    try:
        for piece in pieces_of(path):
            line = piece.line
            piece.read()
            count, line = count + 1, line + piece.text.count(b"\n")
    except Exception:  # ASE's readers, and a file that was compressed and cut, raise whatever comes their way
        return count, line
    return count, 0

"""Rows of training structures that a fit leaves in memory, for what is asked of the same structures after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any

import numpy as np

from gapkit.atoms.frame import Frame
from gapkit.gp.design import FrameRows
from gapkit.gp.term import SparseTerm
from gapkit.typing import IntArray

USUAL_BYTES = 4e9
"""Rows are kept up to this where the user sets no ceiling."""


class KeptRows:
    """Rows of structures on the sparse points of a model, or on some of them.

    Parameters
    ----------
    ceiling
        Bytes that the rows may take; later ones are forgotten.
    """

    def __init__(self, ceiling: float) -> None:
        self._room = min(ceiling, USUAL_BYTES) if np.isinf(ceiling) else 0.5 * ceiling
        self._rows: dict[int, FrameRows] = {}
        self._columns_m: IntArray | None = None
        self._points: list[Mapping[Any, Any]] = []

    def take(self, frame: Frame, rows: FrameRows) -> None:
        """Keep the rows of a structure if there is room."""
        arrays = (rows.energy_m, rows.forces_nm, rows.virial_vm)
        self._room -= sum(a.nbytes for a in arrays if a is not None)
        if self._room >= 0.0:
            self._rows[frame.hash] = rows

    def of(self, terms: Sequence[SparseTerm]) -> KeptRows:
        """The rows, of which it is known now that they are on the points of these terms."""
        made = copy(self)
        made._points = [term.points for term in terms]
        return made

    def on(self, terms: Sequence[SparseTerm]) -> bool:
        """Whether the rows are on the points of these terms."""
        return len(terms) == len(self._points) and all(
            t.points is own for t, own in zip(terms, self._points, strict=True)
        )

    def some(self, columns_m: IntArray, terms: Sequence[SparseTerm]) -> KeptRows:
        """The rows on some of the columns, which are those of other terms; nothing is copied."""
        made = self.of(terms)
        made._columns_m = columns_m if self._columns_m is None else self._columns_m[columns_m]
        return made

    def rows(self, frame: Frame) -> FrameRows | None:
        """The rows of a structure, if they were kept."""
        found = self._rows.get(frame.hash)
        return found if found is None or self._columns_m is None else found.some(self._columns_m)

"""Rows of many structures, on several threads."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple

from gapkit.atoms.frame import Frame
from gapkit.atoms.neighbours import NeighbourList
from gapkit.gp.design import FrameRows, rows_of_each
from gapkit.gp.term import SparseTerm
from gapkit.model.parallel import ordered_map
from gapkit.typing import Kind

TOGETHER = 768
"""Rows up to which structures are done together."""


class Work(NamedTuple):
    """How rows are made.

    Attributes
    ----------
    n_jobs
        Threads that may work at once.
    block_bytes
        Bytes of the derivative rows of one block.
    together
        Rows up to which structures are done together.
    """

    n_jobs: int
    block_bytes: float
    together: int


def rows_of_all(
    terms: Sequence[SparseTerm],
    frames: Sequence[Frame],
    kinds_of: Sequence[Collection[Kind]],
    work: Work,
) -> Iterator[FrameRows]:
    """Rows of each structure, in order; `kinds_of` are the kinds of label wanted of each."""
    reach = max(term.descriptor.reach for term in terms)

    def made(batch: _Batch) -> list[FrameRows]:
        own, kinds = batch
        return rows_of_each(terms, [NeighbourList(reach).pairs(frame) for frame in own], kinds, work.block_bytes)

    batches = list(_batches(zip(frames, kinds_of, strict=True), work.together))
    return chain.from_iterable(ordered_map(made, batches, work.n_jobs))


_Batch = tuple[list[Frame], frozenset[Kind]]


def rows_of(frame: Frame) -> int:
    """Bound on the number of rows of a structure."""
    return 3 * frame.n_atoms + 9


def _batches(wanted: Iterable[tuple[Frame, Collection[Kind]]], together: int) -> Iterator[_Batch]:
    """Runs of structures with the same kinds that have few rows together."""
    batch: list[Frame] = []
    rows, last = 0, frozenset[Kind]()
    for frame, kinds in wanted:
        rows += rows_of(frame)
        if batch and (rows > together or last != frozenset(kinds)):
            yield batch, last
            batch, rows = [], rows_of(frame)
        batch, last = [*batch, frame], frozenset(kinds)
    if batch:
        yield batch, last

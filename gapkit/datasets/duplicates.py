"""Structures that are there twice: copies by symmetry, near copies, and copies of training structures among tests."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from ase import Atoms

from gapkit import Frame, Keys, to_frames
from gapkit.datasets.finding import Finding, Severity, counted
from gapkit.datasets.fingerprints import Fingerprints
from gapkit.datasets.table import Table

SAME: Final = 1e-4
"""Distance of normalised SOAP vectors below which two environments are the same but for rounding in the files."""
NEARLY: Final = 2e-3
"""The same of near copies: atoms moved by 0.002 Å (open structures) to 0.01 Å (close-packed), or a strain of 0.0007."""
_AGREE: Final = (1e-3, 1e-2)  # eV/atom between copies: a warning, an error
_EXAMPLES: Final = 3

Pair = tuple[int, int, float]


def copies(known: Sequence[Atoms] | Sequence[Frame], queries: Sequence[Atoms] | Sequence[Frame]) -> dict[int, int]:
    """Which of `queries` are copies of `known` structures, but for rotation, permutation and supercells.

    Two structures are copies if every environment of each is one of the other, to 1e-4 of normalised SOAP vectors of
    5 Å radius. Labels do not matter.

    Returns
    -------
    Index in `queries` -> index of its nearest copy in `known`.
    """
    frames = [*to_frames(known, keys=Keys(), labels=False), *to_frames(queries, keys=Keys(), labels=False)]
    n_known = len(frames) - len(queries)
    found = Fingerprints(frames).close(SAME, rows=range(n_known, len(frames)), columns=range(n_known))
    nearest = sorted(found, key=lambda pair: -pair[2])  # the nearest one is written last
    return {max(i, j) - n_known: min(i, j) for i, j, _ in nearest}


def duplicates(table: Table) -> Iterator[Finding]:
    """Copies within training and test structures, and between them."""
    test = np.array([member.place.test for member in table.members], dtype=bool)
    many = [s for s, frame in enumerate(table.frames) if frame.n_atoms > 1 or frame.pbc_c.any()]
    for some in ([s for s in many if not test[s]], [s for s in many if test[s]]):
        yield from _within(table, table.fingerprints.close(NEARLY, rows=some, columns=some))
    known, queries = [s for s in many if not test[s]], [s for s in many if test[s]]
    shared = table.fingerprints.close(NEARLY, rows=queries, columns=known) if known and queries else []
    yield from _shared(table, shared, test)


def _within(table: Table, pairs: Sequence[Pair]) -> Iterator[Finding]:
    """Copies that say the same, copies that do not, near copies."""
    same = [pair for pair in pairs if pair[2] <= SAME]
    yield from _conflicts(table, same)
    for rule, found, fix in (
        ("copies", same, "keep one of each: copies count as often as they are there, and cross-validation sees them"),
        ("near-copies", [p for p in pairs if p[2] > SAME], "fine for a fit, but keep them on one side of a split"),
    ):
        if not found:
            continue
        classes = _classes(found)
        which = [s for members in classes for s in members]
        alike = "have the same" if rule == "copies" else f"have nearly the same (SOAP within {NEARLY:g})"
        what = f"{len(which)} frames in {counted(len(classes), 'set')} {alike} environments: {_examples(table, found)}"
        exact = rule == "copies" and any(_identical(table.frames[i], table.frames[j]) for i, j, _ in found)
        what += "; some are identical atom by atom" if exact else ""
        yield table.finding(rule, "warning" if exact else "note", which, what, fix)


def _conflicts(table: Table, same: Sequence[Pair]) -> Iterator[Finding]:
    """Copies whose energies differ."""
    gaps = [(abs(float(table.energy_s[i] - table.energy_s[j])), (i, j, d)) for i, j, d in same]
    differ = [entry for entry in gaps if entry[0] > _AGREE[0] and not set(entry[1][:2]) & table.suspect]
    severities: tuple[tuple[Severity, bool], ...] = (("error", True), ("warning", False))
    for severity, large in severities:
        found = [entry for entry in differ if (entry[0] > _AGREE[1]) == large]
        if found:
            pairs = [pair for _, pair in found]
            what = "Frames have the same environments and energies that differ by up to "
            what += f"{1e3 * max(gap for gap, _ in found):.3g} meV/atom: {_examples(table, pairs)}"
            which = [s for pair in pairs for s in pair[:2]]
            fix = "keep the label that was computed as all others are"
            yield table.finding("copies-differ", severity, which, what, fix)


def _shared(table: Table, pairs: Sequence[Pair], test: np.ndarray) -> Iterator[Finding]:
    """Test structures that the fit has seen."""
    same = [pair for pair in pairs if pair[2] <= SAME]
    yield from _conflicts(table, same)
    seen = {s for pair in same for s in pair[:2] if test[s]}
    n_test = int(test.sum())
    if seen:
        what = f"{len(seen)} of {n_test} test frames are copies of training frames: {_examples(table, same)}"
        fix = "leave them out of the test, or report errors with and without them"
        yield table.finding("shared-with-test", "warning", seen, what, fix)
    near = [pair for pair in pairs if not {pair[0], pair[1]} & seen]
    close = {s for pair in near for s in pair[:2] if test[s]}
    if close:
        what = f"{len(close)} of {n_test} test frames nearly are training frames (SOAP within {NEARLY:g}): "
        what += _examples(table, near)
        yield table.finding("near-shared", "note", close, what, "errors on them say little about new structures")


def _classes(pairs: Sequence[Pair]) -> list[list[int]]:
    """Connected sets of structures."""
    root: dict[int, int] = {}

    def find(s: int) -> int:
        while root.setdefault(s, s) != s:
            s = root[s]
        return s

    for i, j, _ in pairs:
        root[find(i)] = find(j)
    sets: dict[int, list[int]] = defaultdict(list)
    for s in sorted(root):
        sets[find(s)].append(s)
    return list(sets.values())


def _examples(table: Table, pairs: Sequence[Pair]) -> str:
    """The first few of "213 = 207, …", with the names of files where there are several."""
    nearest = {j: i for i, j, _ in sorted(pairs, key=lambda pair: -pair[2])}
    places = {s: table.members[s].place for pair in nearest.items() for s in pair}
    one_file = len({place.file for place in places.values()}) == 1  # it is named before
    said = {s: str(place.position if one_file else place) for s, place in places.items()}
    names = [f"{said[j]} = {said[i]}" for j, i in sorted(nearest.items())]
    return ", ".join(names[:_EXAMPLES]) + (", …" if len(names) > _EXAMPLES else "")


def _identical(one: Frame, two: Frame) -> bool:
    """Atom by atom, without any symmetry operation."""
    if one.n_atoms != two.n_atoms or (one.numbers_e != two.numbers_e).any():
        return False
    same_cell = bool((np.abs(one.cell_cc - two.cell_cc) < 1e-6).all())
    return same_cell and bool((np.abs(one.positions_ec - two.positions_ec) < 1e-6).all())

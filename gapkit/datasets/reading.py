"""From files and `ase.Atoms` to a table: what cannot be read becomes a finding, and the rest is still checked."""

from __future__ import annotations

import os
import warnings
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple

import numpy as np
from ase import Atoms

from gapkit import DataError, Frame, GapkitError, GapkitWarning, Keys, read_frames, to_frames
from gapkit.datasets.finding import Finding, Place, Severity
from gapkit.datasets.table import Member, Table

REMARKS: Final[dict[str, tuple[str, Severity, str]]] = {
    "' differ: '": ("two-labels", "warning", "name the right one in [keys] or Keys, or delete the other"),
    "results belong to other": ("outdated", "warning", "compute the labels for these positions, or write them to info"),
    "is not symmetric": ("stress-asymmetric", "warning", "check how the tensor was written: a stress is symmetric"),
    "is not supported": ("unsupported", "warning", "delete it, or use energy_sigma, force_sigma, force_atom_sigma"),
}
"""Words of the reader's warnings, and the rule, severity and fix that they become."""


class Part(NamedTuple):
    """Structures of one file or list."""

    name: str
    structures: Sequence[Any]
    test: bool = False


def read_part(path: str | os.PathLike[str], test: bool) -> tuple[Part, list[Finding]]:
    """The structures of a file, or those before the place where reading fails and a finding."""
    name = str(path)
    try:
        return Part(name, read_frames(path), test), []
    except DataError as error:
        structures = _before_failure(name)
        place = f"after {len(structures)} readable frames" if structures else ""
        found = Finding("unreadable-file", "error", error.what, error.fix, file=", ".join(filter(None, [name, place])))
        return Part(name, structures, test), [found]


def _before_failure(name: str) -> list[Atoms]:
    from ase.io import iread

    structures: list[Atoms] = []
    with suppress(Exception):  # what went wrong is said already
        for atoms in iread(name, index=":", do_not_split_by_at_sign=True):
            structures.append(atoms)
    return structures


def to_table(parts: Iterable[Part], keys: Keys) -> tuple[Table, list[Finding]]:
    """All structures that the reader accepts, and findings about the others and about what it remarked."""
    members: list[Member] = []
    refused: dict[tuple[str, str], list[tuple[Place, str]]] = defaultdict(list)
    remarks: dict[str, list[Place]] = defaultdict(list)
    number = 0
    for part in parts:
        for index, structure in enumerate(part.structures):
            place = Place(part.name, index, number, part.test)
            number += 1
            try:
                frame, said = _read(structure, keys)
            except GapkitError as error:
                refused[error.what, error.fix].append((place, error.where))
                continue
            for text in said:
                remarks[text].append(place)
            members.append(Member(frame, place, structure if isinstance(structure, Atoms) else None))
    findings = [_refused(what, fix, found) for (what, fix), found in refused.items()]
    findings += [_remarked(text, places) for text, places in remarks.items()]
    return Table(members, keys), findings


def _read(structure: Any, keys: Keys) -> tuple[Frame, list[str]]:
    """The frame, and what the reader warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        # names that the user gave must be in some structure, not in every one: the complete one stands for the others
        frames = to_frames([structure, *([] if isinstance(structure, Frame) else _complete(keys))], keys=keys)
    return frames[0], [_without_place(str(w.message)) for w in caught if issubclass(w.category, GapkitWarning)]


def _without_place(text: str) -> str:
    return text.replace(" (frame 0)", "").rstrip(".")


def _complete(keys: Keys) -> list[Atoms]:
    """A structure that has everything under the names that the user gave; none if there are no such names."""
    if keys == Keys():
        return []
    atoms = Atoms("H", cell=np.eye(3), pbc=True)
    per_frame = {keys.energy: 0.0, keys.stress: np.zeros(6), keys.virial: np.zeros((3, 3)), keys.group: "complete"}
    per_frame |= {keys.energy_sigma: 1.0, keys.force_sigma: 1.0, keys.virial_sigma: 1.0}
    atoms.info.update({name: value for name, value in per_frame.items() if name is not None})
    per_atom = {keys.forces: np.zeros((1, 3)), keys.force_atom_sigma: np.ones(1)}
    per_atom |= {keys.force_mask: np.zeros(1), keys.charges: np.zeros(1)}
    for name, value in per_atom.items():
        if name is not None and name not in ("numbers", "positions"):
            atoms.arrays[name] = value
    return [atoms]


def _refused(what: str, fix: str, found: Sequence[tuple[Place, str]]) -> Finding:
    """Structures that cannot be used, with the atoms in question of the first one."""
    place, where = found[0]
    atoms = where.removeprefix("frame 0").strip(", ")
    detail = f"; in {place}: {atoms}" if atoms else ""
    return Finding("unusable-frame", "error", f"{what.rstrip('.')}{detail}", fix, tuple(p for p, _ in found))


def _remarked(text: str, places: Sequence[Place]) -> Finding:
    for words, (rule, severity, fix) in REMARKS.items():
        if words in text:
            return Finding(rule, severity, text.split("; name the right")[0], fix, tuple(places))
    return Finding("reader", "warning", text, "see what the reader says", tuple(places))

"""The linter: all rules on all structures."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Final

from ase import Atoms

from gapkit import DataError, Frame, Keys
from gapkit.datasets.duplicates import duplicates
from gapkit.datasets.energies import energy_scales, isolated_atoms
from gapkit.datasets.finding import Finding
from gapkit.datasets.forces import forces_against_energies, net_forces
from gapkit.datasets.geometry import crushed_frames, lengths_in_bohr, periodicity, rare_elements, short_bonds, volumes
from gapkit.datasets.labels import extras, label_names, many_groups, missing_labels
from gapkit.datasets.methods import energies_against_structure
from gapkit.datasets.outliers import force_outliers
from gapkit.datasets.reading import Part, read_part, to_table
from gapkit.datasets.references import energies_against_forces
from gapkit.datasets.report import Report
from gapkit.datasets.stresses import stresses
from gapkit.datasets.summary import summarise
from gapkit.datasets.table import Rule
from gapkit.datasets.unrelated import forces_against_structure

RULES: Final[tuple[Rule, ...]] = (
    label_names,
    missing_labels,
    extras,
    many_groups,
    rare_elements,
    crushed_frames,
    short_bonds,
    lengths_in_bohr,
    periodicity,
    volumes,
    energy_scales,  # before all rules that compare energies: it says which to leave out
    isolated_atoms,
    net_forces,
)
"""In the order in which they run."""
COMPARISONS: Final[tuple[Rule, ...]] = (
    force_outliers,
    forces_against_energies,
    forces_against_structure,  # after it: of those that it could not compare
    stresses,
    energies_against_structure,
    energies_against_forces,
    duplicates,
)
"""The same of rules that compare structures, for which some are too dense."""


def check_frames(
    frames: Iterable[Atoms] | Iterable[Frame],
    test: Iterable[Atoms] | Iterable[Frame] = (),
    *,
    keys: Keys | None = None,
    names: tuple[str, str] = ("train", "test"),
) -> Report:
    """Look for faults in labelled structures before they are fitted. Nothing is changed, nothing is raised for faults.

    Parameters
    ----------
    frames
        Structures of the fit. Of `ase.Atoms` the names of labels are checked too.
    test
        Structures that will test it: they are checked alike, and for copies of those of the fit.
    keys
        Names of the labels, see `gapkit.Keys`.
    names
        What the two lists are called in findings.

    Returns
    -------
    `Report`: findings with rule, severity, numbers of the structures, what shows it, and a fix; and a summary.

    Raises
    ------
    DataError
        There are no structures, or one object was given instead of a list.
    """
    if isinstance(frames, (Atoms, Frame)) or isinstance(test, (Atoms, Frame)):
        raise DataError("One structure was given instead of a list", fix="pass [atoms]")
    parts = [Part(names[0], list(frames)), Part(names[1], list(test), test=True)]
    if not parts[0].structures:
        raise DataError("There are no structures", fix="give at least one frame")
    return _check(parts, [], keys or Keys())


def check_files(
    paths: Sequence[str | os.PathLike[str]], test: Sequence[str | os.PathLike[str]] = (), *, keys: Keys | None = None
) -> Report:
    """`check_frames` for files. One that cannot be read is a finding, and what can be read of it is checked."""
    parts, findings = [], []
    for path, is_test in [*((path, False) for path in paths), *((path, True) for path in test)]:
        part, found = read_part(path, is_test)
        parts.append(part)
        findings += found
    return _check(parts, findings, keys or Keys())


def _check(parts: Sequence[Part], findings: Sequence[Finding], keys: Keys) -> Report:
    structures = [s for part in parts for s in part.structures if isinstance(s, Atoms)]
    found = list(findings)
    try:
        keys.require(structures)
    except DataError as error:
        found.append(Finding("key-not-found", "error", error.what, error.fix))
    table, more = to_table(parts, keys)
    found += more
    if len(table):
        for rule in RULES:
            found += rule(table)
    if len(some := table.comparable()):
        for rule in COMPARISONS:
            found += rule(some)
    return Report(tuple(found), summarise(table))

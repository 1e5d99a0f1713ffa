"""Structures: atoms too near each other, crystals without periodic directions, densities unlike the others."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Final

import numpy as np
from ase.data import chemical_symbols

from gapkit.datasets.bonds import balanced
from gapkit.datasets.energies import is_alone
from gapkit.datasets.finding import Finding
from gapkit.datasets.robust import deviations
from gapkit.datasets.table import Table
from gapkit.datasets.units import BOHR
from gapkit.typing import FloatArray

SHORT: Final = 0.55
"""Share of the sum of two covalent radii below which a bond is short; the shortest of liquid Ta at 3000 K is 0.59."""
SOFT: Final = 10.0
"""Atoms as close as that repel each other with more than this, eV/Å."""
DENSE: Final = 40.0
"""Volume per atom of a cell, Å³, below which it is no vacuum around a molecule."""
_NM: Final = (0.055, 0.14)  # share of covalent radii of nearest atoms whose lengths are in nm and not in Å
_WIDE: Final = 1.33
"""Share of covalent radii above which nearest atoms typically are if lengths are in Bohr: 0.73 to 1.04 in all sets that
were looked at, up to 1.25 in known solids (Pb: 1.20) and molecules (F2), and 1.39 or more in the same sets in Bohr …"""
_WIDEST: Final = (1.1, 2.6)  # … and the least and largest share of any frame; beyond, its atoms are not bound
_NOBLE: Final = (2, 10, 18, 36, 54, 86)
_MOST: Final = 0.8  # share of periodic frames among which one that is not looks like a mistake
_MANY: Final = 20  # frames of a set in which an element should be in more than …
_RARE: Final = 2  # … so many
_FACTOR: Final = 1.5  # of the volume per atom, against the median of its group


def crushed_frames(table: Table) -> Iterator[Finding]:
    """Frames in which most atoms lie inside one another, as all do where lengths are in nm."""
    if not table.crushed:
        return
    share = float(np.median([table.bonds[s].share for s in table.crushed]))
    s = min(table.crushed, key=lambda s: table.bonds[s].share)
    bond, place = table.bonds[s], table.members[s].place
    what = f"Most atoms lie inside one another: {_pair(table, s)} of {bond.distance:.3g} Å (in {place}), and nearest "
    what += f"atoms typically at {share:.2g} of the covalent radii"
    fix = "check units of lengths, cell and pbc, and atoms that are there twice"
    if _NM[0] < share < _NM[1]:
        what += ". Lengths look like nm"
        fix = "multiply cell and positions by 10 if they are in nm; else check cell and pbc"
    what += "; these frames were not compared with others"
    yield table.finding("short-bond", "error", table.crushed, what, fix)


def short_bonds(table: Table) -> Iterator[Finding]:
    """Atoms nearer than any bond: an error if the forces do not know of it, else perhaps meant."""
    wrong: dict[str, list[tuple[int, float, float]]] = defaultdict(list)
    for s, (frame, bond) in enumerate(zip(table.frames, table.bonds, strict=True)):
        if bond.share < SHORT and s not in table.crushed:
            ends, force = [bond.i, bond.j], np.inf
            seen = frame.force_mask_e is None or frame.force_mask_e[ends].all()
            if frame.forces_ec is not None and seen and not balanced(frame, bond):
                force = float(np.linalg.norm(frame.forces_ec[ends], axis=1).max())
            wrong[_pair(table, s)].append((s, bond.distance, force))
    for pair, found in wrong.items():
        for soft in (True, False):
            some = [entry for entry in found if (entry[2] < SOFT) == soft]
            if not some:
                continue
            s, distance, force = min(some, key=lambda entry: entry[1])
            what = f"{pair} of {distance:.2f} Å (in {table.members[s].place}), below {SHORT:g} of the covalent radii"
            if soft:
                what += f", and forces of only {force:.1f} eV/Å there: not the structure that was computed"
            fix = (
                "check units of lengths, cell and pbc, and which atoms overlap"
                if soft
                else "keep them if they are meant"
            )
            yield table.finding("short-bond", "error" if soft else "warning", [e[0] for e in some], what, fix)


def lengths_in_bohr(table: Table) -> Iterator[Finding]:
    """Files in which no atoms are as near as bonds are."""
    for file, members in table.by(lambda member: member.place.file).items():
        free = [s for s in members if not np.isin(table.frames[s].numbers_e, _NOBLE).any()]
        bound = [s for s in free if table.bonds[s].share < _WIDEST[1] and not is_alone(table.frames[s])]
        share_s = np.array([table.bonds[s].share for s in bound])
        if len(bound) and share_s.min() > _WIDEST[0] and np.median(share_s) > _WIDE:
            s = bound[int(share_s.argmin())]
            what = f"No bonds in {file}: nearest atoms are typically at {np.median(share_s):.2f} of the sum of their "
            what += f"covalent radii, the nearest ones {_pair(table, s)} of {table.bonds[s].distance:.2f} Å. Lengths "
            what += "look like Bohr"
            fix = f"multiply cell and positions by {BOHR:.6g} if they are in Bohr; keep them if nothing is bound"
            yield table.finding("lengths-in-bohr", "warning", bound, what, fix)


def _pair(table: Table, s: int) -> str:
    numbers_e, bond = table.frames[s].numbers_e, table.bonds[s]
    return "-".join(chemical_symbols[z] for z in sorted((numbers_e[bond.i], numbers_e[bond.j])))


def periodicity(table: Table) -> Iterator[Finding]:
    """Frames without periodic directions whose cells are as dense as a crystal, or in a config_type of crystals."""
    fix = 'write cell and pbc="T T T"; a molecule needs no cell, and a config_type of its own'
    none = [s for s, frame in enumerate(table.frames) if not frame.pbc_c.any() and frame.n_atoms > 1]
    which = [s for s in none if 0.1 < table.frames[s].volume < DENSE * table.frames[s].n_atoms]
    if which:
        each = table.frames[which[0]].volume / table.frames[which[0]].n_atoms
        what = f"A cell with {each:.1f} Å³ per atom, as in a crystal, but pbc is False: no atom would see its images"
        yield table.finding("not-periodic", "warning", which, what, fix)
    rest = set(none) - set(which)
    for group, members in table.groups.items():
        crystals = sum(table.frames[s].pbc_c.any() for s in members)
        if group != "default" and (odd := [s for s in members if s in rest]) and crystals > _MOST * len(members):
            what = f"No cell or no pbc, where {crystals} other frames of {group} are periodic"
            yield table.finding("not-periodic", "warning", odd, what, fix)


def rare_elements(table: Table) -> Iterator[Finding]:
    """Elements of one or two frames of many: what no fit can learn, and what swapped species look like."""
    bound = [s for s, frame in enumerate(table.frames) if frame.n_atoms > 1 and not table.members[s].place.test]
    if len(bound) < _MANY:
        return
    holders: dict[int, list[int]] = defaultdict(list)
    for s in bound:
        for z in np.unique(table.frames[s].numbers_e):
            holders[int(z)].append(s)
    for z, which in holders.items():
        if len(which) <= _RARE:
            what = f"{chemical_symbols[z]} is in {len(which)} of {len(bound)} frames only"
            fix = "check the species of their atoms; if they are meant, add more frames with that element"
            yield table.finding("rare-element", "warning", which, what, fix)


def volumes(table: Table) -> Iterator[Finding]:
    """Volumes per atom far from the others of their group and composition."""
    for group, members in table.by(lambda member: (member.frame.group, member.formula)).items():
        which = [s for s in members if table.frames[s].pbc_c.all()]
        volume_s = np.array([table.frames[s].volume / table.frames[s].n_atoms for s in which])
        if len(which) < 5:
            continue
        log_s = np.log(volume_s)
        odd = np.flatnonzero((deviations(log_s, 0.02) > 8.0) & (np.abs(log_s - np.median(log_s)) > np.log(_FACTOR)))
        if len(odd):
            what = f"Volume per atom {_range(volume_s[odd])} Å³ in {group[0]}, where {np.median(volume_s):.1f} is usual"
            fix = "check the cell, lengths in Bohr or nm, and missing atoms; keep them if they are meant"
            yield table.finding("volume-outlier", "warning", [which[k] for k in odd], what, fix)


def _range(x: FloatArray) -> str:
    return f"{x.min():.3g}" if len(x) == 1 else f"{x.min():.3g} to {x.max():.3g}"

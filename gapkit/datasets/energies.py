"""Energies by size: per cell or per atom, one unit or several, and bound against isolated atoms."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Final

import numpy as np
from ase.data import chemical_symbols

from gapkit import Frame
from gapkit.datasets.finding import Finding, Severity
from gapkit.datasets.table import Table
from gapkit.datasets.units import ENERGIES
from gapkit.typing import FloatArray

_ALONE: Final = 6.0  # Å to the nearest image of a periodic single atom
_LIKE: Final = 0.2  # energies per atom of one composition agree to this share of them
_PHYSICAL: Final = 1.0  # eV/atom by which structures of one composition may differ
_TIGHTER: Final = 0.5  # a reading in several units leaves this share of the spread of energies at most
_EXPLAINED: Final = 0.9  # share of the frames that the scales must explain before any is called wrong
_BOUND: Final = (-20.0, 1.0)  # eV/atom against isolated atoms; the largest known cohesion is 9 (W), CO 5.6
_SOLID: Final = (-9.0, -1.0)  # the same of most
_SAME_ATOM: Final = (1e-3, 0.1)  # eV between isolated atoms of an element: a warning, an error

PER_ATOM = "eV per atom"


def energy_scales(table: Table) -> Iterator[Finding]:
    """Energies of one composition that are per atom, or of another unit than most.

    The scale u of a composition is the one for which most energies are N·u, u, or N·u in another unit.
    """
    off: dict[str, list[int]] = defaultdict(list)
    usual: dict[str, list[float]] = defaultdict(list)
    for _, members in table.by(lambda member: member.formula).items():
        which = [s for s in members if table.frames[s].energy and table.n_atoms_s[s] > 1]
        if len(which) < 3:
            continue
        scale, found = _scales(table.energy_s[which], table.n_atoms_s[which])
        odd, even = ([s for s, name in zip(which, found, strict=True) if bool(name) == yes] for yes in (True, False))
        strained = table.strained(odd, even)
        for s, name in zip(which, found, strict=True):
            if name and s not in strained:
                off[name].append(s)
                usual[name].append(scale)
                table.suspect.add(s)
    for name, which in off.items():
        each = np.array([float(table.frames[s].energy or 0.0) for s in which])
        what = (
            f"Energies of {_span(each)} look like {name}: by frames of the same composition and other sizes or units "
        )
        what += f"they are about N times {_span(np.unique(np.round(usual[name], 3)))}"
        if name == PER_ATOM:
            yield table.finding("energy-per-atom", "error", which, what, "multiply them by the number of atoms N")
        else:
            yield table.finding("energy-unit", "error", which, what, f"multiply them by {1.0 / ENERGIES[name]:.6g}")


def _span(x: FloatArray) -> str:
    return f"{x[0]:.6g} eV" if len(x) == 1 else f"{x.min():.6g} to {x.max():.6g} eV"


def _scales(per_atom_s: FloatArray, n_atoms_s: FloatArray) -> tuple[float, list[str]]:
    """Energy per atom of most frames, and for each frame "" or what its energy is instead."""
    if _same_for_all_sizes(per_atom_s * n_atoms_s, n_atoms_s):
        return float(np.median(per_atom_s * n_atoms_s)), [PER_ATOM] * len(per_atom_s)
    mixed_signs = not (per_atom_s < 0).all() and not (per_atom_s > 0).all()
    if mixed_signs or np.ptp(per_atom_s) < _PHYSICAL:
        return 0.0, [""] * len(per_atom_s)  # referred to something near: there is no scale
    log_s, size_s = np.log(np.abs(per_atom_s)), np.log(n_atoms_s)
    names = ["", PER_ATOM, *ENERGIES]
    shift_bs = np.array([np.zeros_like(size_s), -size_s, *(np.full_like(size_s, np.log(f)) for f in ENERGIES.values())])
    best: tuple[int, int] = (0, 0)
    chosen, scale, tighter = np.zeros(len(log_s), dtype=int), 0.0, True
    for candidate in np.unique(np.concatenate([log_s, log_s + size_s]).round(2)):
        off_bs = np.abs(log_s - candidate - shift_bs)
        fits_bs = off_bs < _LIKE
        sole_b = (fits_bs & (fits_bs.sum(axis=0) == 1)).sum(axis=1)
        rank_bs = np.where(fits_bs, sole_b[:, None] - off_bs, -np.inf)  # of several readings the one of other frames
        branch = np.where(fits_bs[0], 0, rank_bs.argmax(axis=0))  # and no other scale where none is needed
        explained = fits_bs.any(axis=0)
        score = int(explained.sum()), int((explained & (branch == 0)).sum())
        usual = 2 * int((explained & (branch > names.index(PER_ATOM))).sum()) <= score[0]  # the unit of most is eV
        if usual and score > best:
            best, chosen = score, np.where(explained, branch, 0)
            read_s = (log_s - shift_bs[chosen, np.arange(len(log_s))])[explained]
            scale = float(np.median(read_s))
            tighter = bool(np.ptp(np.exp(read_s)) <= _TIGHTER * np.ptp(per_atom_s[explained]))
    if best[0] < _EXPLAINED * len(log_s) or not tighter:
        chosen[:] = 0
    return float(np.sign(per_atom_s[0]) * np.exp(scale)), [names[b] for b in chosen]


def _same_for_all_sizes(energy_s: FloatArray, n_atoms_s: FloatArray) -> bool:
    """Whether energies do not grow with the number of atoms, which they are then for one of.

    Positive ones are relative to something: the energy of a vacancy against the crystal does not grow either.
    """
    usual = -float(np.median(energy_s))
    return bool(usual > _PHYSICAL and np.ptp(energy_s) < _LIKE * usual and n_atoms_s.max() >= 2 * n_atoms_s.min())


def is_alone(frame: Frame) -> bool:
    """Whether a frame is one atom without neighbours."""
    from ase.geometry import minkowski_reduce

    if frame.n_atoms > 1:
        return False
    if not frame.pbc_c.any():
        return True
    cell, _ = minkowski_reduce(frame.cell_cc, pbc=frame.pbc_c)
    return bool(np.linalg.norm(cell[frame.pbc_c], axis=1).min() >= _ALONE)


def isolated_atoms(table: Table) -> Iterator[Finding]:
    """Isolated atoms that contradict one another, or the energies of bound atoms."""
    alone: dict[int, list[int]] = defaultdict(list)
    for s, frame in enumerate(table.frames):
        if frame.energy is not None and is_alone(frame):
            alone[int(frame.numbers_e[0])].append(s)
    yield from _contradicting(table, alone)
    lowest = {z: min(float(table.frames[s].energy or 0.0) for s in which) for z, which in alone.items()}
    everything = [s for which in alone.values() for s in which]
    bound = [s for s, f in enumerate(table.frames) if f.energy is not None and f.n_atoms > 1 and s not in table.suspect]
    elements = {int(z) for s in bound for z in np.unique(table.frames[s].numbers_e)}
    fix = "compute isolated atoms with the same method and pseudopotentials (spin-polarised), or delete them"
    if bound and (missing := sorted(elements - alone.keys())):
        symbols = ", ".join(chemical_symbols[z] for z in missing)
        what = f"No frame with an isolated atom of {symbols}: e0 will come from least squares"
        fix = "add a single atom of each (config_type isolated_atom), or give its energy in [e0]"
        yield table.finding("isolated-atom", "note", [], what, fix)
        return
    if not bound:
        return
    cohesive = np.array([_cohesion(table.frames[s], lowest) for s in bound])
    typical = float(np.median(cohesive))
    if _BOUND[0] <= typical <= _BOUND[1]:
        return
    per_atom = np.array([float(table.frames[s].energy or 0.0) - _mean_e0(table.frames[s], lowest) for s in bound])
    if _BOUND[0] <= float(np.median(per_atom)) <= 0.0:
        what = f"Energies look like eV per atom: so read, bound atoms have {np.median(per_atom):.3g} eV/atom against "
        what += f"isolated ones, and {typical:.4g} if they are total energies"
        table.suspect.update(bound)
        yield table.finding("energy-per-atom", "error", bound, what, "multiply energies by the number of atoms N")
        return
    what = f"Bound atoms have {typical:+.4g} eV/atom against isolated ones, not {_BOUND[0]:g} to {_BOUND[1]:g}"
    if all(energy == 0.0 for energy in lowest.values()):
        what += "; the energies of isolated atoms are all zero, those of bound atoms are not relative to them"
    units = [name for name in ("kcal/mol", "kJ/mol") if _SOLID[0] <= typical / ENERGIES[name] <= _SOLID[1]]
    if units:
        what += f"; energies look like {' or '.join(units)}"
        fix = f"multiply energies by {' or '.join(f'{1.0 / ENERGIES[name]:.6g}' for name in units)}, or {fix}"
    yield table.finding("isolated-atom", "error", everything, what, fix)


def _contradicting(table: Table, alone: dict[int, list[int]]) -> Iterator[Finding]:
    """Atoms of one element that differ, and of different elements that do not."""
    energies = {z: [float(table.frames[s].energy or 0.0) for s in which] for z, which in alone.items()}
    for z, values in energies.items():
        spread = max(values) - min(values)
        if spread > _SAME_ATOM[0]:
            severity: Severity = "error" if spread > _SAME_ATOM[1] else "warning"
            span = f"{min(values):.6g} to {max(values):.6g}"
            what = f"Isolated {chemical_symbols[z]} atoms differ by {spread:.4g} eV ({span})"
            fix = "keep the one in its ground state (spin, symmetry), computed as all other frames"
            yield table.finding("isolated-atom", severity, alone[z], what, fix)
    by_value: dict[float, list[int]] = defaultdict(list)
    for z, values in energies.items():
        if values[0] != 0.0:
            by_value[round(values[0], 6)].append(z)
    for value, elements in by_value.items():
        if len(elements) > 1:
            symbols = ", ".join(chemical_symbols[z] for z in sorted(elements))
            what = f"Isolated atoms of {symbols} have the same energy {value:.6g} eV"
            which = [s for z in elements for s in alone[z]]
            yield table.finding("isolated-atom", "error", which, what, "compute each of them")


def _cohesion(frame: Frame, e0: dict[int, float]) -> float:
    return float(frame.energy or 0.0) / frame.n_atoms - _mean_e0(frame, e0)


def _mean_e0(frame: Frame, e0: dict[int, float]) -> float:
    return float(np.mean([e0.get(int(z), 0.0) for z in frame.numbers_e]))

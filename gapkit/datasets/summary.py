"""What a set of structures holds: composition, groups, labels, and the ranges of their values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from ase.data import atomic_masses, chemical_symbols
from ase.units import _amu

from gapkit import Frame
from gapkit.datasets.finding import counted
from gapkit.datasets.table import Table
from gapkit.typing import KINDS
from gapkit.units import GPA

Range = tuple[float, float]

_MOST, _SHOWN = 40, 20  # config_types of a table; of more, so many are shown
_GRAM_PER_CM3 = _amu * 1e27  # 1 amu/Å³


@dataclass(frozen=True)
class Group:
    """Structures of one config_type; ranges from least to largest, None where nothing has the label.

    Attributes
    ----------
    frames, atoms : numbers of structures and atoms.
    atoms_per_frame : range.
    energy : range, eV/atom.
    force : range of the largest force of each frame, eV/Å.
    stress : range of the components, GPa.
    volume : range, Å³/atom, of frames that are periodic in three directions.
    density : the same, g/cm³.
    """

    frames: int
    atoms: int
    atoms_per_frame: tuple[int, int]
    energy: Range | None
    force: Range | None
    stress: Range | None
    volume: Range | None
    density: Range | None


@dataclass(frozen=True)
class Summary:
    """All readable structures.

    Attributes
    ----------
    files : name -> number of readable structures.
    elements : symbol -> number of atoms.
    labels : energy, forces, stress -> number of structures that have it.
    formulas : number of different compositions (reduced formulas).
    groups : config_type -> `Group`.
    """

    files: dict[str, int]
    elements: dict[str, int]
    labels: dict[str, int]
    formulas: int
    groups: dict[str, Group]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def __str__(self) -> str:
        if not self.files:
            return "no frame can be read"
        files = ", ".join(f"{name} ({counted(count, 'frame')})" for name, count in self.files.items())
        frames, atoms = sum(self.files.values()), sum(self.elements.values())
        elements = ", ".join(f"{symbol} {count}" for symbol, count in self.elements.items())
        labels = (
            ", ".join(f"{kind} of {counted(count, 'frame')}" for kind, count in self.labels.items() if count) or "none"
        )
        lines = [
            f"files     {files}",
            f"atoms     {atoms} in {counted(frames, 'frame')}: {elements}; {counted(self.formulas, 'composition')}",
            f"labels    {labels}",
            "",
        ]
        rows = [
            [
                "config_type",
                "frames",
                "atoms/frame",
                "E (eV/atom)",
                "max |F| (eV/Å)",
                "stress (GPa)",
                "Å³/atom",
                "g/cm³",
            ]
        ]
        shown = list(self.groups.items())[: _SHOWN if len(self.groups) > _MOST else _MOST]
        for name, group in shown:
            sizes = "-".join(str(n) for n in sorted(set(group.atoms_per_frame)))
            rows.append([name, str(group.frames), sizes, _span(group.energy, 3), _span(group.force, 2)])
            rows[-1] += [_span(group.stress, 1), _span(group.volume, 2), _span(group.density, 2)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            cells = [c.rjust(w) if k else c.ljust(w) for k, (c, w) in enumerate(zip(row, widths, strict=True))]
            lines.append("  ".join(cells).rstrip())
        if len(shown) < len(self.groups):
            lines.append(f"… {len(self.groups) - len(shown)} more config_types")
        return "\n".join(lines)


def summarise(table: Table) -> Summary:
    """Numbers and ranges of all readable structures."""
    frames = table.frames
    numbers = np.concatenate([f.numbers_e for f in frames]) if frames else np.zeros(0, dtype=int)
    files: dict[str, int] = {}
    for member in table.members:
        files[member.place.file] = files.get(member.place.file, 0) + 1
    return Summary(
        files=files,
        elements={chemical_symbols[z]: int((numbers == z).sum()) for z in np.unique(numbers)},
        labels={kind: sum(kind in f.kinds for f in frames) for kind in KINDS},
        formulas=len({member.formula for member in table.members}),
        groups={name: _group([frames[s] for s in members]) for name, members in table.groups.items()},
    )


def _group(frames: Sequence[Frame]) -> Group:
    crystals = [f for f in frames if f.pbc_c.all()]
    sizes = [f.n_atoms for f in frames]
    return Group(
        frames=len(frames),
        atoms=sum(sizes),
        atoms_per_frame=(min(sizes), max(sizes)),
        energy=_range(f.energy / f.n_atoms for f in frames if f.energy is not None),
        force=_range(size for f in frames if (size := largest_force(f)) is not None),
        stress=_range(x / GPA for f in frames if f.stress_v is not None for x in (f.stress_v.min(), f.stress_v.max())),
        volume=_range(f.volume / f.n_atoms for f in crystals),
        density=_range(_density(f) for f in crystals),
    )


def largest_force(frame: Frame) -> float | None:
    """Of all atoms that no mask leaves out, eV/Å; None without forces."""
    if frame.forces_ec is None:
        return None
    used = frame.forces_ec if frame.force_mask_e is None else frame.forces_ec[frame.force_mask_e]
    return float(np.linalg.norm(used, axis=1).max()) if len(used) else None


def _density(frame: Frame) -> float:
    return float(atomic_masses[frame.numbers_e].sum() / frame.volume * _GRAM_PER_CM3)


def _range(values: Iterable[float]) -> Range | None:
    x = [float(value) for value in values]
    return (min(x), max(x)) if x else None


def _span(span: Range | None, digits: int) -> str:
    if span is None:
        return "-"
    low, high = (f"{value:.{digits}f}" for value in span)
    return low if low == high else f"{low} … {high}"

"""Stresses of config_types whose energies tell nothing, by their size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np

from gapkit import Frame
from gapkit.datasets.finding import Finding
from gapkit.datasets.table import Table
from gapkit.datasets.verdicts import named_groups
from gapkit.units import GPA

HUGE: Final = 8.0
"""Typical largest stress component times the volume per atom, eV, that no solid near its ground state has."""
_PRESSED: Final = 20.0
"""Times the usual such value of the others, which cells that were pressed hard do not reach."""


def by_size(table: Table, unclear: Mapping[str, list[int]]) -> Iterator[Finding]:
    """Stresses too large to be in eV/Å³, where energies do not tell."""
    sizes: dict[str, float] = {}
    for group, members in unclear.items():
        frames = [table.frames[s] for s in members]
        others = [_work(f) for f in table.frames if f.stress_v is not None and f.group != group]
        usual = float(np.median(others)) if others else 0.0
        limit = HUGE if usual > HUGE else max(HUGE, _PRESSED * usual)  # the others' may be wrong, too
        if float(np.median([_work(frame) for frame in frames])) > limit:
            sizes[group] = float(np.median([_largest(frame) for frame in frames]))
    if sizes:
        low, high = min(sizes.values()), max(sizes.values())
        span = [f"{low * x:.3g}" if low == high else f"{low * x:.3g} to {high * x:.3g}" for x in (1.0, 1.0 / GPA)]
        what = f"Stresses of {named_groups(list(sizes))} are of the order of {span[0]} eV/Å³ = {span[1]} GPa"
        fix = f"if they are in GPa multiply them by {GPA:.6g}, in kbar by {0.1 * GPA:.6g}; if virials, divide by -V"
        yield table.finding("stress-unit", "error", [s for group in sizes for s in unclear[group]], what, fix)


def _largest(frame: Frame) -> float:
    """Largest component, eV/Å³."""
    return 0.0 if frame.stress_v is None else float(np.abs(frame.stress_v).max())


def _work(frame: Frame) -> float:
    """The same times the volume per atom, eV."""
    return _largest(frame) * frame.volume / frame.n_atoms

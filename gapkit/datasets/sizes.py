"""Stresses of config_types whose energies tell nothing, by their size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np

from gapkit.datasets.finding import Finding
from gapkit.datasets.table import Table
from gapkit.datasets.verdicts import named_groups
from gapkit.units import GPA

HUGE: Final = 8.0
"""Typical largest stress component times the volume per atom, eV, that no solid near its ground state has."""


def by_size(table: Table, unclear: Mapping[str, list[int]]) -> Iterator[Finding]:
    """Stresses too large to be in eV/Å³, where energies do not tell."""
    sizes: dict[str, float] = {}
    for group, members in unclear.items():
        frames = [table.frames[s] for s in members]
        largest_s = np.array([0.0 if f.stress_v is None else float(np.abs(f.stress_v).max()) for f in frames])
        if float(np.median(largest_s * [f.volume / f.n_atoms for f in frames])) > HUGE:
            sizes[group] = float(np.median(largest_s))
    if sizes:
        low, high = min(sizes.values()), max(sizes.values())
        span = [f"{low * x:.3g}" if low == high else f"{low * x:.3g} to {high * x:.3g}" for x in (1.0, 1.0 / GPA)]
        what = f"Stresses of {named_groups(list(sizes))} are of the order of {span[0]} eV/Å³ = {span[1]} GPa"
        fix = f"if they are in GPa multiply them by {GPA:.6g}, in kbar by {0.1 * GPA:.6g}; if virials, divide by -V"
        yield table.finding("stress-unit", "error", [s for group in sizes for s in unclear[group]], what, fix)

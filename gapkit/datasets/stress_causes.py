"""Stresses of config_types whose energies tell nothing: by the cause that others have, else by their size."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np

from gapkit.datasets.finding import Finding
from gapkit.datasets.table import Table
from gapkit.datasets.verdicts import Verdict, named_groups
from gapkit.units import GPA

HUGE: Final = 8.0
"""Typical largest stress component times the volume per atom, eV, that no solid near its ground state has."""


def with_unclear(
    verdicts: Sequence[Verdict], unclear: Mapping[str, list[int]], right: int
) -> tuple[list[Verdict], dict[str, list[int]]]:
    """The verdicts, the most frequent one with all unclear groups added, and the groups that are still unclear.

    Parameters
    ----------
    verdicts
        Of groups with evidence.
    unclear
        Group -> frames of groups without.
    right
        Number of groups whose stresses agree with their energies.
    """
    counts = Counter(verdict.cause for verdict in verdicts if verdict.whole)
    cause, most = counts.most_common(1)[0] if counts else ("", 0)
    if 2 * most <= sum(counts.values()) + right or not unclear:
        return list(verdicts), dict(unclear)
    chosen = max((v for v in verdicts if v.cause == cause), key=lambda verdict: verdict.weight)
    which = [*chosen.which, *(s for members in unclear.values() for s in members)]
    numbers = f"{chosen.numbers}; most likely also in {named_groups(list(unclear))}, of which energies do not tell"
    others = [verdict for verdict in verdicts if verdict is not chosen]
    return [chosen._replace(which=which, numbers=numbers), *others], {}


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

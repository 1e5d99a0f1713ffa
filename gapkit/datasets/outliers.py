"""Forces far larger than those of their group."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from gapkit.datasets.finding import Finding
from gapkit.datasets.robust import deviations
from gapkit.datasets.table import Table

LARGE: Final = 15.0
"""eV/Å; below it no force is an outlier. Dynamics at 3000 K reach 14."""
_FAR: Final = 6.0
_LEAST: Final = 8


def force_outliers(table: Table) -> Iterator[Finding]:
    """Frames with a largest force far from those of their group, on a logarithmic scale."""
    for group, members in table.groups.items():
        which = [s for s in members if table.frames[s].forces_ec is not None and table.frames[s].n_atoms > 1]
        largest_s = np.array([float(np.linalg.norm(table.frames[s].forces_ec, axis=1).max()) for s in which])  # type: ignore[arg-type]
        if len(which) < _LEAST:
            continue
        log_s = np.log(np.maximum(largest_s, 0.01))
        odd = np.flatnonzero((largest_s > LARGE) & (deviations(log_s, 0.15) > _FAR) & (log_s > np.median(log_s)))
        if len(odd):
            usual = float(np.median(largest_s))
            what = (
                f"Forces up to {largest_s[odd].max():.3g} eV/Å in {group}, where the largest of a frame is {usual:.2g}"
            )
            fix = (
                "look at the frame: overlapping atoms, an unconverged calculation; or fit it with a larger force_sigma"
            )
            yield table.finding("force-outlier", "warning", [which[k] for k in odd], what, fix)

"""Forces far larger than those of their group, and zeros where others have forces."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from gapkit.datasets.finding import Finding
from gapkit.datasets.robust import deviations
from gapkit.datasets.summary import largest_force
from gapkit.datasets.table import Table

LARGE: Final = 15.0
"""eV/Å; below it no force is an outlier. Dynamics at 3000 K reach 14."""
_FAR: Final = 6.0
_BEYOND: Final = 3.0  # times the force that nine of ten frames do not reach
_RESTLESS: Final = 0.1  # eV/Å; where most frames have that, zeros are no relaxed structures
_LEAST: Final = 8


def force_outliers(table: Table) -> Iterator[Finding]:
    """Frames with a largest force far from those of their group, on a logarithmic scale, or with none."""
    for group, members in table.groups.items():
        sizes = {
            s: size for s in members if table.n_atoms_s[s] > 1 and (size := largest_force(table.frames[s])) is not None
        }
        which, largest_s = list(sizes), np.array(list(sizes.values()))
        if len(which) < _LEAST:
            continue
        usual = float(np.median(largest_s))
        log_s = np.log(np.maximum(largest_s, 0.01))
        far_s = (deviations(log_s, 0.15) > _FAR) & (largest_s > usual)
        beyond_s = largest_s > _BEYOND * np.quantile(largest_s, 0.9, method="lower")
        odd = np.flatnonzero((largest_s > LARGE) & (far_s | beyond_s))
        if len(odd):
            what = (
                f"Forces up to {largest_s[odd].max():.3g} eV/Å in {group}, where the largest of a frame is {usual:.2g}"
            )
            fix = "look at overlapping atoms and convergence; or fit the frame with a larger force_sigma"
            yield table.finding("force-outlier", "warning", [which[k] for k in odd], what, fix)
        if usual < _RESTLESS:
            continue
        zero = [k for k in np.flatnonzero(largest_s == 0.0) if not table.fingerprints.uniform(which[k])]
        if zero:
            what = f"All forces are zero, in {group}, where the largest of a frame is {usual:.2g} eV/Å"
            fix = "delete them, if they only fill a column"
            yield table.finding("force-outlier", "warning", [which[k] for k in zero], what, fix)

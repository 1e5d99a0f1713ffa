"""Forces that follow from no structure: of other atoms, of other frames, invented."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Final

import numpy as np

from gapkit import Frame, Noise
from gapkit.datasets.finding import Finding
from gapkit.datasets.potential import LEAST, is_apart, small_potential, some_of_each
from gapkit.datasets.table import Table
from gapkit.datasets.verdicts import named_groups
from gapkit.typing import FloatArray

_LARGE: Final = 0.2  # eV/Å; forces of relaxed structures are beyond a small potential
_SIGMA: Final = 0.05  # of forces, over their size
_MISSED: Final = 0.6  # share of such forces that it misses: 0.01 to 0.27 in sound sets, 0.96 and more in shuffled ones
_LABELS: Final = 2  # times as many as columns, which then cannot follow any forces


def forces_against_structure(table: Table) -> Iterator[Finding]:
    """Forces that a small potential of them alone hardly follows, where no pairs of structures told."""
    groups: dict[str, list[int]] = defaultdict(list)
    few: list[int] = []
    for name, which in table.groups.items():
        own = [s for s in which if s not in table.judged and _is_pushed(table.frames[s])]
        if len(own) < LEAST:
            few += own
        else:
            groups[name] = own
    if len(few) >= LEAST:
        groups["\0"] = few  # config_types of a frame or two, together
    chosen = some_of_each(table, groups) if groups else None
    size = _rms([table.frames[s] for which in groups.values() for s in which]) if chosen else 0.0
    if chosen is None or size < _LARGE:
        return
    potential = small_potential(table, chosen, Noise(energy=None, forces=_SIGMA * size, stress=None))
    labels = 3 * sum(table.n_atoms_s[s] for which in chosen.values() for s in which)
    if potential is None or labels < _LABELS * potential.columns:
        return
    found: dict[str, tuple[float, float]] = {}
    for name, which in chosen.items():
        frames = [table.frames[s] for s in which]
        predicted = potential.model.predict(frames, want={"forces"})
        true, missed = _rms(frames), _rms(frames, [p.forces for p in predicted])
        if true > _LARGE and missed > _MISSED * true:
            found[name] = missed, true
    if found:
        which = [s for name in found for s in groups[name]]
        names = list(dict.fromkeys(table.frames[s].group for s in which))
        missed, true = max(found.values())
        what = (
            f"Forces do not follow from the structures, in {named_groups(names)}: a small potential that is fitted to "
        )
        what += f"them misses {missed:.2g} of {true:.2g} eV/Å (rms)"
        fix = "check that forces belong to these frames and to the atoms in this order, have the unit and sign of "
        fix += "others, and are no placeholders"
        yield table.finding("forces-against-structure", "error", which, what, fix)


def _is_pushed(frame: Frame) -> bool:
    """Whether it has forces on all atoms, and more than a few of these."""
    return frame.all_forces_ec is not None and frame.n_atoms > 1 and not is_apart(frame)


def _rms(frames: list[Frame], predicted: list[FloatArray] | None = None) -> float:
    """Root mean square of the forces, or of what predictions miss, eV/Å."""
    true = np.concatenate([f.all_forces_ec for f in frames if f.all_forces_ec is not None])
    return float(np.sqrt(np.mean((true if predicted is None else true - np.concatenate(predicted)) ** 2)))

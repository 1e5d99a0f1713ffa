"""Which frames are isolated atoms."""

from __future__ import annotations

from typing import Final

import numpy as np
from ase.geometry import minkowski_reduce

from gapkit.atoms.frame import Frame

ISOLATED_GROUP: Final = "isolated_atom"
"""The config_type that marks a periodic single atom as isolated, as in gap_fit."""

FAR: Final = 10.0
"""A periodic single atom whose nearest image is at least this far (Å) is isolated without being marked."""


def is_isolated(frame: Frame) -> bool:
    """Whether the frame is one atom without neighbours.

    That is one atom that is not periodic, or belongs to the group "isolated_atom", or has its nearest periodic
    image at least 10 Å away.
    """
    if frame.n_atoms != 1:
        return False
    if not frame.pbc_c.any() or frame.group == ISOLATED_GROUP:
        return True
    reduced, _ = minkowski_reduce(frame.cell_cc, pbc=frame.pbc_c)
    return bool(np.linalg.norm(reduced[frame.pbc_c], axis=1).min() >= FAR)

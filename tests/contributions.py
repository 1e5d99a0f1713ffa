"""Contributions of baselines as a test looks at them."""

from __future__ import annotations

import pytest
from ase import Atoms

from gapkit.atoms.labels import to_frame
from gapkit.baselines.base import Baseline, Contribution
from gapkit.typing import KINDS, FloatArray


def evaluate(baseline: Baseline, atoms: Atoms) -> Contribution:
    """Energy, forces and virial of one structure."""
    return baseline.evaluate(to_frame(atoms), KINDS)


def energy(baseline: Baseline, atoms: Atoms) -> float:
    """Energy of one structure, eV."""
    return float(baseline.evaluate(to_frame(atoms), ("energy",)).energies_e.sum())


def arrays(contribution: Contribution) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Energies, forces and virial, all of which must be there."""
    assert contribution.forces_ec is not None
    assert contribution.virial_cc is not None
    return contribution.energies_e, contribution.forces_ec, contribution.virial_cc


def same(one: Contribution, other: Contribution, tolerance: float = 1e-12) -> None:
    """All numbers agree."""
    for mine, theirs in zip(arrays(one), arrays(other), strict=True):
        assert mine == pytest.approx(theirs, abs=tolerance)

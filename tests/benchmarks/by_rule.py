"""A model whose settings follow from the structures alone: quick to make, for benchmarks of what is done with it."""

from __future__ import annotations

from collections.abc import Sequence

from ase import Atoms

from gapkit import GAP, ZBL, Cohesion
from gapkit.atoms.labels import to_frames
from gapkit.model.defaults import default_terms


def by_rule(frames: Sequence[Atoms]) -> GAP:
    """The terms that `GAP()` would begin its search with, σ by one factor from the evidence."""
    return GAP(default_terms(to_frames(frames)), baselines=[ZBL(), Cohesion()], n_jobs=2)

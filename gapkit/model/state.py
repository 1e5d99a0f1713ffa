"""All that a fit learns, in one immutable piece."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from gapkit.gp.calibration import Calibration
from gapkit.gp.compress import CompressedRows
from gapkit.gp.noise import Noise
from gapkit.gp.posterior import Posterior
from gapkit.gp.term import SparseTerm
from gapkit.model.terms import Term
from gapkit.typing import FloatArray


@dataclass(frozen=True, eq=False)
class ModelState:
    """A fitted model.

    Attributes
    ----------
    settings, terms
        The user's terms, and the same with their sparse points chosen.
    noise
        σ of the labels.
    e0
        Energy of the isolated atom by atomic number, eV.
    prior_mm
        Upper triangular factor of K_mm/δ².
    posterior
        Weights, factors, evidence.
    rows
        Compressed training data; None where a model was saved without them.
    hashes
        One number per training frame, by which it is known again.
    training
        Numbers of frames and atoms, and training errors.
    calibration
        From raw to honest σ; None for a model that was not calibrated.
    """

    settings: Sequence[Term]
    terms: Sequence[SparseTerm]
    noise: Noise
    e0: Mapping[int, float]
    prior_mm: FloatArray
    posterior: Posterior
    rows: Sequence[CompressedRows] | None
    hashes: np.ndarray
    training: Mapping[str, Any] = field(default_factory=dict)
    calibration: Calibration | None = None

    @property
    def species(self) -> tuple[int, ...]:
        """Atomic numbers that the model knows, ascending."""
        return tuple(sorted(set(self.e0).intersection(*(term.descriptor.species for term in self.terms))))

    @property
    def reach(self) -> float:
        """Largest distance at which an atom sees another, Å."""
        return max(term.descriptor.reach for term in self.terms)

    @property
    def slices(self) -> list[slice]:
        """Columns of each term among the columns of the model."""
        edges = np.cumsum([0] + [t.n_columns for t in self.terms])
        return [slice(a, b) for a, b in pairwise(edges)]

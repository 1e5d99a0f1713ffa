"""The two-body term."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from ase.data import atomic_numbers, chemical_symbols

from gapkit._check import whole
from gapkit._parameters import Parametric
from gapkit.atoms.frame import Frame
from gapkit.atoms.neighbours import NeighbourList
from gapkit.descriptors.base import Descriptor
from gapkit.descriptors.pair import PairDistances
from gapkit.errors import NothingInReach
from gapkit.gp.term import SparseTerm
from gapkit.kernels.base import Kernel
from gapkit.kernels.gaussian import Gaussian
from gapkit.model.terms import Arrays, Json, checked_cutoff, first_delta, species_of
from gapkit.numerics.select import POOL_BYTES


class PairTerm(Parametric):
    """Two-body term: a function of the distance for every pair of species.

    Each function has the squared-exponential covariance δ² exp(-(r-r')²/2θ²) and goes smoothly
    to zero at the cutoff.

    Parameters
    ----------
    r_cut
        Cutoff > 1, Å.
    n_sparse
        Number of sparse distances per pair of species, equally spaced between the shortest
        distance in the data and the cutoff.
    theta
        Length scale θ of the functions, Å.
    width
        Width of the region in which the term is switched off below the cutoff, Å.
    delta
        Prior standard deviation δ of the energy of a bond, eV; None: the most probable one.
    """

    kind: ClassVar[str] = "pair"

    def __init__(
        self,
        r_cut: float = 5.0,
        *,
        n_sparse: int = 20,
        theta: float = 0.8,
        width: float = 1.0,
        delta: float | None = 1.0,
    ) -> None:
        self.r_cut = r_cut
        self.n_sparse = n_sparse
        self.theta = theta
        self.width = width
        self.delta = delta

    def choose(
        self, name: str, frames: Sequence[Frame], rng: np.random.Generator, pool: float = POOL_BYTES, n_jobs: int = 1
    ) -> SparseTerm:
        """Sparse distances for the pairs of species that occur."""
        r_cut, width = checked_cutoff("PairTerm", self.r_cut, self.width)
        n_sparse = whole("PairTerm.n_sparse", self.n_sparse, 2)
        descriptor = PairDistances(species_of(frames), r_cut, width)
        shortest = _shortest(descriptor, frames)
        points = {c: descriptor.points(np.linspace(r, r_cut, n_sparse)[:, None]) for c, r in shortest.items()}
        return SparseTerm(name, descriptor, Gaussian(self.theta), first_delta("PairTerm.delta", self.delta), points)

    def settings(self, fitted: SparseTerm) -> Json:
        """The settings."""
        return self.get_params(deep=False)

    @staticmethod
    def describe(fitted: SparseTerm, arrays: Arrays) -> Json:
        """Species, cutoff and length scale."""
        descriptor, kernel = fitted.descriptor, fitted.kernel
        if not (isinstance(descriptor, PairDistances) and isinstance(kernel, Gaussian)):
            raise TypeError(f"no schema for {type(descriptor).__name__} with the kernel {type(kernel).__name__}")
        species = [chemical_symbols[z] for z in descriptor.species]
        return {"theta": kernel.theta, "r_cut": descriptor.reach, "width": descriptor.width, "species": species}

    @staticmethod
    def build(entry: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> tuple[Descriptor, Kernel]:
        """The descriptor and the kernel."""
        species = [atomic_numbers[symbol] for symbol in entry["species"]]
        return PairDistances(species, entry["r_cut"], entry["width"]), Gaussian(entry["theta"])


def _shortest(descriptor: PairDistances, frames: Sequence[Frame]) -> dict[tuple[int, ...], float]:
    """Shortest distance of each pair of species that occurs within the cutoff."""
    shortest: dict[tuple[int, ...], float] = {}
    neighbours = NeighbourList(descriptor.reach)
    for frame in frames:
        pairs = neighbours.pairs(frame)
        r2 = np.einsum("pc,pc->p", pairs.r_pc, pairs.r_pc)
        a, b = frame.numbers_e[pairs.i_p], frame.numbers_e[pairs.j_p]
        for channel in descriptor.channels:
            mine = r2[(a == channel[0]) & (b == channel[1])]
            if len(mine):
                shortest[channel] = min(shortest.get(channel, np.inf), float(np.sqrt(mine.min())))
    if not shortest:
        raise NothingInReach(
            f"no two atoms are closer than PairTerm.r_cut={descriptor.reach:g} Å",
            fix="increase r_cut or leave the term out",
        )
    return dict(sorted(shortest.items()))

"""The three-body term."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from ase.data import atomic_numbers, chemical_symbols

from gapkit._check import positive, whole
from gapkit._parameters import Parametric
from gapkit.atoms.frame import Frame
from gapkit.atoms.neighbours import NeighbourList
from gapkit.descriptors.base import Descriptor
from gapkit.descriptors.triplet import Channel, Scales, Triplets
from gapkit.errors import ConfigError, NothingInReach
from gapkit.gp.term import SparseTerm
from gapkit.kernels.base import Kernel
from gapkit.kernels.gaussian import Gaussian
from gapkit.model.parallel import ordered_map
from gapkit.model.terms import Arrays, Json, checked_cutoff, first_delta, species_of
from gapkit.numerics.farthest import farthest_point
from gapkit.numerics.select import POOL_BYTES
from gapkit.typing import FloatArray

_BLOCK = 128  # centres whose triangles are in memory at once


class TripletTerm(Parametric):
    """Three-body term: a function of the triangle of an atom and two neighbours, for every triple of species.

    Each function has the squared-exponential covariance δ² exp(-|x-x'|²/2) of the features of
    `gapkit.descriptors.triplet.Triplets`, does not change when two neighbours of one element are
    exchanged, and goes smoothly to zero when either leg of the triangle reaches the cutoff.

    Parameters
    ----------
    r_cut
        Cutoff > 1 of the two legs, Å. Time grows with its sixth power: 3 … 4 Å, the first neighbours.
    n_sparse
        Number of sparse triangles per triple of species, chosen by farthest point among those of
        the data.
    theta
        Length scale, Å; or three, of the sum of the legs, of their difference (its square over 1 Å
        where both neighbours are of one element) and of the far side.
    width
        Width of the region in which the term is switched off below the cutoff, Å.
    delta
        Prior standard deviation δ of the energy of a triangle, eV; None: the most probable one.
    """

    kind: ClassVar[str] = "triplet"

    def __init__(
        self,
        r_cut: float = 3.5,
        *,
        n_sparse: int = 150,
        theta: float | Sequence[float] = 1.0,
        width: float = 1.0,
        delta: float | None = 0.3,
    ) -> None:
        self.r_cut = r_cut
        self.n_sparse = n_sparse
        self.theta = theta
        self.width = width
        self.delta = delta

    def choose(
        self, name: str, frames: Sequence[Frame], rng: np.random.Generator, pool: float = POOL_BYTES, n_jobs: int = 1
    ) -> SparseTerm:
        """Sparse triangles for the triples of species that occur, among those that fit into `pool` bytes."""
        r_cut, width = checked_cutoff("TripletTerm", self.r_cut, self.width)
        n_sparse, delta = whole("TripletTerm.n_sparse", self.n_sparse), first_delta("TripletTerm.delta", self.delta)
        descriptor = Triplets(species_of(frames), r_cut, width, _scales(self.theta))
        points = {}
        for channel, x_sd in _triangles(descriptor, frames, rng, pool, n_jobs).items():
            chosen = farthest_point(x_sd, min(n_sparse, len(x_sd)), rng)
            points[channel] = descriptor.points(x_sd[chosen])
        return SparseTerm(name, descriptor, Gaussian(1.0), delta, points)

    def settings(self, fitted: SparseTerm) -> Json:
        """The settings."""
        theta = self.theta if isinstance(self.theta, (int, float)) else list(_scales(self.theta))
        return {**self.get_params(deep=False), "theta": theta}

    @staticmethod
    def describe(fitted: SparseTerm, arrays: Arrays) -> Json:
        """Species, cutoff and length scales."""
        descriptor = fitted.descriptor
        if not (isinstance(descriptor, Triplets) and isinstance(fitted.kernel, Gaussian)):
            raise TypeError(f"no schema for {type(descriptor).__name__} with the kernel {type(fitted.kernel).__name__}")
        species, theta = [chemical_symbols[z] for z in descriptor.species], list(descriptor.theta)
        return {"theta": theta, "r_cut": descriptor.reach, "width": descriptor.width, "species": species}

    @staticmethod
    def build(entry: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> tuple[Descriptor, Kernel]:
        """The descriptor and the kernel."""
        species = [atomic_numbers[symbol] for symbol in entry["species"]]
        return Triplets(species, entry["r_cut"], entry["width"], tuple(entry["theta"])), Gaussian(1.0)


def _scales(theta: Any) -> Scales:
    """One length scale or three as three, checked."""
    three = [theta] * 3 if np.ndim(theta) == 0 else list(theta)
    if len(three) != 3:
        what = f"TripletTerm.theta={theta!r} has {len(three)} entries"
        raise ConfigError(what, fix="give one length scale (Å), or three: of sum, difference and far side")
    a, b, c = (positive("TripletTerm.theta", value, "Å") for value in three)
    return a, b, c


def _triangles(
    descriptor: Triplets, frames: Sequence[Frame], rng: np.random.Generator, pool: float, n_jobs: int
) -> dict[Channel, FloatArray]:
    """Features of the triangles of each channel that occurs; of frames with too many for the pool, some at random."""
    channels = descriptor.channels
    most = max(1, int(pool / (24 * len(channels) * len(frames))))
    seeds = rng.integers(2**63, size=len(frames))  # drawn here: threads may not share a generator

    def of_frame(task: tuple[Frame, int]) -> list[tuple[Channel, FloatArray]]:
        frame, seed = task
        pairs, draw = NeighbourList(descriptor.reach).pairs(frame), np.random.default_rng(seed)
        found = []
        for channel in channels:
            part = descriptor.pairs_of(pairs, channel)
            n_blocks = max(1, -(-len(part.centres_e) // _BLOCK))
            for block in part.blocks(_BLOCK):
                x_sd = descriptor.sites(block, channel).x_sd
                keep = max(1, most // n_blocks)
                if len(x_sd) > keep:
                    x_sd = x_sd[np.sort(draw.choice(len(x_sd), keep, replace=False))]
                if len(x_sd):
                    found.append((channel, x_sd))
        return found

    parts: dict[Channel, list[FloatArray]] = {}
    for found in ordered_map(of_frame, list(zip(frames, seeds.tolist(), strict=True)), n_jobs):
        for channel, x_sd in found:
            parts.setdefault(channel, []).append(x_sd)
    if not parts:
        raise NothingInReach(
            f"no atom has two neighbours within TripletTerm.r_cut={descriptor.reach:g} Å",
            fix="increase r_cut or leave the term out",
        )
    return {channel: np.concatenate(parts[channel]) for channel in channels if channel in parts}

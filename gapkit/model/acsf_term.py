"""The many-body term of atom-centred symmetry functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np

from gapkit._check import positive
from gapkit._parameters import Parametric
from gapkit.atoms.frame import Frame
from gapkit.atoms.neighbours import NeighbourList
from gapkit.descriptors.acsf import Acsf, Channel
from gapkit.descriptors.base import Descriptor
from gapkit.descriptors.symmetry import SymmetryFunctions
from gapkit.errors import ConfigError, nearest
from gapkit.gp.term import SparseTerm
from gapkit.kernels.base import Kernel
from gapkit.kernels.gaussian import Gaussian
from gapkit.model.parallel import ordered_map
from gapkit.model.sparse import choose_environments, shares
from gapkit.model.terms import Arrays, Json, first_delta, require_species, species_of
from gapkit.numerics.select import METHODS, POOL_BYTES
from gapkit.typing import FloatArray

DEFAULT_CUTOFF = 5.0
"""Cutoff of the functions that a term has without arguments, Å."""

_LEVELS = 5  # radial functions of each kind of `default_functions`
_BLOCK = 128  # centres whose features are in memory at once
_FEW = 2000  # points whose distances make a median
_SMALLEST = 1e-3  # of the largest value of a feature, below which its spread is no scale


class ACSFTerm(Parametric):
    """Many-body term: symmetry functions as dscribe's ACSF defines them, with the kernel δ² exp(-|x-x'|²/2θ²).

    The features x are the symmetry functions over their standard deviation in the training data, for each central
    element by itself, and over √F for F features: |x-x'| is of the order of 1 whatever their number.

    Parameters
    ----------
    acsf
        A `dscribe.descriptors.ACSF`, or its arguments in a dictionary: r_cut, g2_params, g3_params,
        g4_params, g5_params, species; species that are left out are those of the training data.
        With r_cut alone the others are those of `default_functions`, and with None r_cut is 5 Å.
    n_sparse
        Number of sparse points over all central species (shared in proportion to the square
        root of their abundance), or {symbol: number}. The isolated atom is one of them.
    theta
        Length scale θ; None: the median distance of the sparse points of one central species.
    delta
        Prior standard deviation δ of a local energy, eV; None: the most probable one.
    method
        How sparse points are chosen: ``farthest_point``, ``leverage`` (CUR), ``kmeans``, ``uniform``.
    """

    kind: ClassVar[str] = "acsf"

    def __init__(
        self,
        acsf: Any = None,
        *,
        n_sparse: int | Mapping[str, int] = 1000,
        theta: float | None = None,
        delta: float | None = 1.0,
        method: str = "farthest_point",
    ) -> None:
        self.acsf = acsf
        self.n_sparse = n_sparse
        self.theta = theta
        self.delta = delta
        self.method = method

    def functions(self, frames: Sequence[Frame]) -> SymmetryFunctions:
        """The symmetry functions, with the species of the frames where none are given."""
        given: Any = {"r_cut": DEFAULT_CUTOFF} if self.acsf is None else self.acsf
        functions = SymmetryFunctions.of(given, species_of(frames))
        if isinstance(given, Mapping) and not any(name.endswith("_params") for name in given):
            return SymmetryFunctions.of({**given, **default_functions(functions.r_cut)}, functions.species)
        return functions

    def choose(
        self, name: str, frames: Sequence[Frame], rng: np.random.Generator, pool: float = POOL_BYTES, n_jobs: int = 1
    ) -> SparseTerm:
        """Choose sparse points among the environments of the frames, of which `pool` bytes are looked at."""
        if not isinstance(self.method, str) or self.method not in METHODS:
            raise ConfigError(f"ACSFTerm.method={self.method!r} is unknown", fix=nearest(str(self.method), METHODS))
        delta = first_delta("ACSFTerm.delta", self.delta)
        theta = None if self.theta is None else positive("ACSFTerm.theta", self.theta)
        functions = self.functions(frames)
        require_species(functions.species, frames)
        descriptor = Acsf(functions, _scales(Acsf(functions), frames, n_jobs))
        wanted = {c: max(1, n - 1) for c, n in shares(self.n_sparse, descriptor.channels, frames).items()}
        # the isolated atom is the first sparse point, so that its energy can be exact
        alone = dict.fromkeys(wanted, np.zeros((1, functions.n_features)))
        chosen = choose_environments(descriptor, wanted, frames, self.method, None, rng, alone, pool, n_jobs, name)
        points = {c: descriptor.points(np.concatenate([alone[c], own.x_ef])) for c, own in chosen.items()}
        origins = {c: own.origins(1) for c, own in chosen.items()}
        kernel = Gaussian(_median_distance([own.x_ef for own in chosen.values()]) if theta is None else theta)
        return SparseTerm(name, descriptor, kernel, delta, points, origins)

    def settings(self, fitted: SparseTerm) -> Json:
        """The settings, with functions and length scale spelt out."""
        descriptor, kernel = _parts(fitted)
        chosen = {"acsf": descriptor.functions.arguments, "theta": kernel.theta}
        return {**self.get_params(deep=False), **chosen}

    @staticmethod
    def describe(fitted: SparseTerm, arrays: Arrays) -> Json:
        """Functions and length scale; the scales of features are an array."""
        descriptor, kernel = _parts(fitted)
        arrays[f"{fitted.name}.scales"] = np.stack([descriptor.scale[c] for c in descriptor.channels])
        return {"theta": kernel.theta, "acsf": descriptor.functions.arguments}

    @staticmethod
    def build(entry: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> tuple[Descriptor, Kernel]:
        """The descriptor, without dscribe, and the kernel."""
        functions = SymmetryFunctions.of(entry["acsf"], ())
        scales = zip(Acsf(functions).channels, arrays[f"{entry['name']}.scales"], strict=True)
        return Acsf(functions, dict(scales)), Gaussian(entry["theta"])


def default_functions(r_cut: float) -> dict[str, list[list[float]]]:
    """Parameters of G2 and G4 for a cutoff, on the grids of Imbalzano et al., J. Chem. Phys. 148, 241730 (2018).

    With n = 5: G2 about the atom with η = (n^(m/n)/r_cut)², m = 0 … n; G2 on shells at R = r_cut/n^(m/n), m = 1 … n,
    as narrow as the distance d to the next larger shell, η = 1/d²; G4 with the η of m = 0 … 2 and λ = ±1, ζ = 1, 4, 16.
    """
    ladder = _LEVELS ** (np.arange(_LEVELS + 1) / _LEVELS)
    eta, shell = (ladder / r_cut) ** 2, r_cut / ladder
    g2 = [[float(e), 0.0] for e in eta]
    g2 += [[float((outer - inner) ** -2), float(inner)] for outer, inner in pairwise(shell)]
    g4 = [[float(e), zeta, lam] for e in eta[:3] for lam in (-1.0, 1.0) for zeta in (1.0, 4.0, 16.0)]
    return {"g2_params": g2, "g4_params": g4}


def _parts(fitted: SparseTerm) -> tuple[Acsf, Gaussian]:
    """Descriptor and kernel of a fitted term."""
    descriptor, kernel = fitted.descriptor, fitted.kernel
    if not (isinstance(descriptor, Acsf) and isinstance(kernel, Gaussian)):
        raise TypeError(f"no schema for {type(descriptor).__name__} with the kernel {type(kernel).__name__}")
    return descriptor, kernel


def _scales(descriptor: Acsf, frames: Sequence[Frame], n_jobs: int) -> dict[Channel, FloatArray]:
    """√F times the standard deviation of each feature over all environments of the frames, per central element.

    A feature that hardly varies is divided by a thousandth of its largest value, one that is zero by 1.
    """
    channels, width = descriptor.channels, descriptor.functions.n_features

    def of_frame(frame: Frame) -> FloatArray:
        pairs, sums = NeighbourList(descriptor.reach).pairs(frame), np.zeros((len(channels), 4, width))
        for own, channel in zip(sums, channels, strict=True):
            for block in descriptor.pairs_of(pairs, channel).blocks(_BLOCK):
                if len(block.centres_e):
                    x_sd = descriptor.sites(block, channel).x_sd
                    own[0] += len(x_sd)
                    own[1] += x_sd.sum(axis=0)
                    own[2] += (x_sd**2).sum(axis=0)
                    own[3] = np.maximum(own[3], np.abs(x_sd).max(axis=0))
        return sums

    total = np.zeros((len(channels), 4, width))
    for sums in ordered_map(of_frame, list(frames), n_jobs):
        total[:, :3] += sums[:, :3]
        total[:, 3] = np.maximum(total[:, 3], sums[:, 3])
    scales = {}
    for (number, first, second, largest), channel in zip(total, channels, strict=True):
        n = np.maximum(number, 1.0)
        spread = np.sqrt(np.maximum(second / n - (first / n) ** 2, 0.0))
        scale = np.maximum(spread, _SMALLEST * largest)
        scales[channel] = np.sqrt(width) * np.where(scale > 0.0, scale, 1.0)
    return scales


def _median_distance(x_emd: Sequence[FloatArray]) -> float:
    """Median distance between two sparse points of one channel; 1 where no channel has two."""
    from scipy.spatial.distance import pdist  # slow to load

    few = [x_md[:: max(1, -(-len(x_md) // _FEW))] for x_md in x_emd]
    distances = np.concatenate([pdist(x_md) for x_md in few])
    return float(np.median(distances)) if len(distances) else 1.0

"""The terms a user builds a model of: settings only, until `fit` chooses their sparse points."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from ase.data import chemical_symbols

from gapkit._check import positive, whole
from gapkit._parameters import Parametric
from gapkit.atoms.frame import Frame
from gapkit.atoms.neighbours import NeighbourList
from gapkit.descriptors.base import Descriptor
from gapkit.descriptors.basis import SoapBasis, soap_basis
from gapkit.descriptors.dscribe import DscribeSoap
from gapkit.descriptors.pair import PairDistances
from gapkit.descriptors.soap import Soap
from gapkit.errors import ConfigError, DataError, SpeciesError, nearest
from gapkit.gp.term import SparseTerm
from gapkit.kernels.gaussian import Gaussian
from gapkit.kernels.polynomial import DotProduct
from gapkit.model.sparse import choose_environments, shares
from gapkit.numerics.select import POOL_BYTES
from gapkit.typing import FloatArray

_log = logging.getLogger(__name__)


class Term(Protocol):
    """What a model needs of the settings of a term."""

    def choose(
        self, name: str, frames: Sequence[Frame], rng: np.random.Generator, pool: float = POOL_BYTES, n_jobs: int = 1
    ) -> SparseTerm:
        """Choose sparse points among the environments of the frames, of which `pool` bytes are looked at."""
        ...


class SoapTerm(Parametric):
    """Many-body term: SOAP as dscribe defines it, with the kernel δ² (q·q')^ζ of unit vectors.

    Parameters
    ----------
    soap
        A `dscribe.descriptors.SOAP`, or its arguments in a dictionary; species that are left
        out are those of the training data. None: chosen from the data.
    zeta
        Power ζ of the kernel, 1 … 16.
    n_sparse
        Number of sparse points over all central species (shared in proportion to the square
        root of their abundance), or {symbol: number}. The isolated atom is one of them.
    delta
        Prior standard deviation δ of a local energy, eV.
    method
        How sparse points are chosen: ``farthest_point``, ``leverage`` (CUR), ``kmeans``,
        ``uniform``; or a file: an .npy of descriptor values (one species), an .npz with one
        array per symbol, or structures in any format that ASE reads, of which all
        environments are taken.
    quotas
        {config_type: number or fraction} of the sparse points, to which the isolated atom is added.
    engine
        ``native``, ``dscribe`` (slow: numerical derivatives), or ``auto``: native wherever it
        covers the options.
    """

    def __init__(
        self,
        soap: Any = None,
        *,
        zeta: int = 4,
        n_sparse: int | Mapping[str, int] = 1000,
        delta: float = 1.0,
        method: str | os.PathLike[str] = "farthest_point",
        quotas: Mapping[str, float] | None = None,
        engine: str = "auto",
    ) -> None:
        self.soap = soap
        self.zeta = zeta
        self.n_sparse = n_sparse
        self.delta = delta
        self.method = method
        self.quotas = quotas
        self.engine = engine

    def descriptor(self, frames: Sequence[Frame]) -> Descriptor:
        """The descriptor, with the species of the frames where none are given."""
        if self.soap is None:
            raise ConfigError(
                "SoapTerm has no descriptor", fix="give a dscribe SOAP, its arguments, or no terms at all"
            )
        arguments: Any = self.soap
        if isinstance(arguments, Mapping) and arguments.get("species") is None:
            arguments = {**arguments, "species": [chemical_symbols[z] for z in species_of(frames)]}
        return soap_descriptor(soap_basis(arguments), self.engine)

    def choose(
        self, name: str, frames: Sequence[Frame], rng: np.random.Generator, pool: float = POOL_BYTES, n_jobs: int = 1
    ) -> SparseTerm:
        """Choose sparse points among the environments of the frames, of which `pool` bytes are looked at."""
        kernel, delta = DotProduct(self.zeta), positive("SoapTerm.delta", self.delta, "eV")
        descriptor = self.descriptor(frames)
        require_species(descriptor.species, frames)
        # the isolated atom is the first sparse point, so that its energy can be exact: one less is chosen
        extra = 0 if self.quotas else 1
        wanted = {c: max(1, n - extra) for c, n in shares(self.n_sparse, descriptor.channels, frames).items()}
        isolated = _isolated(descriptor)
        chosen = choose_environments(descriptor, wanted, frames, self.method, self.quotas, rng, isolated, pool, n_jobs)
        for channel, own in chosen.items():
            width = isolated[channel].shape[1]
            if own.x_ef.shape[1] != width:
                what = f"the sparse points have {own.x_ef.shape[1]} features, the descriptor has {width}"
                raise DataError(what, where=str(self.method), fix="make the file with the same SOAP arguments")
        points = {c: descriptor.points(np.concatenate([isolated[c], own.x_ef])) for c, own in chosen.items()}
        origins = {c: own.origins(len(isolated[c])) for c, own in chosen.items()}
        return SparseTerm(name, descriptor, kernel, delta, points, origins)


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
        Prior standard deviation δ of the energy of a bond, eV.
    """

    def __init__(
        self,
        r_cut: float = 5.0,
        *,
        n_sparse: int = 20,
        theta: float = 0.8,
        width: float = 1.0,
        delta: float = 1.0,
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
        r_cut, width = positive("PairTerm.r_cut", self.r_cut, "Å"), positive("PairTerm.width", self.width, "Å")
        if r_cut <= 1.0:
            raise ConfigError(f"PairTerm.r_cut={r_cut:g} Å is shorter than any bond", fix="give r_cut > 1 Å, such as 5")
        if width > r_cut:
            raise ConfigError(f"PairTerm.width={width:g} Å is larger than r_cut", fix="give a width below r_cut")
        n_sparse = whole("PairTerm.n_sparse", self.n_sparse, 2)
        descriptor = PairDistances(sorted({int(z) for f in frames for z in f.numbers_e}), r_cut, width)
        shortest = _shortest(descriptor, frames)
        points = {c: descriptor.points(np.linspace(r, r_cut, n_sparse)[:, None]) for c, r in shortest.items()}
        return SparseTerm(name, descriptor, Gaussian(self.theta), positive("PairTerm.delta", self.delta, "eV"), points)


def soap_descriptor(basis: SoapBasis, engine: str = "auto") -> Descriptor:
    """The engine for a SOAP basis."""
    if engine not in ("auto", "native", "dscribe"):
        raise ConfigError(f"engine '{engine}' does not exist", fix=nearest(engine, ("auto", "native", "dscribe")))
    covered = basis.arguments["rbf"] == "gto"
    if engine == "native" and not covered:
        raise ConfigError("the native engine has no polynomial basis", fix="use rbf='gto', or engine='auto'")
    if engine == "dscribe" or not covered:
        _log.info("SOAP is evaluated by dscribe with numerical derivatives: about a hundred times slower than gto")
        return DscribeSoap(basis)
    if not basis.smooth:
        _log.warning("this SOAP does not vanish at its cutoff: forces jump; weighting 'poly' with r0 = r_cut mends it")
    return Soap(basis)


def species_of(frames: Iterable[Frame]) -> list[int]:
    """Atomic numbers in the frames, ascending."""
    return sorted({int(z) for frame in frames for z in np.unique(frame.numbers_e)})


def require_species(known: Sequence[int], frames: Iterable[Frame]) -> None:
    """SpeciesError for the first frame with an element that is not known."""
    for frame in frames:
        foreign = ~np.isin(frame.numbers_e, known)
        if foreign.any():
            atoms = np.flatnonzero(foreign)
            symbols = ", ".join(sorted({chemical_symbols[z] for z in frame.numbers_e[atoms]}))
            places = ", ".join(map(str, atoms[:5])) + (" …" if len(atoms) > 5 else "")
            raise SpeciesError(
                f"Species not covered. The model knows {', '.join(chemical_symbols[z] for z in known)}; "
                f"here is {symbols} at atoms {places}",
                where=frame.where,
                fix="add frames with it and refit, or remove those atoms",
            )


def isolated_frame(number: int) -> Frame:
    """One atom alone."""
    return Frame(np.array([number]), np.zeros((1, 3)), np.zeros((3, 3)), np.zeros(3, dtype=bool))


def _isolated(descriptor: Descriptor) -> dict[tuple[int, ...], FloatArray]:
    """Descriptor of the isolated atom of each channel; no row where it vanishes."""
    rows = {}
    for channel in descriptor.channels:
        pairs = NeighbourList(descriptor.reach).pairs(isolated_frame(channel[0]))
        x = descriptor.sites(descriptor.pairs_of(pairs, channel), channel).x_sd
        rows[channel] = x[x.any(axis=1)]
    return rows


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
        raise ConfigError(
            f"no two atoms are closer than PairTerm.r_cut={descriptor.reach:g} Å",
            fix="increase r_cut or leave the term out",
        )
    return dict(sorted(shortest.items()))

"""The many-body term of SOAP vectors."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from ase.data import chemical_symbols

from gapkit._parameters import Parametric
from gapkit.atoms.frame import Frame
from gapkit.atoms.neighbours import NeighbourList
from gapkit.descriptors.base import Descriptor, Points
from gapkit.descriptors.basis import SoapBasis, soap_basis
from gapkit.descriptors.dscribe import DscribeSoap
from gapkit.descriptors.embedding import embedding_vectors
from gapkit.descriptors.soap import Soap
from gapkit.errors import ConfigError, DataError, nearest
from gapkit.gp.term import Channel, SparseTerm
from gapkit.kernels.base import Kernel
from gapkit.kernels.polynomial import DotProduct
from gapkit.model.parallel import ordered_map
from gapkit.model.sparse import choose_environments, shares
from gapkit.model.terms import Arrays, Json, first_delta, isolated_frame, require_species, species_of
from gapkit.numerics.select import POOL_BYTES
from gapkit.typing import FloatArray

_log = logging.getLogger(__name__)


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
        Prior standard deviation δ of a local energy, eV; None: the most probable one. Forces decide that, as there
        are most of them: look at the errors of energies, too.
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
    embedding
        Mixes the densities of the elements to K channels, so that cost grows with K² and not with the square of the
        number of elements (see `gapkit.descriptors.embedding`): K ≥ 2, for vectors that follow from chemical features;
        or {symbol: K numbers}, such as `gapkit.tuning.learn_embedding` finds. None: every element is a channel.
    alchemical
        Whether all sparse points serve all central species, with the kernel δ² (κ q·q')^ζ where κ is the cosine of the
        embedding vectors of the two central species. For little data of many elements; every site meets all points.
    """

    kind: ClassVar[str] = "soap"

    def __init__(
        self,
        soap: Any = None,
        *,
        zeta: int = 4,
        n_sparse: int | Mapping[str, int] = 1000,
        delta: float | None = 1.0,
        method: str | os.PathLike[str] = "farthest_point",
        quotas: Mapping[str, float] | None = None,
        engine: str = "auto",
        embedding: int | Mapping[str, Sequence[float]] | None = None,
        alchemical: bool = False,
    ) -> None:
        self.soap = soap
        self.zeta = zeta
        self.n_sparse = n_sparse
        self.delta = delta
        self.method = method
        self.quotas = quotas
        self.engine = engine
        self.embedding = embedding
        self.alchemical = alchemical

    def descriptor(self, frames: Sequence[Frame]) -> Descriptor:
        """The descriptor, with the species of the frames where none are given."""
        if self.soap is None:
            raise ConfigError(
                "SoapTerm has no descriptor", fix="give a dscribe SOAP, its arguments, or no terms at all"
            )
        arguments: Any = self.soap
        if isinstance(arguments, Mapping) and arguments.get("species") is None:
            arguments = {**arguments, "species": [chemical_symbols[z] for z in species_of(frames)]}
        basis = soap_basis(arguments)
        if self.embedding is not None:
            basis = basis.embedded(embedding_vectors(self.embedding, basis.species))
        return soap_descriptor(basis, self.engine, self.alchemical)

    def choose(
        self, name: str, frames: Sequence[Frame], rng: np.random.Generator, pool: float = POOL_BYTES, n_jobs: int = 1
    ) -> SparseTerm:
        """Choose sparse points among the environments of the frames, of which `pool` bytes are looked at."""
        kernel, delta = DotProduct(self.zeta), first_delta("SoapTerm.delta", self.delta)
        descriptor = self.descriptor(frames)
        require_species(descriptor.species, frames)
        # the isolated atom is the first sparse point, so that its energy can be exact: one less is chosen
        extra = 0 if self.quotas else 1
        wanted = {c: max(1, n - extra) for c, n in shares(self.n_sparse, descriptor.channels, frames).items()}
        isolated = _isolated(descriptor)
        chosen = choose_environments(
            descriptor, wanted, frames, self.method, self.quotas, rng, isolated, pool, n_jobs, name
        )
        for channel, own in chosen.items():
            width = isolated[channel].shape[1]
            if own.x_ef.shape[1] != width:
                what = f"the sparse points have {own.x_ef.shape[1]} features, the descriptor has {width}"
                raise DataError(what, where=str(self.method), fix="make the file with the same SOAP arguments")
        x = {c: np.concatenate([isolated[c], own.x_ef]) for c, own in chosen.items()}
        if isinstance(descriptor, Soap) and descriptor.alchemical:
            points: Mapping[Channel, Points] = descriptor.shared_points(x)
        else:
            points = dict(zip(x, ordered_map(descriptor.points, list(x.values()), n_jobs), strict=True))
        origins = {c: own.origins(len(isolated[c])) for c, own in chosen.items()}
        return SparseTerm(name, descriptor, kernel, delta, points, origins)

    def settings(self, fitted: SparseTerm) -> Json:
        """The settings, with the descriptor spelt out."""
        basis = _basis(fitted)
        chosen = {"soap": dict(basis.arguments), "embedding": _vectors(basis), "method": str(self.method)}
        return {**self.get_params(deep=False), **chosen}

    @staticmethod
    def describe(fitted: SparseTerm, arrays: Arrays) -> Json:
        """Basis, power of the kernel, engine and embedding."""
        basis, kernel = _basis(fitted), fitted.kernel
        if not isinstance(kernel, DotProduct):
            raise TypeError(f"no schema for SOAP with the kernel {type(kernel).__name__}")
        engine = "native" if isinstance(fitted.descriptor, Soap) else "dscribe"
        arrays[f"{fitted.name}.alphas"], arrays[f"{fitted.name}.betas"] = basis.alphas_lk, basis.betas_lnk
        mixing = {"embedding": _vectors(basis), "alchemical": fitted.alchemical}
        return {"zeta": kernel.zeta, "engine": engine, "soap": dict(basis.arguments), **mixing}

    @staticmethod
    def build(entry: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> tuple[Descriptor, Kernel]:
        """The descriptor, without dscribe, and the kernel."""
        name = entry["name"]
        basis = SoapBasis.from_arguments(entry["soap"], arrays[f"{name}.alphas"], arrays[f"{name}.betas"])
        kernel = DotProduct(entry["zeta"])
        if entry["engine"] != "native":
            return DscribeSoap(basis), kernel
        if entry.get("embedding") is not None:  # files of before embeddings have none
            basis = basis.embedded(embedding_vectors(entry["embedding"], basis.species))
        return Soap(basis, entry.get("alchemical", False)), kernel


def soap_descriptor(basis: SoapBasis, engine: str = "auto", alchemical: bool = False) -> Descriptor:
    """The engine for a SOAP basis."""
    if engine not in ("auto", "native", "dscribe"):
        raise ConfigError(f"engine '{engine}' does not exist", fix=nearest(engine, ("auto", "native", "dscribe")))
    if alchemical and basis.embedding_sk is None:
        fix = "give embedding=K or vectors, or alchemical=False"
        raise ConfigError("an alchemical kernel needs vectors of the elements", fix=fix)
    covered = basis.arguments["rbf"] == "gto"
    if basis.embedding_sk is not None and (engine == "dscribe" or not covered):
        fix = "use rbf='gto' and engine='auto', or no embedding"
        raise ConfigError("dscribe has no embedding of elements", fix=fix)
    if engine == "native" and not covered:
        raise ConfigError("the native engine has no polynomial basis", fix="use rbf='gto', or engine='auto'")
    if engine == "dscribe" or not covered:
        _log.info("SOAP is evaluated by dscribe with numerical derivatives: about a hundred times slower than gto")
        return DscribeSoap(basis)
    if not basis.smooth:
        _log.warning("this SOAP does not vanish at its cutoff: forces jump; weighting 'poly' with r0 = r_cut mends it")
    return Soap(basis, alchemical)


def _vectors(basis: SoapBasis) -> dict[str, list[float]] | None:
    """The embedding as JSON types."""
    if basis.embedding_sk is None:
        return None
    return {chemical_symbols[z]: u_k.tolist() for z, u_k in zip(basis.species, basis.embedding_sk, strict=True)}


def _basis(fitted: SparseTerm) -> SoapBasis:
    """The basis of a fitted SOAP term."""
    if not isinstance(fitted.descriptor, (Soap, DscribeSoap)):
        raise TypeError(f"{type(fitted.descriptor).__name__} is no SOAP")
    return fitted.descriptor.basis


def _isolated(descriptor: Descriptor) -> dict[tuple[int, ...], FloatArray]:
    """Descriptor of the isolated atom of each channel; no row where it vanishes."""
    rows = {}
    for channel in descriptor.channels:
        pairs = NeighbourList(descriptor.reach).pairs(isolated_frame(channel[0]))
        x = descriptor.sites(descriptor.pairs_of(pairs, channel), channel).x_sd
        rows[channel] = x[x.any(axis=1)]
    return rows

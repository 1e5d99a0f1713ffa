"""What defines a SOAP descriptor: dscribe's arguments and basis, read from dscribe itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.data import atomic_numbers, chemical_symbols

from gapkit.descriptors.gto import gto_basis, usual_arguments
from gapkit.errors import ConfigError
from gapkit.numerics.cutoff import weight_at_centre
from gapkit.numerics.radial import GaussianOverlap
from gapkit.typing import FloatArray, IntArray

if TYPE_CHECKING:
    from dscribe.descriptors import SOAP

DSCRIBE_L1 = 2.7206990463849543 / (np.sqrt(3.0) * np.pi / 2.0)
"""dscribe's own l = 1 constant over its exact value, 1 + 1.2e-11; dscribe is the definition."""

PADDING_THRESHOLD = 1e-3
"""dscribe counts atoms beyond r_cut until their Gaussian has decayed to this."""


@dataclass(frozen=True, eq=False)
class SoapBasis:
    """Arguments and basis of one dscribe SOAP.

    Attributes
    ----------
    arguments
        dscribe's own constructor arguments, as JSON types.
    species
        Atomic numbers, ascending.
    alphas_lk, betas_lnk
        Primitive exponents (Å⁻²) and orthonormalisation; empty for the polynomial basis.
    embedding_sk
        Vectors u_Z that mix the densities of S species to K channels, c^k = Σ_Z u_kZ c^Z; None: each is its own.
    """

    arguments: Mapping[str, Any]
    species: tuple[int, ...]
    r_cut: float
    n_max: int
    l_max: int
    sigma: float
    weighting: Mapping[str, Any]
    mode: str
    species_weights: tuple[float, ...]
    alphas_lk: FloatArray = field(repr=False)
    betas_lnk: FloatArray = field(repr=False)
    embedding_sk: FloatArray | None = None

    @classmethod
    def of(cls, soap: SOAP) -> SoapBasis:
        """Read a `dscribe.descriptors.SOAP`; averaged descriptors are refused (ConfigError)."""
        if soap.average != "off":
            raise ConfigError(
                f"SOAP with average='{soap.average}' has no local environments", fix="build it with average='off'"
            )
        weighting = soap._weighting
        diverges = weighting.get("function") == "pow" and not weighting["d"] and weighting.get("w0") is None
        if diverges or weighting.get("c") == 0:
            what = f"the weighting {weighting} is {'infinite at the centre' if diverges else 'zero everywhere'}"
            raise ConfigError(what, fix="give w0, or d > 0" if diverges else "give c > 0")
        symbols = [chemical_symbols[int(z)] for z in soap._atomic_numbers]
        weights = dict(zip(symbols, map(float, soap._species_weights), strict=True))
        gto = soap._rbf == "gto"
        arguments = {
            "species": symbols,
            "r_cut": float(soap._r_cut),
            "n_max": int(soap._n_max),
            "l_max": int(soap._l_max),
            "sigma": float(soap._sigma),
            "rbf": soap._rbf,
            "weighting": {k: v for k, v in soap._weighting.items() if v is not None} or None,
            "compression": {
                "mode": soap.compression.get("mode", "off"),
                "species_weighting": weights if any(w != 1.0 for w in weights.values()) else None,
            },
        }
        alphas, betas = (soap._alphas, soap._betas) if gto else (np.empty((0, 0)), np.empty((0, 0, 0)))
        return cls.from_arguments(arguments, np.array(alphas), np.array(betas))

    @classmethod
    def from_arguments(cls, arguments: Mapping[str, Any], alphas_lk: FloatArray, betas_lnk: FloatArray) -> SoapBasis:
        """The basis of a saved model, without dscribe."""
        species = tuple(atomic_numbers[s] for s in arguments["species"])
        compression = arguments["compression"]
        weights = compression["species_weighting"] or {}
        return cls(
            arguments,
            species,
            float(arguments["r_cut"]),
            int(arguments["n_max"]),
            int(arguments["l_max"]),
            float(arguments["sigma"]),
            arguments["weighting"] or {},
            compression["mode"],
            tuple(float(weights.get(chemical_symbols[z], 1.0)) for z in species),
            alphas_lk,
            betas_lnk,
        )

    def embedded(self, embedding_sk: FloatArray) -> SoapBasis:
        """The same with the densities of S species mixed to K channels; ConfigError with a compression."""
        if self.mode != "off":
            what = f"an embedding and the compression '{self.mode}' both mix species"
            raise ConfigError(what, fix="leave the compression out, or the embedding")
        return replace(self, embedding_sk=embedding_sk)

    @property
    def eta(self) -> float:
        """Exponent 1/(2σ²) of the atomic density, Å⁻²."""
        return 0.5 / self.sigma**2

    @property
    def reach(self) -> float:
        """Distance up to which dscribe counts neighbours, Å."""
        padded = self.r_cut + self.sigma * float(np.sqrt(-2.0 * np.log(PADDING_THRESHOLD)))
        return min(padded, self.weighting["r0"]) if self.weighting.get("function") == "poly" else padded

    @property
    def smooth(self) -> bool:
        """Whether energy and forces are continuous when an atom leaves.

        The density weight must vanish at the reach, and the centre must count: without it (w0 = 0) the
        normalised vector of the last neighbour does not fade.
        """
        fades = self.weighting.get("function") == "poly" and self.weighting["r0"] <= self.reach
        return fades and self.centre_weight > 0.0

    @property
    def n_densities(self) -> int:
        """Number S of densities that neighbours add up to: one for mu2, else one per element."""
        return 1 if self.mode == "mu2" else len(self.species)

    @property
    def n_channels(self) -> int:
        """Number K of channels whose products are the spectrum: the densities, or what they are mixed to."""
        return self.n_densities if self.embedding_sk is None else self.embedding_sk.shape[1]

    def of_densities(self, values_kx: FloatArray) -> FloatArray:
        """Gradients by the channels, shape (…, K, X), as those by the densities, shape (…, S, X)."""
        return values_kx if self.embedding_sk is None else self.embedding_sk @ values_kx

    @cached_property
    def centre_weight(self) -> float:
        """Weight of the central atom in its own density."""
        return weight_at_centre(self.weighting)

    def index_of(self, numbers: IntArray) -> IntArray:
        """Position of atomic numbers in `species`, shape as given."""
        return np.searchsorted(np.array(self.species), numbers)

    @cached_property
    def overlap(self) -> GaussianOverlap:
        """Overlap of the primitives with the atomic density."""
        return GaussianOverlap(self.alphas_lk, self.eta)

    @cached_property
    def mixing_lnk(self) -> FloatArray:
        """What makes R_nl of the exponentials of `overlap`: p is then a plain product.

        β times the constants of the overlap and the square root of dscribe's prefactor π sqrt(8/(2l+1)).
        """
        degree = np.arange(self.l_max + 1)
        factor = np.sqrt(np.pi * np.sqrt(8.0 / (2 * degree + 1)))
        factor[1:2] *= DSCRIBE_L1
        return self.betas_lnk * factor[:, None, None] * self.overlap.prefactors_lk[:, None]

    @cached_property
    def mixing_and_steepness_lnk(self) -> FloatArray:
        """What makes R_nl and, below it, R'_nl/r of the same exponentials, shape (l_max+1, 2 n_max, K)."""
        steepness_lnk = self.mixing_lnk * (-2.0 * self.overlap.gammas_lk[:, None])
        return np.concatenate([self.mixing_lnk, steepness_lnk], axis=1)

    @cached_property
    def feature_index(self) -> IntArray:
        """Where each feature stands: rows (l, a, b) in dscribe's order, shape (F, 3).

        a = (species, n) counts the first density, b the second: the same channels for
        ``off``, ``crossover`` and ``mu2``, the sum over species (b = n') for ``mu1nu1``.
        """
        n, blocks = self.n_max, []
        pairs = [(s, t) for s in range(self.n_channels) for t in range(s, self.n_channels)]
        if self.mode in ("crossover", "mu1nu1"):
            pairs = [(s, s) for s in range(self.n_channels)]
        full = np.array([(a, b) for a in range(n) for b in range(n)])
        upper = full[full[:, 0] <= full[:, 1]]
        for s, t in pairs:
            inner = upper if s == t and self.mode != "mu1nu1" else full
            offset = 0 if self.mode == "mu1nu1" else t * n
            for l in range(self.l_max + 1):
                blocks.append(np.column_stack([np.full(len(inner), l), inner[:, 0] + s * n, inner[:, 1] + offset]))
        return np.concatenate(blocks)

    @cached_property
    def by_degree(self) -> IntArray:
        """Features sorted by l, shape (F,)."""
        return np.argsort(self.feature_index[:, 0], kind="stable")

    @cached_property
    def _degrees(self) -> list[slice]:
        edges = np.searchsorted(self.feature_index[self.by_degree, 0], np.arange(self.l_max + 2)).tolist()
        return [slice(a, b) for a, b in pairwise(edges)]

    def degree(self, l: int) -> slice:
        """The features of one l in that order."""
        return self._degrees[l]

    def features_of(self, l: int) -> IntArray:
        """The same in dscribe's order."""
        return self.by_degree[self.degree(l)]

    @cached_property
    def spectrum_index(self) -> IntArray:
        """Where the features, sorted by l, stand in an array over l, first and second density; shape (F,)."""
        width = self.n_channels * self.n_max
        shape = (self.l_max + 1, width, self.n_max if self.mode == "mu1nu1" else width)
        return np.ravel_multi_index(tuple(self.feature_index[self.by_degree].T), shape)

    @property
    def n_features(self) -> int:
        """Number F of features."""
        return len(self.feature_index)

    @cached_property
    def unfolding(self) -> tuple[IntArray, FloatArray]:
        """Gather index (into F features sorted by l, and one zero) and factors that turn ∂E/∂p into ∂E/∂c.

        Shapes (l_max+1, K·n, B) and (F,): with H_l[a, b] = (factor · g)[index], ∂E/∂c_a = Σ_b H_l[a, b] c_b
        over the partners b: the channels themselves, or for ``mu1nu1`` the n sums and then the channels.
        """
        n, width = self.n_max, self.n_channels * self.n_max
        sums = n if self.mode == "mu1nu1" else 0
        index = np.full((self.l_max + 1, width, sums + width), self.n_features)
        l, a, b = self.feature_index[self.by_degree].T
        feature = np.arange(self.n_features)
        if not sums:
            index[l, a, b] = index[l, b, a] = feature
            return index, np.where(a == b, 2.0, 1.0)
        index[l, a, b] = feature
        for s in range(self.n_channels):
            index[l, s * n + b, sums + a] = feature
        return index, np.ones(self.n_features)


def soap_basis(soap: SOAP | Mapping[str, Any]) -> SoapBasis:
    """The basis of a dscribe SOAP or of its arguments (under dscribe's names)."""
    if not isinstance(soap, Mapping):
        from dscribe.descriptors import SOAP

        if isinstance(soap, SOAP):
            return SoapBasis.of(soap)
        fix = "give a dscribe SOAP or a dictionary of its arguments"
        raise ConfigError(f"soap={soap!r} does not describe a SOAP", fix=fix)
    arguments = dict(soap)
    if isinstance(arguments.get("species"), str):
        arguments["species"] = [arguments["species"]]
    for name, value in arguments.items():
        arguments[name] = dict(value) if isinstance(value, Mapping) else value
    unknown = [s for s in arguments.get("species", ()) if isinstance(s, str) and s not in atomic_numbers]
    if unknown:
        raise ConfigError(f"SOAP species {unknown} are no chemical symbols", fix="use symbols such as 'Si'")
    lacking = [name for name in ("n_max", "l_max") if arguments.get(name) is None]
    if lacking:
        raise ConfigError(f"SOAP has no {' and no '.join(lacking)}", fix="give them, such as n_max=8, l_max=6")
    usual = usual_arguments(arguments)
    found = usual and gto_basis(usual["r_cut"], usual["n_max"], usual["l_max"])
    if usual and found:
        return SoapBasis.from_arguments(usual, *found)
    return _by_dscribe(arguments)


def _by_dscribe(arguments: dict[str, Any]) -> SoapBasis:
    """The basis of arguments that dscribe completes or refuses."""
    from dscribe.descriptors import SOAP

    if arguments.get("compression") is None:
        arguments.pop("compression", None)
    try:
        built = SOAP(**arguments)
    except (ValueError, TypeError) as error:
        raise ConfigError(
            f"dscribe refuses these SOAP arguments: {error}", fix="see dscribe.descriptors.SOAP"
        ) from error
    return SoapBasis.of(built)

"""Behler's atom-centred symmetry functions, with the parameters and the order of features of dscribe's ACSF.

With f(r) = (1 + cos(πr/r_cut))/2, sums over the neighbours j and over the pairs j, k of neighbours of an atom i:

    G1 = Σ f(r_ij)                             G4 = 2^(1-ζ) Σ (1 + λ cos θ)^ζ exp(-η(r_ij² + r_ik² + r_jk²)) f f f
    G2 = Σ exp(-η(r_ij - R)²) f(r_ij)          G5 = 2^(1-ζ) Σ (1 + λ cos θ)^ζ exp(-η(r_ij² + r_ik²)) f f
    G3 = Σ cos(κ r_ij) f(r_ij)                 θ = angle j-i-k;  f f f = f(r_ij) f(r_ik) f(r_jk)

J. Behler, J. Chem. Phys. 134, 074106 (2011), eqs. 4 to 9. Features stand as G1, G2, G3 for every element of j, then
G4, G5 for every pair of elements (a, b ≤ a).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Final

import numpy as np
from ase.data import atomic_numbers, chemical_symbols

from gapkit._check import positive
from gapkit.descriptors.triangles import Triangles
from gapkit.errors import ConfigError, nearest
from gapkit.typing import FloatArray

PARAMETERS: Final = ("r_cut", "g2_params", "g3_params", "g4_params", "g5_params")
"""Arguments of dscribe's ACSF that define features, beside the species."""
IGNORED: Final = ("periodic", "sparse", "dtype")
"""Arguments of dscribe's ACSF without a meaning here: structures say themselves where they are periodic."""
_COLUMNS: Final = {"g2_params": 2, "g3_params": 1, "g4_params": 3, "g5_params": 3}


@dataclass(frozen=True)
class SymmetryFunctions:
    """Symmetry functions of some elements.

    Attributes
    ----------
    species
        Atomic numbers, ascending.
    r_cut
        Cutoff of all distances, Å.
    g2_params
        (η ≥ 0, R) of every G2, Å⁻² and Å.
    g3_params
        κ of every G3, Å⁻¹.
    g4_params, g5_params
        (η ≥ 0, ζ ≥ 1, |λ| ≤ 1) of every G4 and G5, η in Å⁻².
    """

    species: tuple[int, ...]
    r_cut: float
    g2_params: tuple[tuple[float, ...], ...] = ()
    g3_params: tuple[float, ...] = ()
    g4_params: tuple[tuple[float, ...], ...] = ()
    g5_params: tuple[tuple[float, ...], ...] = ()

    @classmethod
    def of(cls, arguments: Any, species: Sequence[int]) -> SymmetryFunctions:
        """From a dscribe ACSF or its arguments; `species` where these have none.

        Raises
        ------
        ConfigError
            An unknown argument, or one outside its range.
        """
        names = (*PARAMETERS, "species")
        if not isinstance(arguments, Mapping):
            if not all(hasattr(arguments, name) for name in names):
                what = f"acsf={arguments!r} is no dscribe ACSF and no dictionary of its arguments"
                raise ConfigError(what, fix="give ACSF(...), a dictionary, or None for defaults")
            arguments = {name: getattr(arguments, name) for name in names}
        for name in arguments:
            if name not in (*names, *IGNORED):
                raise ConfigError(f"ACSF has no argument '{name}'", fix=nearest(name, names))
        if "r_cut" not in arguments:
            raise ConfigError("the arguments of ACSF have no r_cut", fix="give r_cut in Å, such as 5")
        given = arguments.get("species")
        numbers = tuple(sorted(set(species if given is None else map(_number, given))))
        sets = {name: _table(name, arguments.get(name)) for name in _COLUMNS}
        g3 = tuple(kappa for (kappa,) in sets.pop("g3_params"))
        return cls(numbers, positive("ACSF.r_cut", arguments["r_cut"], "Å"), g3_params=g3, **sets)

    @property
    def arguments(self) -> dict[str, Any]:
        """What `of` takes, as JSON types; None for functions that are absent."""
        tables = {f.name: np.array(getattr(self, f.name)).tolist() or None for f in fields(self)[2:]}
        return {"r_cut": self.r_cut, **tables, "species": [chemical_symbols[z] for z in self.species]}

    @property
    def n_radial(self) -> int:
        """Number B of G1, G2 and G3 of each element."""
        return 1 + len(self.g2_params) + len(self.g3_params)

    @property
    def n_angular(self) -> int:
        """Number K of G4 and G5 of each pair of elements."""
        return len(self.g4_params) + len(self.g5_params)

    @property
    def n_features(self) -> int:
        """Number F of all."""
        n = len(self.species)
        return n * self.n_radial + n * (n + 1) // 2 * self.n_angular

    def cutoff(self, r: FloatArray) -> tuple[FloatArray, FloatArray]:
        """f and f', zero beyond r_cut."""
        phase = np.pi / self.r_cut * np.minimum(r, self.r_cut)
        return 0.5 * (1.0 + np.cos(phase)), -0.5 * np.pi / self.r_cut * np.sin(phase)

    def radial(self, r_p: FloatArray) -> tuple[FloatArray, FloatArray]:
        """G1, G2 and G3 of single neighbours, and their slopes by the distance, each of shape (P, B)."""
        f_p, df_p = (x[:, None] for x in self.cutoff(r_p))
        eta_b, centre_b = np.array(self.g2_params).reshape(-1, 2).T
        kappa_b = np.array(self.g3_params)
        away_pb, phase_pb = r_p[:, None] - centre_b, r_p[:, None] * kappa_b
        gauss_pb = np.exp(-eta_b * away_pb**2)
        bare_pb = np.hstack([np.ones_like(f_p), gauss_pb, np.cos(phase_pb)])
        slope_pb = np.hstack([np.zeros_like(f_p), -2.0 * eta_b * away_pb * gauss_pb, -kappa_b * np.sin(phase_pb)])
        return bare_pb * f_p, slope_pb * f_p + bare_pb * df_p

    @cached_property
    def kinds(self) -> list[tuple[slice, AngularSets, bool]]:
        """G4 and G5, where there are any: place among the K angular functions, parameters, whether r_jk counts."""
        n_4 = len(self.g4_params)
        both = ((slice(0, n_4), self.g4_params, True), (slice(n_4, self.n_angular), self.g5_params, False))
        return [(place, AngularSets(np.array(table)), far) for place, table, far in both if table]

    def angular(self, triangles: Triangles, cutoffs: tuple[FloatArray, FloatArray]) -> list[tuple[slice, Angular]]:
        """G4 and G5 of single triangles, with `cutoff` of all legs."""
        return [(place, Angular(self, sets, triangles, cutoffs, far)) for place, sets, far in self.kinds]


class AngularSets:
    """Parameters of K angular functions, of which η and (ζ, λ) recur.

    Parameters
    ----------
    table_k3
        (η, ζ, λ) of each, shape (K, 3).
    """

    def __init__(self, table_k3: FloatArray) -> None:
        self.eta_k = table_k3[:, 0]
        self._eta_u, self._eta_of_k = np.unique(self.eta_k, return_inverse=True)
        self._bend_vx, self._bend_of_k = np.unique(table_k3[:, 1:], axis=0, return_inverse=True)

    def evaluate(self, cosine_t: FloatArray, square_t: FloatArray) -> tuple[FloatArray, FloatArray]:
        """2 ((1 + λ cos θ)/2)^ζ exp(-η square), and its slope by cos θ, each of shape (K, T)."""
        gauss_ut = np.exp(-self._eta_u[:, None] * square_t)
        bent_vt = np.empty((len(self._bend_vx), len(cosine_t)))
        slope_vt = np.empty_like(bent_vt)
        for v, (zeta, lam) in enumerate(self._bend_vx):
            base_t = np.maximum(0.5 * (1.0 + lam * cosine_t), 0.0)  # rounding may make it negative
            power_t = _power(base_t, zeta - 1.0)
            np.multiply(2.0 * base_t, power_t, out=bent_vt[v])
            np.multiply(zeta * lam, power_t, out=slope_vt[v])
        gauss_kt = gauss_ut[self._eta_of_k]
        return bent_vt[self._bend_of_k.ravel()] * gauss_kt, slope_vt[self._bend_of_k.ravel()] * gauss_kt


class Angular:
    """G4 or G5 of T triangles, as functions of three lengths: a and b of the legs, and the far side."""

    def __init__(
        self,
        functions: SymmetryFunctions,
        sets: AngularSets,
        triangles: Triangles,
        cutoffs: tuple[FloatArray, FloatArray],
        far: bool,
    ) -> None:
        a_t, b_t, far_t = triangles.a_t, triangles.b_t, triangles.far_t
        (fa_t, da_t), (fb_t, db_t) = ([x[leg] for x in cutoffs] for leg in (triangles.first_t, triangles.second_t))
        ff_t, df_t = functions.cutoff(far_t) if far else (np.ones_like(far_t), np.zeros_like(far_t))
        cosine_t = (a_t**2 + b_t**2 - far_t**2) / (2.0 * a_t * b_t)
        square_t = a_t**2 + b_t**2 + (far_t**2 if far else 0.0)
        cut_t = fa_t * fb_t * ff_t
        self.eta_k = sets.eta_k
        self.bare_kt, self.turned_kt = sets.evaluate(cosine_t, square_t)
        self._cut_t = cut_t
        # slopes by a, b and the far side, of cos θ, of the cutoffs and of -square
        cosines = (1.0 / b_t - cosine_t / a_t, 1.0 / a_t - cosine_t / b_t, -far_t / (a_t * b_t))
        cuts = (da_t * fb_t * ff_t, fa_t * db_t * ff_t, fa_t * fb_t * df_t)
        squares = (-2.0 * a_t * cut_t, -2.0 * b_t * cut_t, -2.0 * far_t * cut_t if far else np.zeros_like(far_t))
        turned = [slope_t * cut_t for slope_t in cosines]
        self._parts = list(zip(turned, cuts, squares, strict=True))

    def values(self) -> FloatArray:
        """The functions, shape (K, T)."""
        return self.bare_kt * self._cut_t

    def slopes(self, weight_kt: FloatArray | None = None) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Slopes by a, b and the far side, each of shape (K, T); or their sum over K times weights, shape (T,)."""
        if weight_kt is None:
            turned, bare, steep = self.turned_kt, self.bare_kt, self.eta_k[:, None] * self.bare_kt
        else:
            weighted_kt = weight_kt * self.bare_kt
            turned = np.einsum("kt,kt->t", weight_kt, self.turned_kt)
            bare, steep = weighted_kt.sum(axis=0), self.eta_k @ weighted_kt
        a, b, far = (turned * d_cos + bare * d_cut + steep * d_square for d_cos, d_cut, d_square in self._parts)
        return a, b, far


def _power(base_t: FloatArray, exponent: float) -> FloatArray:
    """base^exponent; whole exponents, which are usual, by multiplication: five times as fast."""
    if exponent != int(exponent) or exponent > 64:
        return np.asarray(base_t**exponent)
    result_t, square_t, bits = np.ones_like(base_t), base_t, int(exponent)
    while bits:
        if bits & 1:
            result_t = result_t * square_t
        bits >>= 1
        square_t = square_t * square_t if bits else square_t
    return result_t


def _number(element: Any) -> int:
    """Atomic number of a symbol or a number."""
    number = atomic_numbers.get(element, 0) if isinstance(element, str) else int(element)
    if not 0 < number < len(chemical_symbols):
        raise ConfigError(f"ACSF.species names {element!r}, which is no element", fix="give symbols such as Si")
    return number


def _table(name: str, value: Any) -> tuple[tuple[float, ...], ...]:
    """Sets of parameters in their range, one per row; none for None."""
    columns = _COLUMNS[name]
    if value is None or len(value) == 0:
        return ()
    fix = {1: "a list of κ", 2: "a list of (η, R)", 3: "a list of (η, ζ, λ)"}[columns]
    try:
        table = np.array(value, dtype=float)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"ACSF.{name} is no table of numbers", fix=f"give {fix}") from error
    if table.shape != ((len(table),) if columns == 1 else (len(table), columns)) or not np.isfinite(table).all():
        raise ConfigError(f"ACSF.{name} is no table of {columns} finite numbers a row", fix=f"give {fix}")
    table = table.reshape(-1, columns)
    if columns > 1 and (table[:, 0] < 0.0).any():
        raise ConfigError(f"ACSF.{name} has an η below 0", fix="give η ≥ 0 in Å⁻²")
    if columns == 3 and ((table[:, 1] < 1.0) | (np.abs(table[:, 2]) > 1.0)).any():
        what = f"ACSF.{name} has ζ < 1 or |λ| > 1, whose forces are infinite for some angles"
        raise ConfigError(what, fix="give ζ ≥ 1 and λ from -1 to 1")
    return tuple(map(tuple, table.tolist()))

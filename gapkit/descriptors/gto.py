"""The basis of dscribe's usual SOAP, bit for bit, without dscribe: to import it takes a second, more than a small fit.

Primitives x^l exp(-α_lk x²) with exponents that let them decay to a threshold between 1 Å and r_cut, orthonormalised
by β = S^(-1/2) (Löwdin): Himanen et al., Comput. Phys. Commun. 247, 106949 (2020), eqs. 14-17. S is close to singular,
so that another order of operations gives other β: the one here is dscribe's.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any, Final

import numpy as np
from ase.data import atomic_numbers, chemical_symbols

from gapkit.typing import FloatArray

_DECAY: Final = 1e-3
_POLY: Final = {"function", "r0", "c", "m"}
_IGNORED: Final = ("periodic", "sparse")
_KNOWN: Final = ("species", "r_cut", "n_max", "l_max", "sigma", "rbf", "weighting", "compression", "average", *_IGNORED)
SOAP_ARGUMENTS: Final = (*_KNOWN, "dtype")
"""Names of the arguments of dscribe's SOAP."""


def usual_arguments(given: Mapping[str, Any]) -> dict[str, Any] | None:
    """The arguments as `SoapBasis` keeps them; None where anything is unusual or wrong, on which dscribe has the say.

    Usual are Gaussian-type orbitals of any size, the polynomial weighting with c > 0 or none, and no compression.
    """
    weighting, compression = given.get("weighting") or {}, given.get("compression") or {}
    species = [] if given.get("species") is None else list(given["species"])
    numbers = [atomic_numbers.get(s, 0) if isinstance(s, str) else s for s in species]
    n_max, l_max, sigma = given.get("n_max"), given.get("l_max"), given.get("sigma", 1.0)
    usual = (
        set(given) <= set(_KNOWN)
        and all(isinstance(given.get(name, False), bool) for name in _IGNORED)
        and given.get("rbf", "gto") == "gto"
        and given.get("average", "off") == "off"
        and all(_whole(z, 1, len(chemical_symbols) - 1) for z in numbers)
        and 0 < len(numbers) == len(set(numbers))
        and len({isinstance(s, str) for s in species}) == 1
        and _whole(n_max, 1, 50)
        and _whole(l_max, 0, 20)
        and _more(given.get("r_cut"), 1.0)
        and _more(sigma, 0.0)
        and (not weighting or set(weighting) == _POLY)
        and weighting.get("function", "poly") == "poly"
        and all(_more(weighting.get(name, 1.0), 0.0) for name in ("r0", "c", "m"))
        and set(compression) <= {"mode", "species_weighting"}
        and compression.get("mode", "off") == "off"
        and compression.get("species_weighting") is None
    )
    if not usual:
        return None
    return {
        "species": [chemical_symbols[z] for z in sorted(map(int, numbers))],
        "r_cut": float(given["r_cut"]),
        "n_max": int(given["n_max"]),
        "l_max": int(given["l_max"]),
        "sigma": float(sigma),
        "rbf": "gto",
        "weighting": {name: x if name == "function" else float(x) for name, x in weighting.items()} or None,
        "compression": {"mode": "off", "species_weighting": None},
    }


def gto_basis(r_cut: float, n_max: int, l_max: int) -> tuple[FloatArray, FloatArray] | None:
    """α (Å⁻²) and β, shapes (l_max+1, n_max) and (l_max+1, n_max, n_max); None where β is not real to rounding."""
    from scipy.linalg import inv, sqrtm
    from scipy.special import gamma

    ends_k, alphas_lk, betas_l = np.linspace(1, r_cut, n_max), np.zeros((l_max + 1, n_max)), []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of matrices close to singular
        for l, alphas_k in enumerate(alphas_lk):
            alphas_k[:] = -np.log(_DECAY / np.power(ends_k, l)) / ends_k**2
            sums_kk = alphas_k[:, None] + alphas_k
            betas_l.append(sqrtm(inv(0.5 * gamma(l + 3.0 / 2.0) * sums_kk ** (-l - 3.0 / 2.0))))
    return None if any(np.iscomplexobj(betas) for betas in betas_l) else (alphas_lk, np.array(betas_l))


def _whole(value: Any, least: int, most: int) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and least <= int(value) <= most


def _more(value: Any, than: float) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and than < float(value) < np.inf

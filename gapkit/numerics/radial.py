"""Overlap of a Gaussian density with the primitive Gaussian-type orbitals of dscribe.

For an atom at distance r, a density exp(-η|x-r|²) and primitives x^l exp(-α_lk x²),

    φ_lk(r) = (π/(α_lk+η))^{3/2} (η/(α_lk+η))^l exp(-γ_lk r²),   γ_lk = α_lk η/(α_lk+η),

so that c_nlm = Σ_k β_lnk Σ_j φ_lk(r_j) S_lm(r_j): Himanen et al., Comput. Phys. Commun. 247,
106949 (2020), eqs. 22-25 and its implementation. r^l lives in the solid harmonic.
"""

from __future__ import annotations

import numpy as np

from gapkit.typing import FloatArray


class GaussianOverlap:
    """The functions φ_lk for given exponents, as constants times exponentials.

    Parameters
    ----------
    alphas_lk
        Primitive exponents, shape (l_max+1, n_max), Å⁻².
    eta
        Exponent 1/(2σ²) of the atomic density, Å⁻².

    Attributes
    ----------
    gammas_lk, prefactors_lk
        γ_lk (Å⁻²) and what exp(-γ_lk r²) is multiplied by.
    """

    def __init__(self, alphas_lk: FloatArray, eta: float) -> None:
        total = alphas_lk + eta
        degree = np.arange(len(alphas_lk))[:, None]
        self.gammas_lk: FloatArray = alphas_lk * eta / total
        self.prefactors_lk: FloatArray = (np.pi / total) ** 1.5 * (eta / total) ** degree

    def exponentials(self, r2_p: FloatArray, l: int, out: FloatArray) -> FloatArray:
        """exp(-γ_lk r²) of one degree l at squared distances (P,), written to `out`, shape (n_max, P)."""
        np.multiply(-self.gammas_lk[l][:, None], r2_p, out=out)
        return np.exp(out, out=out)

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
    """The functions φ_lk for given exponents.

    Parameters
    ----------
    alphas_lk
        Primitive exponents, shape (l_max+1, n_max), Å⁻².
    eta
        Exponent 1/(2σ²) of the atomic density, Å⁻².
    """

    def __init__(self, alphas_lk: FloatArray, eta: float) -> None:
        total = alphas_lk + eta
        degree = np.arange(len(alphas_lk))[:, None]
        self.gammas_lk: FloatArray = alphas_lk * eta / total
        self._log_prefactor_lk = 1.5 * np.log(np.pi / total) + degree * np.log(eta / total)

    def __call__(self, r2_p: FloatArray, l: int, out: FloatArray | None = None) -> FloatArray:
        """φ_lk of one degree l at squared distances (P,), shape (n_max, P); dφ/dr² = -γ_lk φ."""
        phi = np.multiply(-self.gammas_lk[l][:, None], r2_p, out=out)
        phi += self._log_prefactor_lk[l][:, None]
        return np.exp(phi, out=phi)

"""Dot-product kernel to an integer power, the kernel of SOAP-GAP."""

from __future__ import annotations

import numpy as np

from gapkit._check import whole
from gapkit.typing import FloatArray


class DotProduct:
    """k(x, y) = (x·y)^ζ.

    On unit vectors this is the SOAP kernel of Bartók, Kondor, Csányi, Phys. Rev. B 87, 184115
    (2013), eq. 36 with the normalisation in the descriptor.

    Parameters
    ----------
    zeta
        Power ζ, 1 … 16.
    """

    def __init__(self, zeta: int) -> None:
        self.zeta = whole("zeta", zeta, 1, 16)

    def values(self, x_sd: FloatArray, y_md: FloatArray) -> FloatArray:
        """k, shape (S, M)."""
        return _power(x_sd @ y_md.T, self.zeta)

    def diagonal(self, x_sd: FloatArray) -> FloatArray:
        """k(x, x), shape (S,)."""
        return _power(np.einsum("sd,sd->s", x_sd, x_sd), self.zeta)

    def values_and_slopes(self, x_sd: FloatArray, y_md: FloatArray) -> tuple[FloatArray, FloatArray]:
        """k and ζ (x·y)^(ζ-1), each of shape (S, M)."""
        u = x_sd @ y_md.T
        lower = _power(u, self.zeta - 1)
        u *= lower
        lower *= self.zeta
        return u, lower

    def contract(self, dot_qcm: FloatArray, along_qc: FloatArray | None) -> FloatArray:
        """The rows met by the sparse points themselves."""
        return dot_qcm

    def weighted_sum(
        self, x_sd: FloatArray, y_md: FloatArray, alpha_m: FloatArray, gradient: bool
    ) -> tuple[FloatArray, FloatArray | None]:
        """Σ_m α_m k, shape (S,), and its gradient by x, shape (S, D)."""
        u = x_sd @ y_md.T
        if not gradient:
            return _power(u, self.zeta) @ alpha_m, None
        slopes_sm = _power(u, self.zeta - 1)
        slopes_sm *= self.zeta * alpha_m
        gx_sd = slopes_sm @ y_md
        # the sum is homogeneous of degree ζ in x: Euler's theorem gives the value for nothing
        return np.einsum("sd,sd->s", gx_sd, x_sd) / self.zeta, gx_sd


def _power(u: FloatArray, exponent: int) -> FloatArray:
    """u to a small whole power by repeated multiplication: `**` is ten times slower."""
    result: FloatArray | None = None
    square = u
    while exponent:
        if exponent & 1:
            result = square.copy() if result is None else result * square
        exponent >>= 1
        if exponent:
            square = square * square
    return np.ones_like(u) if result is None else result

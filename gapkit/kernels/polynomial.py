"""Dot-product kernel to an integer power, the kernel of SOAP-GAP."""

from __future__ import annotations

import numpy as np

from gapkit._check import whole
from gapkit.numerics.memory import aligned
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

    def curvatures(self, x_sd: FloatArray, y_md: FloatArray) -> tuple[FloatArray, FloatArray]:
        """ζ u^(ζ-1) and ζ(ζ-1) u^(ζ-2) with u = x·y."""
        u = x_sd @ y_md.T
        if self.zeta == 1:
            return np.ones_like(u), np.zeros_like(u)
        mixed = _power(u, self.zeta - 2)
        u *= mixed
        u *= self.zeta
        mixed *= self.zeta * (self.zeta - 1)
        return u, mixed

    def weighted_sum(
        self,
        x_sd: FloatArray,
        y_md: FloatArray,
        alpha_km: FloatArray,
        gradient: bool,
        k_sm: FloatArray | None = None,
    ) -> tuple[FloatArray, FloatArray | None]:
        """Σ_m α_km k, shape (K, S), and its gradient by x, shape (K, S, D); k itself into `k_sm`."""
        u = np.matmul(x_sd, y_md.T, out=aligned(len(x_sd), len(y_md)))
        slopes_sm = _power(u, self.zeta - 1)
        if k_sm is not None:
            np.multiply(slopes_sm, u, out=k_sm)
        if not gradient:
            return alpha_km @ np.multiply(slopes_sm, u, out=u).T, None
        gx_ksd = np.empty((len(alpha_km), *x_sd.shape))
        for alpha_m, gx_sd in zip(alpha_km, gx_ksd, strict=True):
            np.matmul(np.multiply(slopes_sm, self.zeta * alpha_m, out=u), y_md, out=gx_sd)
        # the sum is homogeneous of degree ζ in x: Euler's theorem gives the value for nothing
        return np.einsum("ksd,sd->ks", gx_ksd, x_sd) / self.zeta, gx_ksd


def _power(u: FloatArray, exponent: int) -> FloatArray:
    """u to a small whole power by repeated multiplication, in a new array: `**` is ten times slower."""
    if not exponent:
        return np.ones_like(u)
    result, started = aligned(*u.shape), False
    square = u
    while exponent:
        if exponent & 1:
            if started:
                result *= square
            else:
                result[:], started = square, True
        exponent >>= 1
        if exponent:
            square = np.multiply(square, square, out=aligned(*u.shape) if square is u else square)
    return result

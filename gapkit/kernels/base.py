"""What a term needs of a kernel: values, and their contraction with descriptor gradients."""

from __future__ import annotations

from typing import Protocol

from gapkit.typing import FloatArray


class Kernel(Protocol):
    """Covariance k(x, y) of two sites with features x and y.

    Derivatives never appear as 4-index arrays. Every kernel here has a gradient of the form
    ∂k/∂x = slope(x, y) · (vector linear in x and y), so three contractions are enough.
    """

    def values(self, x_sd: FloatArray, y_md: FloatArray) -> FloatArray:
        """k(x_s, y_m), shape (S, M)."""
        ...

    def diagonal(self, x_sd: FloatArray) -> FloatArray:
        """k(x_s, x_s), shape (S,)."""
        ...

    def values_and_slopes(self, x_sd: FloatArray, y_md: FloatArray) -> tuple[FloatArray, FloatArray]:
        """k and the scalar slope that multiplies the contraction, each of shape (S, M)."""
        ...

    def contract(self, dot_qcm: FloatArray, along_qc: FloatArray | None) -> FloatArray:
        """The vector part met by rows ∂x/∂r, from Σ_d ∂x_d y_d and Σ_d ∂x_d x_d; shape (Q, 3, M)."""
        ...

    def curvatures(self, x_sd: FloatArray, y_md: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Scalars a and b of ∂²k/∂x∂y, each of shape (S, M).

        Met by rows ∂x and ∂y it is a ∂x·∂y + b v(∂x) v(∂y), with v what `contract` gives for each side.
        """
        ...

    def weighted_sum(
        self,
        x_sd: FloatArray,
        y_md: FloatArray,
        alpha_km: FloatArray,
        gradient: bool,
        k_sm: FloatArray | None = None,
    ) -> tuple[FloatArray, FloatArray | None]:
        """Σ_m α_km k(x_s, y_m) for K sets of weights, shape (K, S), and if asked its gradient by x, shape (K, S, D).

        The values k themselves are written to `k_sm`, shape (S, M), if it is given.
        """
        ...

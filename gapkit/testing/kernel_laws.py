"""Laws of a kernel: a covariance, and the three contractions of its gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from gapkit.kernels.base import Kernel
from gapkit.testing.differences import agrees, slope
from gapkit.testing.tolerances import ALGEBRA, EXACT, near, require
from gapkit.typing import FloatArray

KernelLaw = Callable[[Kernel, FloatArray, FloatArray], None]
"""A law about a kernel between features x (S, D) and y (M, D)."""


def kernel_is_symmetric(kernel: Kernel, x_sd: FloatArray, y_md: FloatArray) -> None:
    """Law 9: k(x, y) = k(y, x)."""
    near(kernel.values(x_sd, y_md), kernel.values(y_md, x_sd).T, EXACT, "the kernel is not symmetric")


def kernel_is_positive(kernel: Kernel, x_sd: FloatArray, y_md: FloatArray) -> None:
    """Law 9: no eigenvalue of K is negative beyond rounding."""
    k_nn = kernel.values(*[np.concatenate([x_sd, y_md])] * 2)
    values = np.linalg.eigvalsh(0.5 * (k_nn + k_nn.T))
    require(values[0] >= -EXACT * len(k_nn) * abs(values[-1]), f"K has the eigenvalue {values[0]:.3e}")


def kernel_diagonal_agrees(kernel: Kernel, x_sd: FloatArray, y_md: FloatArray) -> None:
    """Law 9: k(x, x) is the diagonal of K."""
    near(kernel.diagonal(x_sd), np.diagonal(kernel.values(x_sd, x_sd)), ALGEBRA, "the diagonal of K is another")


def kernel_values_agree(kernel: Kernel, x_sd: FloatArray, y_md: FloatArray) -> None:
    """Law 10: both methods give the same values, and leave their arguments alone."""
    x, y = x_sd.copy(), y_md.copy()
    near(kernel.values_and_slopes(x, y)[0], kernel.values(x, y), EXACT, "values differ with and without slopes")
    require(bool((x == x_sd).all() and (y == y_md).all()), "the kernel changed its arguments")


def kernel_sum_has_slope(kernel: Kernel, x_sd: FloatArray, y_md: FloatArray) -> None:
    """Law 10: the weighted sums are Σ_m α_km k(x, y_m), and their gradients are their slopes."""
    rng = np.random.default_rng(0)
    alpha_km, way_sd = rng.normal(size=(2, len(y_md))), rng.normal(size=x_sd.shape)
    sum_ks, gradient_ksd = kernel.weighted_sum(x_sd, y_md, alpha_km, True)
    near(sum_ks, alpha_km @ kernel.values(x_sd, y_md).T, EXACT, "the weighted sum of the kernel is another")
    near(kernel.weighted_sum(x_sd, y_md, alpha_km, False)[0], sum_ks, EXACT, "the sum differs without its gradient")
    if gradient_ksd is None:
        raise AssertionError("the gradient that was asked for is missing")
    for alpha_m, gradient_sd in zip(alpha_km, gradient_ksd, strict=True):

        def moved(h: float, alpha_m: FloatArray = alpha_m) -> FloatArray:
            return kernel.values(x_sd + h * way_sd, y_md) @ alpha_m

        numeric = slope(moved)
        agrees(np.sum(gradient_sd * way_sd, axis=1), numeric, "the gradient of the weighted sum is not its slope")


def kernel_contraction_is_slope(kernel: Kernel, x_sd: FloatArray, y_md: FloatArray) -> None:
    """Law 10: slope times contraction is the gradient of k(x, y_m) along rows ∂x."""
    rows_scd = np.random.default_rng(1).normal(size=(len(x_sd), 3, x_sd.shape[1]))
    along_sc = np.einsum("scd,sd->sc", rows_scd, x_sd)
    met_scm = kernel.contract(rows_scd @ y_md.T, along_sc)
    gradient_scm = met_scm * kernel.values_and_slopes(x_sd, y_md)[1][:, None, :]
    numeric = slope(lambda h: np.stack([kernel.values(x_sd + h * rows_scd[:, c], y_md) for c in range(3)], axis=1))
    agrees(gradient_scm, numeric, "the contraction is not the slope of the kernel")


def kernel_curvature_is_slope(kernel: Kernel, x_sd: FloatArray, y_md: FloatArray) -> None:
    """Law 10: a ∂x·∂y + b v(∂x) v(∂y) is the second derivative of k(x, y) along rows ∂x and ∂y."""
    rng = np.random.default_rng(2)
    move_s, move_m = rng.normal(size=x_sd.shape), rng.normal(size=y_md.shape)

    def seen(rows_sd: FloatArray, own_sd: FloatArray, other_md: FloatArray) -> FloatArray:
        along_sc = np.einsum("sd,sd->s", rows_sd, own_sd)[:, None]
        return kernel.contract((rows_sd @ other_md.T)[:, None], along_sc)[:, 0]

    same, mixed = kernel.curvatures(x_sd, y_md)
    curvature_sm = same * (move_s @ move_m.T) + mixed * seen(move_s, x_sd, y_md) * seen(move_m, y_md, x_sd).T

    def first(h: float) -> FloatArray:
        shifted = y_md + h * move_m
        return seen(move_s, x_sd, shifted) * kernel.values_and_slopes(x_sd, shifted)[1]

    agrees(curvature_sm, slope(first), "the curvature of the kernel is not the slope of its gradient")


KERNEL_LAWS: Final[tuple[KernelLaw, ...]] = (
    kernel_is_symmetric,
    kernel_is_positive,
    kernel_diagonal_agrees,
    kernel_values_agree,
    kernel_sum_has_slope,
    kernel_contraction_is_slope,
    kernel_curvature_is_slope,
)
"""The laws that any kernel obeys on any features it is made for."""

"""σ as a rising function of the raw u: how it is fitted to errors, and how its form is chosen.

Between knots log σ² is linear in log u, so the Gaussian likelihood of the errors is concave in the values at the knots,
and at its maximum the mean of error²/σ² around each knot is one: the curve is calibrated in every range of u. In the
drawing of isotonic regression it is a maximum likelihood estimate of a rising function, with slopes instead of steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Final, TypeAlias

import numpy as np

from gapkit import Residuals, Scale
from gapkit.numerics.stats import standard_error
from gapkit.typing import FloatArray, IntArray

Fit: TypeAlias = Callable[[Residuals], Scale]

MOST_KNOTS: Final = 8
FOLDS: Final = 5
TINY: Final = 1e-24
"""Least squared ratio of σ to u; a model without any error gets a positive σ, too."""

GENTLE: Final = 0.3
"""σ rises at least like this power of u: where errors do not (few config_types to leave out), a flat curve would not
tell an unusual atom from a usual one. On whole sets it rises like u to the 0.5 … 1."""

LARGEST, FEWEST = 10, 20
"""One of so many rows has a large prior part, but these are so many, or all: a mean of fewer errors is chance."""

CHUNKS: Final = 1000
"""Rows of neighbouring u are averaged to at most so many before a curve is fitted, along which it hardly changes."""


def taken(rows: Residuals, chosen_x: np.ndarray) -> Residuals:
    """Some of the rows, by index or mask."""
    return Residuals(*(getattr(rows, f.name)[chosen_x] for f in fields(Residuals)))


def factor(rows: Residuals) -> Scale:
    """σ = c u with the most likely c² = mean of error²/u² (rms over components)."""
    u_x = np.sqrt(np.mean(rows.data_xc, axis=1))
    squared = np.mean(rows.rms_error_x**2 / u_x**2, keepdims=True)
    return Scale(np.ones(1), np.sqrt(np.maximum(squared, TINY)), *_of_prior(rows))


def rising(rows: Residuals, least: int) -> Scale:
    """The most likely rising curve, each knot carried by `least` rows or more; a factor where they are too few for two.

    Notes
    -----
    Minimises mean ½(s + error² e⁻ˢ) with s = log σ² over the values of s at the knots, convex, by L-BFGS-B in the
    first value and the rises, which are not negative.
    """
    from scipy.optimize import Bounds, minimize

    u_x = np.sqrt(np.mean(rows.data_xc, axis=1))
    order = np.argsort(u_x, kind="stable")
    log_u, square = np.log(u_x[order]), rows.rms_error_x[order] ** 2
    edges = _edges(log_u, least)
    if len(edges) < 3:
        return factor(rows)
    knots = np.add.reduceat(log_u, edges[:-1]) / np.diff(edges)
    unit = max(float(square.mean()), TINY)
    start = np.maximum.accumulate(np.maximum(np.add.reduceat(square / unit, edges[:-1]) / np.diff(edges), 1e-12))

    chunks = np.linspace(0, len(log_u), min(CHUNKS, len(log_u)) + 1).astype(int)
    share = np.diff(chunks) / len(log_u)
    log_u, square = (np.add.reduceat(x, chunks[:-1]) / np.diff(chunks) for x in (log_u, square / unit))
    hat_xk = np.stack([np.interp(log_u, knots, row) for row in np.eye(len(knots))], axis=1)
    rise_xk = np.cumsum(hat_xk[:, ::-1], axis=1)[:, ::-1]
    beyond = 2.0 * (np.maximum(log_u - knots[-1], 0.0) + np.clip(log_u - knots[0], np.log(Scale.LOWEST), 0.0))

    def cost(steps: FloatArray) -> tuple[float, FloatArray]:
        s = rise_xk @ steps + beyond
        z2 = square * np.exp(-s)
        return 0.5 * float(share @ (s + z2)), 0.5 * (share * (1.0 - z2)) @ rise_xk

    bounds = Bounds(np.r_[-30.0, 2.0 * GENTLE * np.diff(knots)], np.inf)
    first = np.maximum(np.diff(np.log(start), prepend=0.0), bounds.lb)
    found = minimize(cost, first, jac=True, method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-12, "gtol": 1e-8})
    return Scale(np.exp(knots), np.sqrt(unit * np.exp(np.cumsum(found.x))), *_of_prior(rows))


def _edges(log_u: FloatArray, least: int) -> IntArray:
    """Where ranges of sorted values begin, and the end of the last.

    The first and the last hold `least` values, so that rare u get knots of their own; between them widths are equal,
    and ranges are joined until all hold that many.
    """
    n = len(log_u)
    n_ranges = min(MOST_KNOTS, n // least)
    if n_ranges < 2:
        return np.array([0, n])
    low, high = log_u[least], log_u[n - least]
    inner = np.linspace(low, high, n_ranges - 1) if n_ranges > 2 else np.array([0.5 * (low + high)])
    edges = [0]
    for edge in np.searchsorted(log_u, inner):
        if least <= edge - edges[-1] and least <= n - edge:
            edges.append(int(edge))
    return np.array([*edges, n])


def folds(frame_x: IntArray, rng: np.random.Generator) -> IntArray:
    """Number of the fold of every row, 0 … 4: all rows of a frame are in one, and frames are dealt out at random."""
    _, index_x = np.unique(frame_x, return_inverse=True)
    n_frames = int(index_x.max()) + 1
    return (rng.permutation(n_frames) % FOLDS)[index_x]


def heldout_std(rows: Residuals, fold_x: IntArray, fit: Fit) -> FloatArray:
    """σ of all components, shape (X, C), each by a fit to the other folds."""
    std_xc = np.empty_like(rows.error_xc)
    for fold in np.unique(fold_x):
        out = fold_x == fold
        scale = fit(taken(rows, ~out))
        std_xc[out] = scale.apply(rows.data_xc[out], rows.prior_xc[out])
    return std_xc


def best_scale(rows: Residuals, least: int, rng: np.random.Generator) -> Scale:
    """The form that held-out errors favour: the curve if its NLL is better than the factor's by more than one standard
    error of the difference, between frames."""
    fold_x = folds(rows.frame_x, rng)

    def curve(part: Residuals) -> Scale:
        return rising(part, least)

    def score(fit: Fit) -> FloatArray:
        std_xc = heldout_std(rows, fold_x, fit)
        return np.mean(np.log(std_xc) + 0.5 * (rows.error_xc / std_xc) ** 2, axis=1)

    return curve(rows) if _worse(score(factor), score(curve), rows.frame_x) else factor(rows)


def _worse(nll_x: FloatArray, other_x: FloatArray, frame_x: IntArray) -> bool:
    """Whether the first is larger by more than one standard error of the difference."""
    loss_x = nll_x - other_x
    return float(np.mean(loss_x)) > standard_error(loss_x, frame_x)


def _of_prior(rows: Residuals) -> tuple[float, float]:
    """Largest prior part, which the errors of these rows have in them, and the share of it that these have at most.

    The share is mean error² over mean prior part in the tenth of rows of largest prior part, 20 or more, all of error²
    laid to it.
    """
    prior_x, square_x = np.mean(rows.prior_xc, axis=1), rows.rms_error_x**2
    largest = np.argsort(prior_x, kind="stable")[-max(len(prior_x) // LARGEST, FEWEST) :]
    mean = float(prior_x[largest].mean())
    share = min(float(square_x[largest].mean()) / mean, 1.0) if mean > 0.0 else 1.0
    return float(rows.prior_xc.max()), share

"""Weights of the density against dscribe's formulas, their slopes against a complex step, and the smooth cutoff."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ase import Atoms
from dscribe.descriptors import SOAP

from gapkit.numerics.cutoff import radial_weight, smooth_step, weight_at_centre
from tests.reference.soap_legendre import STEP, weight

WEIGHTINGS: dict[str, dict[str, Any]] = {
    "none": {},
    "w0": {"w0": 0.3},
    "poly": {"function": "poly", "r0": 3.0, "c": 1.3, "m": 1.0},
    "poly-m": {"function": "poly", "r0": 2.5, "c": 0.7, "m": 2.5, "w0": 0.0},
    "poly-0": {"function": "poly", "r0": 2.5, "c": 0.7, "m": 0.0},
    "pow": {"function": "pow", "r0": 2.0, "c": 1.1, "d": 0.9, "m": 3.0},
    "pow-1": {"function": "pow", "r0": 2.0, "c": 1.1, "d": 0.9, "m": 1.0, "w0": 2.0},
    "pow-0": {"function": "pow", "r0": 2.0, "c": 1.1, "d": 0.9, "m": 0.0},
    "exp": {"function": "exp", "r0": 1.7, "c": 1.4, "d": 1.2},
}
R_p = np.array([1e-3, 0.4, 1.1, 1.9, 2.4, 2.7, 2.95, 3.3, 6.0])


@pytest.mark.parametrize("name", WEIGHTINGS)
def test_weight_and_slope(name: str) -> None:
    w_p, slope_p = radial_weight(WEIGHTINGS[name], R_p)
    assert w_p == pytest.approx(weight(R_p, WEIGHTINGS[name]), rel=1e-13, abs=1e-15)
    derivative = weight(R_p + 1j * STEP, WEIGHTINGS[name]).imag / STEP
    assert slope_p * R_p == pytest.approx(derivative, rel=1e-11, abs=1e-15)


@pytest.mark.parametrize("name", [name for name in WEIGHTINGS if "function" in WEIGHTINGS[name]])
def test_weight_is_the_one_dscribe_uses(name: str) -> None:
    """The density of one neighbour alone: the spectrum of l = 0 goes as the square of its weight."""
    weighting = {**WEIGHTINGS[name], "w0": 0.0}
    options = {"species": ["H", "O"], "r_cut": 4.0, "n_max": 1, "l_max": 0, "sigma": 0.4}
    for r in (0.4, 1.1, 1.9, 2.4):
        dimer = Atoms("HO", [[0, 0, 0], [0, 0, r]])
        plain, weighted = (
            SOAP(**options, weighting=dict(w)).create(dimer, centers=[0])[0, -1] for w in ({"w0": 0.0}, weighting)
        )
        w_p, _ = radial_weight(WEIGHTINGS[name], np.array([r]))
        assert np.sqrt(weighted / plain) == pytest.approx(w_p[0], rel=1e-9)


def test_poly_ends_at_r0_exactly() -> None:
    edge = np.array([3.0, np.nextafter(3.0, 4.0), 1e6])
    for part in radial_weight(WEIGHTINGS["poly"], edge):
        assert not part.any()
    w_p, slope_p = radial_weight(WEIGHTINGS["poly"], np.array([3.0 - 1e-6]))
    assert 0 < w_p[0] < 1e-11
    assert -1e-5 < slope_p[0] < 0


@pytest.mark.parametrize("name", WEIGHTINGS)
def test_weight_at_the_centre(name: str) -> None:
    weighting = WEIGHTINGS[name]
    limit, _ = radial_weight(weighting, np.array([1e-14]))
    assert weight_at_centre(weighting) == pytest.approx(weighting.get("w0", limit[0]), rel=1e-12)


def test_smooth_step_has_two_continuous_derivatives() -> None:
    r_cut, width = 5.0, 1.25
    r = np.linspace(3.0, 6.0, 3001)
    value, slope_over_r = smooth_step(r, r_cut, width)
    slope = slope_over_r * r
    curve = np.gradient(slope, r)
    assert np.all(value[r < r_cut - width] == 1.0)
    assert not value[r > r_cut].any()
    assert not slope[(r < r_cut - width) | (r > r_cut)].any()
    assert np.all(np.diff(value) <= 0)
    assert value[np.argmin(np.abs(r - (r_cut - width / 2)))] == pytest.approx(0.5, abs=1e-12)
    largest = 10.0 / np.sqrt(3.0) / width**2  # of the curvature: what is continuous changes by far less in one step
    assert np.max(np.abs(curve)) == pytest.approx(largest, rel=1e-3)
    assert np.max(np.abs(np.diff(curve))) < 0.02 * largest


def test_slope_of_the_smooth_step_is_its_derivative() -> None:
    """The formula as a polynomial in complex r, whose complex step is exact."""
    r = np.linspace(3.8, 4.95, 24)

    def step(r: np.ndarray) -> np.ndarray:
        u = (r - 3.75) / 1.25
        return 1.0 - 10.0 * u**3 + 15.0 * u**4 - 6.0 * u**5

    value, slope_over_r = smooth_step(r, 5.0, 1.25)
    assert value == pytest.approx(step(r), abs=1e-14)
    assert slope_over_r * r == pytest.approx(step(r + 1e-30j).imag / 1e-30, abs=1e-14)

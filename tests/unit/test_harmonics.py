"""Spherical harmonics against scipy's spherical harmonics, the gradient maps of r^l Y_lm against a complex step."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import scipy.special

from gapkit.numerics.harmonics import gradient_maps, joined_maps, spherical_harmonics

L_MAX = 10


def vectors(rng: np.random.Generator) -> np.ndarray:
    """Random unit vectors, shape (3, P), the six directions of the axes among them."""
    u_cp = rng.normal(size=(3, 40))
    u_cp /= np.linalg.norm(u_cp, axis=0)
    return np.concatenate([u_cp, np.eye(3), -np.eye(3)], axis=1)


def spherical(l: int, m: int, polar: np.ndarray, azimuth: np.ndarray) -> np.ndarray:
    """Complex Y_lm of scipy, under its old name before 1.15."""
    if hasattr(scipy.special, "sph_harm_y"):
        return np.asarray(scipy.special.sph_harm_y(l, m, polar, azimuth))
    return np.asarray(scipy.special.sph_harm(m, l, azimuth, polar))


def expected(u_cp: np.ndarray, l: int, m: int) -> np.ndarray:
    """Y_lm, real, without the Condon-Shortley sign: cos(mφ) for m > 0, sin(|m|φ) for m < 0."""
    x, y, z = u_cp
    complex_y = spherical(l, abs(m), np.arccos(z), np.arctan2(y, x))
    part = complex_y.real if m >= 0 else complex_y.imag
    return part * (1.0 if m == 0 else (-1) ** m * np.sqrt(2.0))


@pytest.mark.parametrize("l", range(L_MAX + 1))
def test_values_are_those_of_scipy(rng: np.random.Generator, l: int) -> None:
    u_cp = vectors(rng)
    y = spherical_harmonics(u_cp, L_MAX)[l * l : (l + 1) ** 2]
    for row, m in zip(y, range(-l, l + 1), strict=True):
        assert np.max(np.abs(row - expected(u_cp, l, m))) < 1e-13, m


def test_degree_20_obeys_the_addition_theorem(rng: np.random.Generator) -> None:
    """Σ_m Y_lm(a) Y_lm(b) = (2l+1)/4π P_l(cos): the largest degree of dscribe, and no sign is left free."""
    a, b = vectors(rng), vectors(np.random.default_rng(1))
    y_a, y_b = spherical_harmonics(a, 20), spherical_harmonics(b, 20)
    for l in range(21):
        block = slice(l * l, (l + 1) ** 2)
        legendre = scipy.special.eval_legendre(l, np.einsum("cp,cp->p", a, b))
        found = np.einsum("mp,mp->p", y_a[block], y_b[block])
        assert found == pytest.approx((2 * l + 1) / (4 * np.pi) * legendre, abs=1e-12)


def test_poles_are_harmless() -> None:
    y = spherical_harmonics(np.array([[0.0], [0.0], [1.0]]), 6)
    assert y[0] == pytest.approx(np.sqrt(0.25 / np.pi), rel=1e-15)
    assert np.flatnonzero(y[:, 0]).tolist() == [l * l + l for l in range(7)]


def test_lower_degrees_do_not_depend_on_the_largest(rng: np.random.Generator) -> None:
    u_cp = vectors(rng)
    everything = spherical_harmonics(u_cp, L_MAX)
    for l_max in range(L_MAX):
        assert np.array_equal(spherical_harmonics(u_cp, l_max), everything[: (l_max + 1) ** 2])


@pytest.mark.parametrize("l", range(1, L_MAX + 1))
def test_gradient_maps_are_the_complex_step(rng: np.random.Generator, l: int) -> None:
    """Across r by a complex step; along r the gradient of r^l Y_lm is l r^(l-1) Y_lm."""
    u_cp = vectors(rng)
    maps = gradient_maps(L_MAX)
    assert maps[0].shape == (3, 1, 0)
    assert maps[l].shape == (3, 2 * l + 1, 2 * l - 1)
    gradient = maps[l] @ spherical_harmonics(u_cp, L_MAX)[(l - 1) ** 2 : l * l]
    value = spherical_harmonics(u_cp, L_MAX)[l * l : (l + 1) ** 2]
    along = np.einsum("cmp,cp->mp", gradient, u_cp)
    assert np.max(np.abs(along - l * value)) < 1e-13 * np.max(np.abs(gradient))
    across_cp = np.cross(u_cp, rng.normal(size=u_cp.shape), axis=0)  # on the sphere to first order
    slope = spherical_harmonics(u_cp + 1e-30j * across_cp, L_MAX)[l * l : (l + 1) ** 2].imag / 1e-30
    mapped = np.einsum("cmp,cp->mp", gradient, across_cp)
    assert np.max(np.abs(mapped - slope)) < 1e-13 * np.max(np.abs(slope))


def test_joined_maps_stand_side_by_side() -> None:
    for joined, apart in zip(joined_maps(3), gradient_maps(3), strict=True):
        assert np.array_equal(joined, np.concatenate(list(apart), axis=1))


def test_laplacian_vanishes() -> None:
    """Two maps after another, traced over the direction, give zero: S_lm are harmonic."""
    for lower, upper in pairwise(gradient_maps(L_MAX)[1:]):
        twice = np.einsum("cab,cbd->ad", upper, lower)
        assert np.max(np.abs(twice)) < 1e-12 * np.max(np.abs(upper)) * np.max(np.abs(lower))

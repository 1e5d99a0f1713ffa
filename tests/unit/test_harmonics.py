"""Solid harmonics against scipy's spherical harmonics, their gradient maps against a complex step."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import scipy.special

from gapkit.numerics.harmonics import gradient_maps, solid_harmonics

L_MAX = 10


def vectors(rng: np.random.Generator) -> np.ndarray:
    """Random vectors of lengths 0.1 to 5, shape (3, P), the six directions of the axes among them."""
    r_cp = rng.normal(size=(3, 40))
    r_cp *= rng.uniform(0.1, 5.0, 40) / np.linalg.norm(r_cp, axis=0)
    return np.concatenate([r_cp, np.eye(3), -2.0 * np.eye(3)], axis=1)


def spherical(l: int, m: int, polar: np.ndarray, azimuth: np.ndarray) -> np.ndarray:
    """Complex Y_lm of scipy, under its old name before 1.15."""
    if hasattr(scipy.special, "sph_harm_y"):
        return np.asarray(scipy.special.sph_harm_y(l, m, polar, azimuth))
    return np.asarray(scipy.special.sph_harm(m, l, azimuth, polar))


def expected(r_cp: np.ndarray, l: int, m: int) -> np.ndarray:
    """r^l Y_lm, real, without the Condon-Shortley sign: cos(mφ) for m > 0, sin(|m|φ) for m < 0."""
    x, y, z = r_cp
    r = np.linalg.norm(r_cp, axis=0)
    complex_y = spherical(l, abs(m), np.arccos(z / r), np.arctan2(y, x))
    part = complex_y.real if m >= 0 else complex_y.imag
    return r**l * part * (1.0 if m == 0 else (-1) ** m * np.sqrt(2.0))


@pytest.mark.parametrize("l", range(L_MAX + 1))
def test_values_are_those_of_scipy(rng: np.random.Generator, l: int) -> None:
    r_cp = vectors(rng)
    s = solid_harmonics(r_cp, L_MAX)[l * l : (l + 1) ** 2]
    for row, m in zip(s, range(-l, l + 1), strict=True):
        scale = np.linalg.norm(r_cp, axis=0) ** l
        assert np.max(np.abs(row - expected(r_cp, l, m)) / scale) < 1e-13, m


def test_degree_20_obeys_the_addition_theorem(rng: np.random.Generator) -> None:
    """Σ_m S_lm(a) S_lm(b) = (2l+1)/4π (ab)^l P_l(cos): the largest degree of dscribe, and no sign is left free."""
    a, b = vectors(rng), vectors(np.random.default_rng(1))
    s_a, s_b = solid_harmonics(a, 20), solid_harmonics(b, 20)
    length = np.linalg.norm(a, axis=0) * np.linalg.norm(b, axis=0)
    for l in range(21):
        block = slice(l * l, (l + 1) ** 2)
        legendre = scipy.special.eval_legendre(l, np.einsum("cp,cp->p", a, b) / length)
        found = np.einsum("mp,mp->p", s_a[block], s_b[block]) / length**l
        assert found == pytest.approx((2 * l + 1) / (4 * np.pi) * legendre, abs=1e-12)


def test_origin_and_poles_are_harmless() -> None:
    s = solid_harmonics(np.array([[0.0, 0.0], [0.0, 0.0], [0.0, 1.0]]), 6)
    assert s[0] == pytest.approx(np.sqrt(0.25 / np.pi), rel=1e-15)
    assert not s[1:, 0].any()
    assert np.flatnonzero(s[:, 1]).tolist() == [l * l + l for l in range(7)]


def test_lower_degrees_do_not_depend_on_the_largest(rng: np.random.Generator) -> None:
    r_cp = vectors(rng)
    everything = solid_harmonics(r_cp, L_MAX)
    for l_max in range(L_MAX):
        assert np.array_equal(solid_harmonics(r_cp, l_max), everything[: (l_max + 1) ** 2])


def test_writes_to_a_given_array(rng: np.random.Generator) -> None:
    r_cp = vectors(rng)
    out = np.full((16, r_cp.shape[1]), np.nan)
    assert solid_harmonics(r_cp, 3, out=out) is out
    assert np.array_equal(out, solid_harmonics(r_cp, 3))


@pytest.mark.parametrize("l", range(L_MAX + 1))
def test_gradient_maps_are_the_complex_step(rng: np.random.Generator, l: int) -> None:
    r_cp = vectors(rng)
    maps = gradient_maps(L_MAX)
    assert maps[l].shape == (3, 2 * l + 1, max(0, 2 * l - 1))
    lower = solid_harmonics(r_cp, L_MAX)[(l - 1) ** 2 : l * l] if l else np.empty((0, r_cp.shape[1]))
    for c, step in enumerate(1e-30j * np.eye(3)):
        slope = solid_harmonics(r_cp + step[:, None], L_MAX)[l * l : (l + 1) ** 2].imag / 1e-30
        assert np.max(np.abs(maps[l][c] @ lower - slope)) < 1e-13 * max(1.0, np.max(np.abs(slope)))


def test_laplacian_vanishes() -> None:
    """Two maps after another, traced over the direction, give zero: S_lm are harmonic."""
    for lower, upper in pairwise(gradient_maps(L_MAX)[1:]):
        twice = np.einsum("cab,cbd->ad", upper, lower)
        assert np.max(np.abs(twice)) < 1e-12 * np.max(np.abs(upper)) * np.max(np.abs(lower))

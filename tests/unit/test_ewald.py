"""Ewald's sum against slow and obvious sums that are written in another way, and against what it must not depend on."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

from gapkit.numerics import ewald
from gapkit.numerics.ewald import (
    Sums,
    all_pairs,
    background_sum,
    pair_sum,
    reciprocal_sum,
    slab_sum,
    splitting,
)
from gapkit.testing.differences import agrees, slope
from gapkit.typing import FloatArray, IntArray
from tests.reference.coulomb_sums import growing_cube, looped_potentials, plane_wave_slab

TRICLINIC = np.array([[5.1, 0.3, -0.2], [1.4, 4.3, 0.5], [-0.9, 1.1, 6.2]])
EXACT = 1e-15  # relative size of what is left out where the derivatives of truncated sums are compared


def ions(seed: int = 0, n_atoms: int = 7, cell_cc: FloatArray = TRICLINIC, total: float = 0.0) -> Any:
    """Positions far enough apart, and charges with a given sum."""
    rng = np.random.default_rng(seed)
    grid = np.array(list(itertools.product(range(2), repeat=3)))[:n_atoms] / 2.0
    charges_e = rng.normal(size=n_atoms)
    return (grid + rng.uniform(-0.1, 0.1, (n_atoms, 3))) @ cell_cc, charges_e + (total - charges_e.sum()) / n_atoms


def images(positions_ec: FloatArray, cell_cc: FloatArray, r_cut: float) -> tuple[IntArray, IntArray, FloatArray]:
    """All pairs closer than r_cut, images included, by trying every lattice vector that may matter."""
    heights = 1.0 / np.linalg.norm(np.linalg.inv(cell_cc), axis=0)
    spread = np.ptp(positions_ec @ np.linalg.inv(cell_cc), axis=0)
    most = np.ceil(r_cut / heights + spread).astype(int)
    shifts = np.array(list(itertools.product(*(range(-n, n + 1) for n in most)))) @ cell_cc
    r_ijsc = positions_ec[None, :, None] + shifts - positions_ec[:, None, None]
    distance = np.linalg.norm(r_ijsc, axis=-1)
    i_p, j_p, s_p = np.nonzero((distance < r_cut) & (distance > 0.0))
    return i_p, j_p, r_ijsc[i_p, j_p, s_p]


def ewald_sum(
    positions_ec: FloatArray, charges_e: FloatArray, cell_cc: FloatArray, accuracy: float = EXACT, width: float = 0.0
) -> Sums:
    """The parts together, as a crystal needs them."""
    volume = abs(np.linalg.det(cell_cc))
    alpha, r_cut, k_cut = splitting(len(charges_e), volume, accuracy, width)
    sums = pair_sum(*images(positions_ec, cell_cc, r_cut), charges_e, alpha, width, True)
    sums = sums.plus(reciprocal_sum(positions_ec, charges_e, cell_cc, alpha, k_cut, True))
    return sums.plus(background_sum(charges_e, volume, alpha, width))


@pytest.mark.parametrize("total", [0.0, 1.3])
def test_energies_of_atoms_are_those_of_plain_loops(total: float) -> None:
    cell_cc = np.array([[4.0, 0.2, -0.1], [0.7, 3.8, 0.3], [-0.5, 0.4, 4.2]])
    positions_ec, charges_e = ions(1, 4, cell_cc, total)
    expected = 0.5 * charges_e * looped_potentials(positions_ec, charges_e, cell_cc, 0.36)
    # with √η = 0.6 and four cells to each side, the loops leave out terms of exp(-81) and exp(-22)
    assert ewald_sum(positions_ec, charges_e, cell_cc).energies_e == pytest.approx(expected, abs=2e-10)


def test_energy_is_that_of_a_growing_cube_of_ions_without_its_surface() -> None:
    positions_ec, charges_e = ions(2, 5, 4.0 * np.eye(3))
    positions_ec -= positions_ec.mean(axis=0)
    assert np.linalg.norm(charges_e @ positions_ec) > 1.0  # the surface matters
    expected = growing_cube(positions_ec, charges_e, 4.0)
    assert ewald_sum(positions_ec, charges_e, 4.0 * np.eye(3)).energies_e.sum() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("total", "width"), [(0.0, 0.0), (0.7, 0.0), (0.7, 0.4), (0.0, 1.5)])
def test_nothing_depends_on_the_splitting(total: float, width: float, monkeypatch: pytest.MonkeyPatch) -> None:
    positions_ec, charges_e = ions(3, total=total)
    found = []
    for balance in (3.5, 5.5, 7.0):
        monkeypatch.setattr(ewald, "_BALANCE", balance)
        found.append(ewald_sum(positions_ec, charges_e, TRICLINIC, 1e-13, width))
    for one in found[1:]:
        for mine, theirs in zip(one, found[0], strict=True):
            assert mine == pytest.approx(theirs, abs=1e-11)


def test_the_error_is_what_was_asked_for() -> None:
    positions_ec, charges_e = ions(4)
    best = ewald_sum(positions_ec, charges_e, TRICLINIC)
    size = np.abs(best.energies_e).sum()
    errors = []
    for accuracy in (1e-3, 1e-5, 1e-7, 1e-9, 1e-11):
        sums = ewald_sum(positions_ec, charges_e, TRICLINIC, accuracy)
        errors.append(abs(sums.energies_e.sum() - best.energies_e.sum()) / size / accuracy)
        assert np.abs(sums.forces_ec - best.forces_ec).max() < 3.0 * accuracy * size
    assert max(errors) < 1.0
    assert max(errors) > 1e-3  # more would be wasted work


@pytest.mark.parametrize(("total", "width"), [(0.0, 0.0), (1.3, 0.0), (1.3, 0.5), (0.4, 1.2)])
def test_forces_and_virial_are_derivatives_of_the_energy(total: float, width: float) -> None:
    rng = np.random.default_rng(5)
    positions_ec, charges_e = ions(5, total=total)
    sums = ewald_sum(positions_ec, charges_e, TRICLINIC, width=width)
    step_ec = rng.normal(size=positions_ec.shape)
    moved = slope(lambda x: ewald_sum(positions_ec + x * step_ec, charges_e, TRICLINIC, width=width).energies_e.sum())
    agrees(-np.sum(sums.forces_ec * step_ec), moved, "force", accuracy=1e-10)

    def strained(x: float, e_cc: FloatArray) -> float:
        grown = np.eye(3) + x * e_cc
        return float(ewald_sum(positions_ec @ grown, charges_e, TRICLINIC @ grown, width=width).energies_e.sum())

    for a, b in itertools.combinations_with_replacement(range(3), 2):
        e_cc = np.zeros((3, 3))
        e_cc[a, b] = e_cc[b, a] = 0.5 + 0.5 * (a == b)
        numeric = slope(lambda x, e_cc=e_cc: strained(x, e_cc))  # type: ignore[misc]
        agrees(np.sum(sums.virial_cc * e_cc), numeric, f"strain {a}{b}", accuracy=1e-9)
    assert sums.virial_cc == pytest.approx(sums.virial_cc.T, abs=1e-13)
    assert sums.forces_ec.sum(axis=0) == pytest.approx(0.0, abs=1e-13)


@pytest.mark.parametrize("width", [0.0, 0.6])
def test_cell_and_blocks_are_free(width: float, monkeypatch: pytest.MonkeyPatch) -> None:
    positions_ec, charges_e = ions(6, total=0.5)
    expected = ewald_sum(positions_ec, charges_e, TRICLINIC, width=width)
    skewed = np.array([[1, 0, 0], [2, 1, 0], [-1, 1, 1]]) @ TRICLINIC
    for cell_cc in (skewed, TRICLINIC[[1, 2, 0]], TRICLINIC[[2, 1, 0]], -TRICLINIC):
        for mine, theirs in zip(ewald_sum(positions_ec, charges_e, cell_cc, width=width), expected, strict=True):
            assert mine == pytest.approx(theirs, abs=1e-12)
    monkeypatch.setattr(ewald, "_BLOCK", 1)
    one_by_one = ewald_sum(positions_ec + 3.0 * TRICLINIC[1], charges_e, TRICLINIC, width=width)
    for mine, theirs in zip(one_by_one, expected, strict=True):
        assert mine == pytest.approx(theirs, abs=1e-12)


def test_energies_alone_are_the_same() -> None:
    positions_ec, charges_e = ions(7)
    alpha, r_cut, k_cut = splitting(7, 130.0, 1e-9)
    pairs = images(positions_ec, TRICLINIC, r_cut)
    for derivatives in (True, False):
        near = pair_sum(*pairs, charges_e, alpha, 0.5, derivatives)
        far = reciprocal_sum(positions_ec, charges_e, TRICLINIC, alpha, k_cut, derivatives)
        assert near.forces_ec.any() == far.forces_ec.any() == near.virial_cc.any() == far.virial_cc.any() == derivatives
        if derivatives:
            expected = near.energies_e, far.energies_e
        else:
            assert np.array_equal((near.energies_e, far.energies_e), expected)


def test_lattice_energy_does_not_feel_how_skewed_its_cell_is() -> None:
    positions_ec, charges_e = np.array([[0.0, 0.0, 0.0], [2.0, 2.0, 2.0]]), np.array([1.0, -1.0])
    alpha, _, k_cut = splitting(2, 64.0, 1e-9)
    rng = np.random.default_rng(12)
    expected = reciprocal_sum(positions_ec, charges_e, 4.0 * np.eye(3), alpha, k_cut, True)
    for _ in range(8):
        lower, upper = np.tril(rng.integers(-2, 3, (3, 3)), -1), np.triu(rng.integers(-2, 3, (3, 3)), 1)
        cell_cc = 4.0 * (lower + np.eye(3)) @ (upper + np.eye(3))
        sums = reciprocal_sum(positions_ec, charges_e, cell_cc, alpha, k_cut, True)
        for mine, theirs in zip(sums, expected, strict=True):
            assert mine == pytest.approx(theirs, abs=1e-12)


def test_wide_gaussians_in_a_background_have_no_mean_potential() -> None:
    """Waves alone, without k = 0, are all there is of charges as wide as the smooth ones."""
    positions_ec, charges_e = ions(13, total=1.7)
    alone = reciprocal_sum(positions_ec, charges_e, TRICLINIC, 0.5 / 0.9, 12.0, True)
    for mine, theirs in zip(ewald_sum(positions_ec, charges_e, TRICLINIC, width=0.9), alone, strict=True):
        assert mine == pytest.approx(theirs, abs=1e-12)
    near = pair_sum(*images(positions_ec, TRICLINIC, 12.0), charges_e, 0.8, 0.9, True)
    more = near.plus(reciprocal_sum(positions_ec, charges_e, TRICLINIC, 0.8, 14.0, True))
    more = more.plus(background_sum(charges_e, abs(np.linalg.det(TRICLINIC)), 0.8, 0.9))
    for mine, theirs in zip(more, alone, strict=True):
        assert mine == pytest.approx(theirs, abs=1e-12)


def test_a_sphere_without_waves_leaves_the_energy_of_smooth_charges_with_themselves() -> None:
    positions_ec, charges_e = ions(8)
    sums = reciprocal_sum(positions_ec, charges_e, TRICLINIC, 0.3, 0.5, True)
    assert sums.energies_e == pytest.approx(-0.3 / np.sqrt(np.pi) * charges_e**2, rel=1e-15)
    assert not sums.forces_ec.any()
    assert not sums.virial_cc.any()


@pytest.mark.parametrize("most", [1, 20, 10**6])
def test_a_cluster_is_a_double_loop(most: int) -> None:
    positions_ec, charges_e = ions(9, total=1.0)
    width = 0.7
    energies, forces = [0.0] * 7, np.zeros((7, 3))
    for i, j in itertools.permutations(range(7), 2):
        step = positions_ec[j] - positions_ec[i]
        r, q = math.dist(positions_ec[i], positions_ec[j]), float(charges_e[i] * charges_e[j])
        energies[i] += 0.5 * q * math.erf(r / (2.0 * width)) / r
        field = math.erf(r / (2.0 * width)) / r**2
        field -= math.exp(-((r / (2.0 * width)) ** 2)) / (math.sqrt(math.pi) * width * r)
        forces[i] -= q * field * step / r
    sums = Sums.zero(7)
    for pairs in all_pairs(positions_ec, most):
        sums = sums.plus(pair_sum(*pairs, charges_e, 0.0, width, True))
    assert sums.energies_e == pytest.approx(energies, abs=1e-14)
    assert sums.forces_ec == pytest.approx(forces, abs=1e-14)
    assert sums.virial_cc == pytest.approx(-positions_ec.T @ forces, abs=1e-13)


def test_gaussians_are_points_far_apart_and_finite_on_one_another() -> None:
    charges_e, pair = np.array([2.0, -1.0]), (np.array([0, 1]), np.array([1, 0]))

    def energy(r: float, width: float) -> float:
        r_pc = np.array([[r, 0.0, 0.0], [-r, 0.0, 0.0]])
        return float(pair_sum(*pair, r_pc, charges_e, 0.0, width, True).energies_e.sum())

    assert energy(7.0, 0.5) == energy(7.0, 0.0) == -2.0 / 7.0
    assert energy(1e-3, 0.5) == pytest.approx(-2.0 / (math.sqrt(math.pi) * 0.5), rel=1e-6)


def test_a_slab_is_an_exact_sum_over_plane_waves() -> None:
    a, rng = 3.0, np.random.default_rng(10)
    positions_ec = np.column_stack([rng.uniform(0.0, a, (4, 2)), [-2.9, -0.8, 0.7, 2.4]])
    charges_e = np.array([1.0, -1.7, 1.1, -0.4])
    expected = plane_wave_slab(positions_ec, charges_e, a)
    assert abs(charges_e @ positions_ec[:, 2]) > 1.0  # the correction matters
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    for rotation, origin in ((np.eye(3), 0.0), (turn, 100.0)):
        x_ec, box = positions_ec @ rotation + origin, np.diag([a, a, 25.0]) @ rotation
        sums = ewald_sum(x_ec, charges_e, box).plus(slab_sum(x_ec, charges_e, box))
        assert sums.energies_e == pytest.approx(expected, abs=1e-11)


def test_slab_correction_has_its_derivatives() -> None:
    rng = np.random.default_rng(11)
    cell_cc = np.array([[4.0, 0.2, 0.0], [1.1, 3.7, 0.0], [0.0, 0.0, 20.0]])
    positions_ec, charges_e = ions(11, 7, np.diag([4.0, 4.0, 6.0]))
    sums = slab_sum(positions_ec, charges_e, cell_cc)
    assert sums.energies_e.sum() == pytest.approx(
        2.0 * np.pi / np.linalg.det(cell_cc) * (charges_e @ positions_ec[:, 2]) ** 2, rel=1e-12
    )
    step_ec, e_cc = rng.normal(size=(7, 3)), rng.normal(size=(3, 3))
    moved = slope(lambda x: slab_sum(positions_ec + x * step_ec, charges_e, cell_cc).energies_e.sum())
    agrees(-np.sum(sums.forces_ec * step_ec), moved, "force", accuracy=1e-12)

    def strained(x: float) -> float:
        grown = np.eye(3) + x * (e_cc + e_cc.T)
        box = cell_cc @ grown
        normal = np.cross(box[0], box[1])
        normal /= np.linalg.norm(normal)
        box[2] = normal * (normal @ box[2])  # its third vector stays at right angles
        return float(slab_sum(positions_ec @ grown, charges_e, box).energies_e.sum())

    agrees(np.sum(sums.virial_cc * (e_cc + e_cc.T)), slope(strained), "strain", accuracy=1e-10)

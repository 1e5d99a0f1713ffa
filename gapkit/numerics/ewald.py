"""Energies, forces and strain derivatives of Gaussian and point charges: Ewald's sum and what it is made of.

All Gaussians have one width σ; two of them at distance r interact with erf(r/2σ)/r, and σ = 0 makes points of them.
A Gaussian has no energy with itself. Charges are in e, lengths in Å, and energies in e²/(4πε₀ Å): Coulomb's constant
is left out. Equations: P. P. Ewald, Ann. Phys. 369, 253 (1921); M. P. Allen and D. J. Tildesley, Computer Simulation
of Liquids, 2nd ed., sec. 6.2; the strain derivative of a periodic sum: D. M. Heyes, Phys. Rev. B 49, 755 (1994).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfc

from gapkit.typing import FloatArray, IntArray

_BALANCE: Final = 5.5
"""Splitting parameter α (V²/N)^⅙, at which both sums take about the same time (measured for 60 to 8,000 atoms)."""

_OVER: Final = 6.0  # erfc(6) = 2e-17
_BLOCK: Final = 2**17  # phase factors at once, 2 MiB


class Sums(NamedTuple):
    """A part of the energy and its derivatives.

    Attributes
    ----------
    energies_e
        Energy of each charge, half of charge times potential, shape (N,).
    forces_ec
        Forces, shape (N, 3); zeros if not asked for.
    virial_cc
        Strain derivative ∂E/∂ε of the energy, shape (3, 3), symmetric; zeros if not asked for.
    """

    energies_e: FloatArray
    forces_ec: FloatArray
    virial_cc: FloatArray

    @classmethod
    def zero(cls, n_atoms: int) -> Sums:
        """Nothing."""
        return cls(np.zeros(n_atoms), np.zeros((n_atoms, 3)), np.zeros((3, 3)))

    def plus(self, other: Sums) -> Sums:
        """The sum of two parts."""
        return Sums(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))


class Splitting(NamedTuple):
    """How Ewald's sum is divided: α (1/Å), the cutoff of pairs (Å), the cutoff of wave vectors (1/Å)."""

    alpha: float
    r_cut: float
    k_cut: float


def splitting(n_atoms: int, volume: float, accuracy: float, width: float = 0.0) -> Splitting:
    """Division of Ewald's sum in which both parts take about the same time, which grows as N^1.5.

    J. W. Perram, H. G. Petersen and S. W. de Leeuw, Mol. Phys. 65, 875 (1988).

    Parameters
    ----------
    n_atoms, volume
        Of the cell; volume in Å³.
    accuracy
        Relative size at which terms are left out, between 0 and 1.
    width
        σ of the charges, Å; α is at most 1/2σ, so that pairs beyond r_cut feel points.
    """
    reach = float(np.sqrt(-np.log(accuracy)))
    alpha = _BALANCE * (n_atoms / volume**2) ** (1.0 / 6.0)
    if width > 0.0:
        alpha = min(alpha, 0.5 / width)
    return Splitting(alpha, reach / alpha, 2.0 * reach * alpha)


def pair_sum(
    i_p: IntArray, j_p: IntArray, r_pc: FloatArray, charges_e: FloatArray, alpha: float, width: float, derivatives: bool
) -> Sums:
    """Sum over pairs of what the smooth charges of the reciprocal sum leave out; with α = 0 the whole interaction.

    Parameters
    ----------
    i_p, j_p
        Pairs in both directions, shape (P,).
    r_pc
        Vectors from i to the image of j, shape (P, 3), Å.
    charges_e
        Charges, shape (N,).
    alpha, width
        α, 1/Å, and σ, Å, both ≥ 0.
    derivatives
        Whether forces and virial are wanted.
    """
    n_atoms = len(charges_e)
    r_p = np.sqrt(np.einsum("pc,pc->p", r_pc, r_pc))
    value_p, slope_p = _screened(r_p, alpha, derivatives)
    near_p = np.flatnonzero(r_p < 2.0 * _OVER * width)
    if len(near_p):
        value, slope = _screened(r_p[near_p], 0.5 / width, derivatives)
        value_p[near_p] -= value
        slope_p[near_p] -= slope
    q_p = charges_e[i_p] * charges_e[j_p]
    sums = Sums.zero(n_atoms)
    sums.energies_e[:] = 0.5 * np.bincount(i_p, q_p * value_p, n_atoms)
    if derivatives:
        pull_pc = (q_p * slope_p / r_p)[:, None] * r_pc
        for c in range(3):
            sums.forces_ec[:, c] = np.bincount(i_p, pull_pc[:, c], n_atoms)
        sums.virial_cc[:] = 0.5 * r_pc.T @ pull_pc
    return sums


def _screened(r_p: FloatArray, a: float, derivatives: bool) -> tuple[FloatArray, FloatArray]:
    """erfc(ar)/r and its derivative."""
    value_p = erfc(a * r_p) / r_p if a > 0.0 else 1.0 / r_p
    if not derivatives:
        return value_p, np.zeros_like(r_p)
    return value_p, -(value_p + 2.0 * a / np.sqrt(np.pi) * np.exp(-((a * r_p) ** 2))) / r_p


def all_pairs(positions_ec: FloatArray, most: int = 2**18) -> Iterator[tuple[IntArray, IntArray, FloatArray]]:
    """All pairs of a finite cluster in both directions, about `most` at a time, as `pair_sum` takes them."""
    n_atoms = len(positions_ec)
    rows = max(1, most // n_atoms)
    for first in range(0, n_atoms, rows):
        i_p, j_p = np.divmod(np.arange(first * n_atoms, min(first + rows, n_atoms) * n_atoms), n_atoms)
        other_p = np.flatnonzero(i_p != j_p)
        i_p, j_p = i_p[other_p], j_p[other_p]
        yield i_p, j_p, positions_ec[j_p] - positions_ec[i_p]


def reciprocal_sum(
    positions_ec: FloatArray, charges_e: FloatArray, cell_cc: FloatArray, alpha: float, k_cut: float, derivatives: bool
) -> Sums:
    """Energy of smooth charges, Gaussians of width 1/2α, as a sum over wave vectors; without that of each with itself.

    Tin-foil boundary: nothing for k = 0. The phase factors exp(ik·r) are products of one factor for each lattice
    vector, and the sums over the third factor and over the atoms are products of matrices.

    Parameters
    ----------
    positions_ec, charges_e
        Positions, shape (N, 3), Å, and charges, shape (N,).
    cell_cc
        Lattice vectors, one per row, Å. Any are right; if they are short (reduced), no work is wasted.
    alpha, k_cut
        Of the splitting, 1/Å.
    derivatives
        Whether forces and virial are wanted.
    """
    waves = _Waves.inside(cell_cc, alpha, k_cut)
    scaled_ce = (positions_ec @ waves.inverse_cc).T
    size = max(1, _BLOCK // waves.weight_lk.shape[1])
    blocks = [slice(first, first + size) for first in range(0, len(charges_e), size)]
    structure_lk = np.zeros(waves.weight_lk.shape, dtype=complex)
    for block in blocks:
        plane_ek, line_le, _ = waves.phases(scaled_ce[:, block])
        structure_lk += ((line_le * charges_e[block]) @ plane_ek.view(float)).view(complex)
    power_lk, filter_lk = waves.filtered(structure_lk)
    sums = Sums.zero(len(charges_e))
    for block in blocks:
        plane_ek, line_le, turned_le = waves.phases(scaled_ce[:, block])
        q_e, terms_ex = charges_e[block], line_le.T @ filter_lk.view(float)
        sums.energies_e[block] = 0.5 * q_e * np.einsum("ex,ex->e", plane_ek.view(float), terms_ex)
        if derivatives:
            third_e = np.einsum("ex,ex->e", plane_ek.view(float), turned_le.T @ filter_lk.view(float))
            in_plane_ek = (plane_ek * terms_ex.view(complex).conj()).imag
            slope_ec = np.column_stack([in_plane_ek @ waves.hm_sk.T, -third_e])
            sums.forces_ec[block] = 2.0 * np.pi * q_e[:, None] * (slope_ec @ waves.inverse_cc.T)
    sums.energies_e[:] -= alpha / np.sqrt(np.pi) * charges_e**2
    if derivatives:
        sums.virial_cc[:] = waves.virial(0.5 * waves.weight_lk * power_lk, alpha)
    return sums


@dataclass(frozen=True, eq=False)
class _Waves:
    """Half of the wave vectors k = h b₁ + m b₂ + l b₃ in a sphere: columns (h, m), and every l for each of them.

    hm_sk, shape (2, K), has h ≥ 0 and m of the columns, vector_lkc are the vectors, 1/Å, with l from -n to n.
    weight_lk, shape (L, K), is 4π/V exp(-k²/4α²)/k², doubled where -k is left out, and 0 outside of the sphere.
    inverse_cc is the inverse of the cell, whose vectors may stand in another order than the user's.
    """

    hm_sk: FloatArray
    weight_lk: FloatArray
    vector_lkc: FloatArray
    inverse_cc: FloatArray

    @classmethod
    def inside(cls, cell_cc: FloatArray, alpha: float, k_cut: float) -> _Waves:
        # |h| = |k·a₁|/2π, so the sphere is in this box. The longest edge is the one of the matrix products.
        most_c = (k_cut * np.linalg.norm(cell_cc, axis=1) / (2.0 * np.pi)).astype(int)
        order = np.argsort(most_c, kind="stable")
        cell_cc, (n_h, n_m, n_l) = cell_cc[order], most_c[order]
        inverse_cc = np.linalg.inv(cell_cc).astype(np.float64)
        h_k, m_k = (x.ravel() for x in np.mgrid[0 : n_h + 1, -n_m : n_m + 1].astype(float))
        half = (h_k > 0) | (m_k >= 0)
        h_k, m_k, l_l = h_k[half], m_k[half], np.arange(-n_l, n_l + 1.0)
        indices_lkc = np.stack(np.broadcast_arrays(h_k, m_k, l_l[:, None]), axis=-1)
        vector_lkc = 2.0 * np.pi * indices_lkc @ inverse_cc.T
        square_lk: FloatArray = np.einsum("lkc,lkc->lk", vector_lkc, vector_lkc)
        wanted_lk = (square_lk < k_cut**2) & indices_lkc.any(axis=-1)
        weight_lk = np.zeros(square_lk.shape)
        square = square_lk[wanted_lk]
        weight_lk[wanted_lk] = 4.0 * np.pi * abs(np.linalg.det(inverse_cc)) * np.exp(-0.25 * square / alpha**2) / square
        weight_lk[:, (h_k > 0) | (m_k > 0)] *= 2.0  # the column (0, 0) has l and -l
        used = np.flatnonzero(wanted_lk.any(axis=0) | (np.arange(len(h_k)) == 0))  # (0, 0): a sphere without waves
        return cls(np.array([h_k[used], m_k[used]]), weight_lk.take(used, 1), vector_lkc.take(used, 1), inverse_cc)

    def phases(self, scaled_ce: FloatArray) -> tuple[NDArray[np.complex128], FloatArray, FloatArray]:
        """exp(2πi(h s₁ + m s₂)) of n atoms, shape (n, K), and two of shape (L, n) for the third factor.

        These are cos 2πls₃ of l from 0, below them sin 2πls₃ of l from 1, and their derivatives by 2πs₃.
        """
        turn_ce, (h_k, m_k) = 2.0 * np.pi * scaled_ce, self.hm_sk.astype(int)
        n_m, n_l = np.abs(m_k).max(), len(self.weight_lk) // 2
        x_eh = np.exp(1j * turn_ce[0, :, None] * np.arange(h_k.max() + 1))
        y_em = np.exp(1j * turn_ce[1, :, None] * np.arange(-n_m, n_m + 1))
        plane_ek = np.take(x_eh, h_k, axis=1)
        plane_ek *= np.take(y_em, m_k + n_m, axis=1)
        l_l = np.arange(1.0, n_l + 1)[:, None]
        cos_le, sin_le = np.cos(l_l * turn_ce[2]), np.sin(l_l * turn_ce[2])
        one_e, zero_e = np.ones_like(turn_ce[:1]), np.zeros_like(turn_ce[:1])
        turned_le = np.concatenate([zero_e, -l_l * sin_le, l_l * cos_le])
        return plane_ek, np.concatenate([one_e, cos_le, sin_le]), turned_le

    def filtered(self, structure_lk: NDArray[np.complex128]) -> tuple[FloatArray, NDArray[np.complex128]]:
        """|S|² of the waves, shape (L, K), and the conjugate of weight S* in the basis of `phases`.

        The argument is S in this basis: with sums C over cosines and D over sines, S is C + iD for l and C - iD for -l.
        """
        n_l = len(self.weight_lk) // 2
        zero_lk, cos_lk, i_sin_lk = structure_lk[:1], structure_lk[1 : n_l + 1], 1j * structure_lk[n_l + 1 :]
        all_lk = np.concatenate([(cos_lk - i_sin_lk)[::-1], zero_lk, cos_lk + i_sin_lk])
        filter_lk = self.weight_lk * all_lk
        minus_lk, plus_lk = filter_lk[:n_l][::-1], filter_lk[n_l + 1 :]
        back_lk = np.concatenate([filter_lk[n_l : n_l + 1], plus_lk + minus_lk, -1j * (plus_lk - minus_lk)])
        return np.abs(all_lk) ** 2, back_lk

    def virial(self, energy_lk: FloatArray, alpha: float) -> FloatArray:
        """Strain derivative of the energy of each wave, summed."""
        k_kc, energy_k = self.vector_lkc.reshape(-1, 3), energy_lk.ravel()
        square_k = np.einsum("kc,kc->k", k_kc, k_kc)
        square_k[square_k == 0.0] = 1.0  # k = 0 has no energy
        factor_k = 2.0 * energy_k * (1.0 / square_k + 0.25 / alpha**2)
        return k_kc.T @ (factor_k[:, None] * k_kc) - energy_k.sum() * np.eye(3)


def background_sum(charges_e: FloatArray, volume: float, alpha: float, width: float) -> Sums:
    """Energy with a uniform background that neutralises a charged cell, of the sums over pairs and waves.

    It makes the mean of the potential zero: -(π/2V) (1/α² - 4σ²) Q² in all, with the total charge Q.
    """
    energies_e = -0.5 * np.pi / volume * (1.0 / alpha**2 - 4.0 * width**2) * charges_e.sum() * charges_e
    return Sums(energies_e, np.zeros((len(charges_e), 3)), -energies_e.sum() * np.eye(3))


def slab_sum(positions_ec: FloatArray, charges_e: FloatArray, cell_cc: FloatArray) -> Sums:
    """What turns the periodic sum of a neutral slab into that of a slab alone: 2πM²/V, with the dipole M along c.

    It takes away the field with which tin foil shields the dipole. What is left of the images falls as exp(-gd) with
    the thickness d of the vacuum and the shortest wave vector g in the plane. I.-C. Yeh and M. L. Berkowitz,
    J. Chem. Phys. 111, 3155 (1999).

    Parameters
    ----------
    positions_ec, charges_e
        Positions, shape (N, 3), Å, not wrapped along c, and charges, shape (N,), whose sum is 0.
    cell_cc
        Cell, shape (3, 3), Å; its third vector points out of the slab, at right angles.
    """
    volume, normal_c = abs(np.linalg.det(cell_cc)), cell_cc[2] / np.linalg.norm(cell_cc[2])
    height_e = (positions_ec - positions_ec.mean(axis=0)) @ normal_c
    dipole = charges_e @ height_e
    # the potential whose curvature is that of the background between the images, without origin since Q = 0
    potential_e = 2.0 * np.pi / volume * (2.0 * dipole * height_e - charges_e @ height_e**2)
    forces_ec = -4.0 * np.pi / volume * dipole * charges_e[:, None] * normal_c
    energy = 2.0 * np.pi / volume * dipole**2
    return Sums(0.5 * charges_e * potential_e, forces_ec, energy * (2.0 * np.outer(normal_c, normal_c) - np.eye(3)))

"""The SOAP power spectrum of dscribe (gto basis) without spherical harmonics.

The addition theorem  Σ_m Y_lm(a) Y_lm(b) = (2l+1)/(4π) P_l(cos ab)  makes it a double sum over neighbours,

    p^{ZZ'}_{nn'l} = π sqrt(8/(2l+1)) (2l+1)/(4π) Σ_{j∈Z, k∈Z'} w_j R_nl(r_j) w_k R_n'l(r_k) · (r_j r_k)^l P_l(cos θ_jk)
    R_nl(r)        = Σ_k β_lnk (π/(α_lk+η))^{3/2} (η/(α_lk+η))^l exp(−α_lk η r²/(α_lk+η))

Everything is an analytic function of the neighbour vectors, so they may be complex: `jacobian` differentiates by a
complex step, which is exact to machine precision. α, β and η are read from the dscribe object.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from ase import Atoms
from ase.geometry import complete_cell
from dscribe.descriptors import SOAP

Array = np.ndarray[Any, Any]
STEP = 1e-30
# The constant π sqrt(3)/2 for l = 1 is wrong from its 11th digit on in dscribe 2.1 (soapGTO.cpp, getCD).
DSCRIBE_L1 = 2.7206990463849543 / (np.pi * np.sqrt(3.0) / 2.0)
# Voigt order xx yy zz yz xz xy; the halves make dE/d(strain_v) = V · stress_v with a symmetric strain.
STRAINS_vcc = np.zeros((6, 3, 3))
for _v, (_a, _b) in enumerate([(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]):
    STRAINS_vcc[_v, _a, _b] += 0.5
    STRAINS_vcc[_v, _b, _a] += 0.5


def neighbours(atoms: Atoms, r_max: float, periodic: bool = True) -> tuple[Array, Array, Array]:
    """All directed pairs closer than `r_max` by brute force over images.

    Returns
    -------
    i_p, j_p
        Centre and neighbour of each pair, shape (P,).
    r_pc
        Vector from i to the image of j, shape (P, 3), Å. An atom is not its own neighbour; its images are.
    """
    x_ec = atoms.get_positions()
    cell = complete_cell(atoms.cell)
    heights = 1.0 / np.linalg.norm(np.linalg.inv(cell), axis=0)
    spread = np.ptp(x_ec @ np.linalg.inv(cell), axis=0)  # atoms may lie outside the cell
    copies = np.where(atoms.pbc & periodic, np.ceil(r_max / heights + spread), 0).astype(int)
    pairs = []
    for image in itertools.product(*[range(-n, n + 1) for n in copies]):
        for i, j in itertools.product(range(len(atoms)), repeat=2):
            r_c = x_ec[j] + np.array(image) @ cell - x_ec[i]
            if r_c @ r_c <= r_max**2 and not (i == j and image == (0, 0, 0)):
                pairs.append((i, j, r_c))
    i_p = np.array([i for i, _, _ in pairs], dtype=int)
    j_p = np.array([j for _, j, _ in pairs], dtype=int)
    return i_p, j_p, np.array([r for _, _, r in pairs]).reshape(-1, 3)


def displacements(i_p: Array, j_p: Array, r_pc: Array, n_atoms: int) -> Array:
    """Derivative of every pair vector by the 3N coordinates (atom-major), then by the 6 strains: shape (3N+6, P, 3)."""
    d_apc = np.zeros((3 * n_atoms + 6, len(i_p), 3))
    for p, (i, j) in enumerate(zip(i_p, j_p, strict=True)):
        for c in range(3):
            d_apc[3 * j + c, p, c] += 1.0
            d_apc[3 * i + c, p, c] -= 1.0
    d_apc[3 * n_atoms :] = np.einsum("vcd,pd->vpc", STRAINS_vcc, r_pc)
    return d_apc


def reach(soap: SOAP) -> float:
    """Distance beyond which dscribe counts no neighbour, Å."""
    r_max = soap._r_cut + soap._sigma * np.sqrt(-2.0 * np.log(0.001))
    return float(min(soap._weighting["r0"], r_max) if soap._weighting.get("function") == "poly" else r_max)


def weight(r: Array, weighting: dict[str, Any]) -> Array:
    """Radial weight w(r) of a neighbour; `r` may be complex."""
    function = weighting.get("function")
    if function is None:
        return np.ones_like(r)
    c, t = weighting["c"], r / weighting["r0"]
    if function == "poly":
        inside = np.real(t) <= 1.0
        return np.where(inside, c * np.where(inside, 1.0 + 2.0 * t**3 - 3.0 * t**2, 0.0) ** weighting["m"], 0.0)
    return c / (weighting["d"] + (t ** weighting["m"] if function == "pow" else np.exp(-t)))


def power_spectrum(r_pc: Array, numbers_p: Array, centre: int, soap: SOAP) -> Array:
    """Spectrum of one centre from the vectors to its neighbours.

    Parameters
    ----------
    r_pc
        Vectors from the centre to its neighbours, without the centre itself, shape (..., P, 3), Å, real or complex.
    numbers_p
        Atomic numbers of the neighbours, shape (P,).
    centre
        Atomic number of the centre, which dscribe counts as a neighbour at r = 0.
    soap
        The dscribe descriptor, with ``rbf="gto"`` and ``average="off"``.

    Returns
    -------
    Array
        Features in dscribe's order, shape (..., D).
    """
    species = list(soap._atomic_numbers)
    n_max, n_species, eta = soap._n_max, len(species), soap._eta
    r_pc = np.concatenate([r_pc, np.zeros((*r_pc.shape[:-2], 1, 3))], axis=-2)
    z_p = np.array([species.index(z) for z in [*numbers_p, centre]])
    r2_p = np.sum(r_pc * r_pc, axis=-1)
    w_p = weight(np.sqrt(r2_p), soap._weighting)
    w_p[..., -1] = soap._weighting.get("w0", w_p[..., -1])
    w_p = w_p * soap._species_weights[z_p]
    one_hot_zp = (np.arange(n_species)[:, None] == z_p).astype(float)

    dots = r_pc @ np.swapaxes(r_pc, -1, -2)
    squares = r2_p[..., :, None] * r2_p[..., None, :]
    legendre, previous = np.ones_like(dots), np.zeros_like(dots)  # (r_j r_k)^l P_l(cos), a polynomial in dots, squares
    blocks = []
    for degree in range(soap._l_max + 1):
        total_k = soap._alphas[degree] + eta
        primitive_kp = np.exp(-(soap._alphas[degree] * eta / total_k)[:, None] * r2_p[..., None, :])
        scale_k = (np.pi / total_k) ** 1.5 * (eta / total_k) ** degree
        radial_np = (soap._betas[degree] * scale_k) @ primitive_kp
        a = one_hot_zp[:, None, :] * (w_p[..., None, :] * radial_np)[..., None, :, :]  # (..., species, n, P)
        a = a.reshape(*a.shape[:-3], n_species * n_max, a.shape[-1])
        prefactor = np.pi * np.sqrt(8.0 / (2 * degree + 1)) * (2 * degree + 1) / (4.0 * np.pi)
        prefactor *= DSCRIBE_L1**2 if degree == 1 else 1.0
        block = prefactor * a @ legendre @ np.swapaxes(a, -1, -2)
        blocks.append(block.reshape(*block.shape[:-2], n_species, n_max, n_species, n_max))
        following = ((2 * degree + 1) * dots * legendre - degree * squares * previous) / (degree + 1)
        legendre, previous = following, legendre
    return _in_order(blocks, soap.compression.get("mode", "off"))


def _in_order(blocks: list[Array], mode: str) -> Array:
    """Pick the features from blocks[l][..., Z, n, Z', n'] in the order of dscribe."""
    n_species, n_max = blocks[0].shape[-2:]
    upper = np.triu_indices(n_max)
    everything = tuple(np.indices((n_max, n_max)).reshape(2, -1))
    features = []
    if mode == "mu2":
        for block in blocks:
            features.append(block.sum(axis=(-4, -2))[(..., *upper)])
    elif mode == "mu1nu1":
        for z in range(n_species):
            for block in blocks:
                features.append(block[..., z, :, :, :].sum(axis=-2)[(..., *everything)])
    else:
        for z, z2 in itertools.combinations_with_replacement(range(n_species), 2):
            for block in blocks:
                if z == z2 or mode == "off":
                    features.append(block[..., z, :, z2, :][(..., *(upper if z == z2 else everything))])
    return np.concatenate(features, axis=-1)


def create(atoms: Atoms, soap: SOAP) -> Array:
    """Spectra of all atoms like ``soap.create(atoms)``, shape (N, D)."""
    i_p, j_p, r_pc = neighbours(atoms, reach(soap), soap.periodic)
    z = atoms.numbers
    return np.array([power_spectrum(r_pc[i_p == i], z[j_p[i_p == i]], z[i], soap) for i in range(len(atoms))])


def jacobian(atoms: Atoms, soap: SOAP, normalise: bool = False) -> tuple[Array, Array]:
    """Spectra p (or q = p/|p|), shape (N, D), and their derivatives, shape (N, 3N+6, D): coordinates, then strains."""
    i_p, j_p, r_pc = neighbours(atoms, reach(soap), soap.periodic)
    moved_apc = r_pc + 1j * STEP * displacements(i_p, j_p, r_pc, len(atoms))
    values, derivatives = [], []
    for i in range(len(atoms)):
        p_ad = power_spectrum(moved_apc[:, i_p == i], atoms.numbers[j_p[i_p == i]], atoms.numbers[i], soap)
        if normalise:
            p_ad = p_ad / np.sqrt(np.sum(p_ad * p_ad, axis=-1, keepdims=True))
        values.append(p_ad[0].real)
        derivatives.append(p_ad.imag / STEP)
    return np.array(values), np.array(derivatives)

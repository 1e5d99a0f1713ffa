"""A small case in which a few inducing environments span the whole feature space of the kernel.

There the sparse process equals the exact one for every observable, derivatives included. k = (q·q')^ζ is linear in the
ζ-fold products of features; pivoted QR finds what real environments (and so their derivatives) can reach of that space:
20 of 21 dimensions per central species for ζ = 2, because p_nn'0 = c_n c_n' makes p_11 p_22 = p_12² for l = 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg
from ase import Atoms
from ase.calculators.morse import MorsePotential
from ase.calculators.singlepoint import SinglePointCalculator
from dscribe.descriptors import SOAP

from tests.reference.soap_legendre import Array, create


@dataclass(frozen=True, eq=False)
class SpanningCase:
    """Labelled structures and the inducing environments that span their features.

    Attributes
    ----------
    structures, tests
        Clusters and one periodic cell each, with energy, forces and (periodic) stress of a Morse potential.
    soap, zeta, delta
        What defines the kernel.
    inducing
        Central species → power spectra p of as many training environments as the space has dimensions, shape (M, D).
    """

    structures: list[Atoms]
    tests: list[Atoms]
    soap: SOAP
    zeta: int
    delta: float
    inducing: dict[int, Array]


def feature_map(q_ed: Array, zeta: int) -> Array:
    """φ with φ(q)·φ(q') = (q·q')^ζ: all ζ-fold products of components, shape (E, D**zeta)."""
    phi_ef = q_ed
    for _ in range(zeta - 1):
        phi_ef = (phi_ef[:, :, None] * q_ed[:, None, :]).reshape(len(q_ed), -1)
    return phi_ef


def spanning_case(material: str = "HO", zeta: int = 2, delta: float = 1.5, seed: int = 0) -> SpanningCase:
    """Build the case for "HO" (n_max 1, well conditioned) or "Si" (n_max 2, K_mm nearly singular for ζ = 2)."""
    rng = np.random.default_rng(seed)
    silicon = material == "Si"
    r_cut, w0 = (4.0, 0.2) if silicon else (2.5, 1.0)
    soap = SOAP(
        species=["Si"] if silicon else ["H", "O"],
        periodic=True,
        r_cut=r_cut,
        n_max=2 if silicon else 1,
        l_max=1,
        sigma=0.7 if silicon else 0.5,
        weighting={"function": "poly", "r0": r_cut, "c": 1.0, "m": 1.0, "w0": w0},
    )
    sizes = (2, 3, 4, 5) if silicon else (4,)
    structures = [_random(material, sizes[i % len(sizes)], False, rng) for i in range(14)]
    structures.append(_random(material, 2, True, rng))
    tests = [_random(material, 4, False, rng), _random(material, 2, True, rng)]

    p_ed = np.concatenate([create(atoms, soap) for atoms in structures])
    numbers_e = np.concatenate([atoms.numbers for atoms in structures])
    inducing = {}
    for z in sorted(set(numbers_e.tolist())):
        mine_ed = p_ed[numbers_e == z]
        phi_ef = feature_map(mine_ed / np.linalg.norm(mine_ed, axis=1, keepdims=True), zeta)
        r, pivots = scipy.linalg.qr(phi_ef.T, mode="r", pivoting=True)
        rank = int(np.sum(np.abs(np.diag(r)) > 1e-13))
        if rank == len(mine_ed):
            raise ValueError(f"{rank} environments of species {z} do not span the features for zeta = {zeta}")
        inducing[z] = mine_ed[pivots[:rank]]
    return SpanningCase(structures, tests, soap, zeta, delta, inducing)


def _random(material: str, n_atoms: int, periodic: bool, rng: np.random.Generator) -> Atoms:
    """Random atoms no closer than a bond, labelled by a Morse potential."""
    box, bond = (3.5, 1.6) if material == "Si" else (2.0, 0.7)
    symbols = (["Si"] if material == "Si" else ["H", "O"]) * n_atoms
    atoms = Atoms(symbols[:n_atoms], cell=(box * (np.eye(3) + rng.uniform(0.0, 0.2, (3, 3)))), pbc=periodic)
    while True:
        atoms.positions[:] = rng.uniform(0.0, box, (n_atoms, 3))
        distances = atoms.get_all_distances(mic=periodic) + box * np.eye(n_atoms)
        if distances.min() > bond:
            break
    if not periodic:
        atoms.cell[:] = 0.0
    atoms.calc = MorsePotential(r0=1.4 * bond, epsilon=1.0, rho0=4.0)
    results = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces()}
    if periodic:
        results["stress"] = atoms.get_stress()
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms

"""The reference spectrum against dscribe, the reference covariances against finite differences."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from dscribe.descriptors import SOAP

from tests.reference.gaussian_process import Functional, PairGP, ReferenceGP, SoapGP, all_functionals
from tests.reference.soap_legendre import STRAINS_vcc, create, jacobian

WEIGHTINGS = {
    "none": None,
    "w0": {"w0": 0.4},
    "poly": {"function": "poly", "r0": 3.2, "c": 1.3, "m": 1.0},
    "poly-w0": {"function": "poly", "r0": 3.0, "c": 1.0, "m": 2.5, "w0": 0.3},
    "poly-wide": {"function": "poly", "r0": 9.0, "c": 1.0, "m": 2.0},
    "pow": {"function": "pow", "r0": 2.0, "c": 1.1, "d": 0.9, "m": 3.0},
    "exp-w0": {"function": "exp", "r0": 2.0, "c": 1.0, "d": 1.2, "w0": 2.0},
}
MODES = ("off", "crossover", "mu1nu1", "mu2")


def molecule() -> Atoms:
    return Atoms("HCNOHC", positions=1.8 * np.random.default_rng(0).normal(size=(6, 3)))


def rattled(atoms: Atoms) -> Atoms:
    atoms.rattle(0.1, seed=1)
    return atoms


STRUCTURES: dict[str, Callable[[], Atoms]] = {
    "molecule": molecule,
    "atom": lambda: Atoms("O"),
    "primitive": lambda: rattled(bulk("Si")),
    "compound": lambda: rattled(bulk("SiC", "zincblende", a=4.3)),
    "slab": lambda: Atoms("SiC", positions=[[0, 0, 0], [1, 1, 1]], cell=[2.5, 3.0, 0.0], pbc=[True, True, False]),
}


def worst(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float(np.max(np.abs(ours - theirs)) / np.max(np.abs(theirs)))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("name", STRUCTURES)
def test_spectrum_is_that_of_dscribe(name: str, weighting: str, mode: str) -> None:
    atoms = STRUCTURES[name]()
    species = sorted({"C", "Si", *atoms.get_chemical_symbols()})
    for weights in (None, {s: 0.5 + k for k, s in enumerate(species)}):
        soap = SOAP(
            r_cut=3.5,
            n_max=3,
            l_max=3,
            sigma=0.5,
            species=species,
            periodic=bool(atoms.pbc.any()),
            weighting=dict(WEIGHTINGS[weighting] or {}) or None,
            compression={"mode": mode, "species_weighting": weights},
        )
        system = atoms.copy()
        system.cell = atoms.cell.complete()  # dscribe asks for a full cell, and ignores what is not periodic
        assert worst(create(atoms, soap), soap.create(system)) < 1e-12


def test_spectrum_at_production_size() -> None:
    soap = SOAP(species=["Si"], r_cut=5.0, n_max=8, l_max=8, sigma=0.5, periodic=True)
    atoms = STRUCTURES["primitive"]()
    assert worst(create(atoms, soap), soap.create(atoms)) < 1e-11


def test_each_degree_of_the_spectrum() -> None:
    """Up to dscribe's highest l, block by block. l = 1 has the mistyped constant: this fails once it is repaired."""
    soap = SOAP(species=["H"], r_cut=3.5, n_max=2, l_max=20, sigma=0.5)
    atoms = Atoms("H6", positions=molecule().positions)
    ours, theirs = (p.reshape(6, 21, 3) for p in (create(atoms, soap), soap.create(atoms)))
    errors = [worst(ours[:, degree], theirs[:, degree]) for degree in range(21)]
    assert max(errors[:5]) < 2e-14
    assert max(errors) < 1e-11


def test_atoms_outside_the_cell_change_nothing() -> None:
    soap = small_soap()
    atoms = STRUCTURES["compound"]()
    moved = atoms.copy()
    moved.positions[1] += 2 * atoms.cell[0] - 3 * atoms.cell[2]
    assert worst(create(moved, soap), create(atoms, soap)) < 1e-13


def small_soap(n_max: int = 2, l_max: int = 2) -> SOAP:
    weighting = {"function": "poly", "r0": 3.2, "c": 1.0, "m": 3.0}
    return SOAP(species=["C", "Si"], r_cut=3.2, n_max=n_max, l_max=l_max, sigma=0.5, periodic=True, weighting=weighting)


def displaced(atoms: Atoms, b: int, h: float) -> Atoms:
    """Coordinate b moved by h, or strain b − 3N applied with amplitude h."""
    moved = atoms.copy()
    if b < 3 * len(atoms):
        moved.positions[b // 3, b % 3] += h
    else:
        moved.set_cell(atoms.cell.array @ (np.eye(3) + h * STRAINS_vcc[b - 3 * len(atoms)]), scale_atoms=True)
    return moved


def slope(f: Callable[[float], np.ndarray], h: float = 2e-3) -> np.ndarray:
    """Derivative at zero, sixth order."""
    stencil = {1: 45.0, 2: -9.0, 3: 1.0}
    return np.asarray(sum(c * (f(k * h) - f(-k * h)) for k, c in stencil.items()) / (60.0 * h))


def test_jacobian_is_the_slope_of_dscribe() -> None:
    atoms, soap = STRUCTURES["compound"](), small_soap()
    p_ed, dp_ebd = jacobian(atoms, soap)
    assert worst(p_ed, soap.create(atoms)) < 1e-12
    for b in range(12):
        expected = slope(lambda h, b=b: soap.create(displaced(atoms, b, h)))
        assert np.max(np.abs(dp_ebd[:, b] - expected)) < 1e-9 * np.max(np.abs(dp_ebd))


def cosine(r: np.ndarray) -> np.ndarray:
    """Smooth cutoff at 3 Å with three continuous derivatives."""
    inside = np.real(r) < 3.0
    return np.where(inside, np.cos(np.pi * np.where(inside, r, 0.0) / 6.0) ** 4, 0.0)


def terms(zeta: int = 2) -> list[SoapGP | PairGP]:
    return [SoapGP(small_soap(), zeta, 1.3), PairGP(3.0, cosine, 0.8, 0.7)]


def pair_of_structures() -> tuple[Atoms, Atoms]:
    cluster = Atoms("SiCSi", positions=[[0.1, 0, 0], [1.7, 0.3, 0.2], [0.4, 2.0, 0.6]])
    return cluster, STRUCTURES["compound"]()


def observables_of(cluster: Atoms, crystal: Atoms) -> list[Functional]:
    return all_functionals(cluster, ("energy", "local", "force")) + all_functionals(crystal)


@pytest.mark.parametrize("zeta", [1, 2, 3])
def test_covariance_is_symmetric_and_positive(zeta: int) -> None:
    observables = observables_of(*pair_of_structures())
    k_nn = ReferenceGP(terms(zeta)).covariance(observables, observables)
    assert np.max(np.abs(k_nn - k_nn.T)) < 1e-13 * np.max(k_nn)
    assert np.linalg.eigvalsh(k_nn).min() > -1e-13 * np.max(k_nn)


@pytest.mark.parametrize("term", [SoapGP(small_soap(), 1, 1.3), *terms(3)], ids=["linear", "cubic", "pair"])
def test_derivative_covariances_are_slopes_of_energy_covariances(term: SoapGP | PairGP) -> None:
    gp = ReferenceGP([term])
    cluster, crystal = pair_of_structures()

    def energies(h: float, k: float, b: int, c: int) -> float:
        left, right = Functional(displaced(cluster, b, h), "energy"), Functional(displaced(crystal, c, k), "energy")
        return float(gp.covariance([left], [right])[0, 0])

    force = Functional(cluster, "force", (1, 2))
    for right, c, scale in [
        (Functional(crystal, "force", (0, 1)), 1, -1.0),
        (Functional(crystal, "stress", (0,)), 6, 1.0 / crystal.get_volume()),
        (Functional(crystal, "stress", (3,)), 9, 1.0 / crystal.get_volume()),
    ]:
        single = scale * slope(lambda k, c=c: energies(0.0, k, 5, c))
        both = -scale * slope(lambda h, c=c: slope(lambda k: energies(h, k, 5, c)))
        exact = gp.covariance([Functional(cluster, "energy"), force], [right])[:, 0]
        assert exact[0] == pytest.approx(single, abs=1e-10)
        assert exact[1] == pytest.approx(both, abs=1e-8)


def test_local_energies_add_up_and_species_are_independent() -> None:
    cluster, crystal = pair_of_structures()
    gp = ReferenceGP(terms())
    local = gp.covariance(all_functionals(cluster, ("local",)), [Functional(crystal, "energy")])
    assert local.sum() == pytest.approx(gp.covariance(*[[Functional(a, "energy")] for a in (cluster, crystal)])[0, 0])
    assert gp.covariance([Functional(Atoms("Si"), "energy")], [Functional(Atoms("C"), "energy")])[0, 0] == 0.0
    assert ReferenceGP(terms()[:1]).covariance(*[[Functional(Atoms("Si"), "energy")]] * 2)[0, 0] == pytest.approx(1.69)


def test_dimer_covariance_by_hand() -> None:
    """The two directed pairs of a dimer give E = f(r) g(r), and F = −(f g)'."""
    gp = ReferenceGP([PairGP(3.0, cosine, 0.8, 0.7), PairGP(3.0, cosine, 0.8, 0.2, only=(6, 6))])
    short, long = (Atoms("SiC", positions=[[0, 0, 0], [r, 0, 0]]) for r in (1.5, 2.1))
    f, k = np.cos(np.pi * np.array([1.5, 2.1]) / 6.0) ** 4, 0.49 * np.exp(-(0.6**2) / (2 * 0.64))
    slope_f = -4 * np.pi / 6 * np.cos(np.pi * 2.1 / 6.0) ** 3 * np.sin(np.pi * 2.1 / 6.0)
    row = gp.covariance([Functional(short, "energy")], [Functional(long, "energy"), Functional(long, "force", (1, 0))])
    assert row[0] == pytest.approx([f[0] * f[1] * k, -f[0] * (slope_f * k + f[1] * -0.6 / 0.64 * k)], rel=1e-13)


def fitted() -> tuple[ReferenceGP, list[Functional], np.ndarray]:
    """Terms conditioned on a sample of themselves, with next to no noise."""
    observables = observables_of(*pair_of_structures())
    gp = ReferenceGP(terms())
    y = gp.covariance(observables, observables) @ np.random.default_rng(3).normal(size=len(observables))
    return gp.fit(observables, y, np.full(len(y), 1e-5)), observables, y


def test_posterior_interpolates_with_tiny_noise() -> None:
    gp, observables, y = fitted()
    assert np.max(np.abs(gp.mean(observables) - y)) < 1e-6 * np.max(np.abs(y))
    variance = gp.variance(observables)
    assert variance.min() > -1e-12
    assert variance.max() < 1.01e-10


def test_posterior_mean_obeys_the_laws() -> None:
    gp, _, y = fitted()
    for atoms in (rattled(pair_of_structures()[0]), rattled(STRUCTURES["compound"]())):
        n = len(atoms)
        forces = gp.mean(all_functionals(atoms, ("force",)))
        assert np.abs(forces.reshape(n, 3).sum(axis=0)).max() < 1e-10 * np.abs(y).max()
        exact = np.append(-forces, gp.mean(all_functionals(atoms, ("stress",))) * atoms.get_volume() if n == 2 else [])
        for b in range(len(exact)):
            expected = slope(lambda h, a=atoms, b=b: gp.mean([Functional(displaced(a, b, h), "energy")])[0])
            assert exact[b] == pytest.approx(expected, abs=2e-8 * np.abs(y).max())

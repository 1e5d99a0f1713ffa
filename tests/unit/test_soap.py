"""Native SOAP against the Legendre reference: values, Jacobian by complex step, and the pullback."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from dscribe.descriptors import SOAP

from gapkit.atoms.labels import to_frame
from gapkit.atoms.neighbours import NeighbourList, Pairs
from gapkit.descriptors.basis import soap_basis
from gapkit.descriptors.soap import Soap
from gapkit.descriptors.soap_points import SoapPoints
from tests.reference.soap_legendre import STRAINS_vcc, create, jacobian
from tests.samples import soap_arguments

MODES = ("off", "crossover", "mu1nu1", "mu2")
WEIGHTINGS: dict[str, dict[str, Any] | None] = {
    "none": None,
    "w0": {"w0": 0.4},
    "poly": {"function": "poly", "r0": 3.2, "c": 1.3, "m": 1.0},
    "poly-w0": {"function": "poly", "r0": 3.0, "c": 1.0, "m": 2.5, "w0": 0.3},
    "poly-wide": {"function": "poly", "r0": 9.0, "c": 1.0, "m": 2.0},
    "pow": {"function": "pow", "r0": 2.0, "c": 1.1, "d": 0.9, "m": 3.0},
    "exp-w0": {"function": "exp", "r0": 2.0, "c": 1.0, "d": 1.2, "w0": 2.0},
}


def rattled(atoms: Atoms) -> Atoms:
    atoms.rattle(0.1, seed=1)
    return atoms


STRUCTURES: dict[str, Callable[[], Atoms]] = {
    "molecule": lambda: Atoms("HCNOHC", 1.8 * np.random.default_rng(0).normal(size=(6, 3))),
    "compound": lambda: rattled(bulk("SiC", "zincblende", a=4.3)),
    "slab": lambda: Atoms("SiC", [[0, 0, 0], [1, 1, 1]], cell=[2.5, 3.0, 0.0], pbc=[True, True, False]),
    "alone": lambda: Atoms("OC", [[0, 0, 0], [0, 0, 20.0]]),
}


def soap_of(atoms: Atoms, mode: str = "off", weighting: str = "poly", n_max: int = 3, l_max: int = 3) -> SOAP:
    species = sorted({"C", *atoms.get_chemical_symbols()})
    return SOAP(
        r_cut=3.4,
        n_max=n_max,
        l_max=l_max,
        sigma=0.5,
        species=species,
        periodic=bool(atoms.pbc.any()),
        weighting=dict(WEIGHTINGS[weighting] or {}) or None,
        compression={"mode": mode, "species_weighting": {s: 0.5 + 0.4 * k for k, s in enumerate(species)}},
    )


def pairs_of(atoms: Atoms, soap: Soap) -> Pairs:
    return NeighbourList(soap.reach).pairs(to_frame(atoms, labels=False))


def worst(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float(np.max(np.abs(ours - theirs)) / np.max(np.abs(theirs)))


def moved_by_coordinates(soap: Soap, pairs: Pairs, points: SoapPoints) -> np.ndarray:
    """∂(q_e·x_m) by the coordinates and the strains, shape (N, 3N+6, M), from the Jacobian's rows by pairs."""
    n = len(pairs.numbers_e)
    total = np.zeros((n, 3 * n + 6, len(points.x_md)))
    for channel in soap.channels:
        part = soap.pairs_of(pairs, channel)
        if not len(part.e_p):
            continue
        sites = soap.sites(part, channel, points)
        rows = sites.jacobian()
        for site, pair, row_cm in zip(rows.site_q, rows.pair_q, rows.meet(rows.rows_qcx), strict=True):
            e, i, j = sites.centre_s[site], part.i_p[pair], part.j_p[pair]
            total[e, 3 * j : 3 * j + 3] += row_cm
            total[e, 3 * i : 3 * i + 3] -= row_cm
            total[e, 3 * n :] += np.einsum("vcd,d,cm->vm", STRAINS_vcc, part.r_pc[pair], row_cm)
    return total


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("name", STRUCTURES)
def test_values_are_the_reference(name: str, weighting: str, mode: str) -> None:
    atoms = STRUCTURES[name]()
    reference = soap_of(atoms, mode, weighting)
    soap = Soap(soap_basis(reference))
    assert worst(soap.values(pairs_of(atoms, soap)), create(atoms, reference)) < 1e-12


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("name", ["compound", "slab"])
def test_jacobian_is_the_complex_step(name: str, weighting: str, mode: str) -> None:
    atoms = STRUCTURES[name]()
    reference = soap_of(atoms, mode, weighting, n_max=2, l_max=2)
    soap = Soap(soap_basis(reference))
    q_ef, dq_ebf = jacobian(atoms, reference, normalise=True)
    everything = SoapPoints(soap.basis, np.eye(soap.basis.n_features))
    pairs = pairs_of(atoms, soap)
    assert worst(moved_by_coordinates(soap, pairs, everything), dq_ebf) < 1e-10
    few = np.random.default_rng(0).normal(size=(3, q_ef.shape[1]))
    for points in (SoapPoints(soap.basis, few), soap.points(few)):
        assert worst(moved_by_coordinates(soap, pairs, points), dq_ebf @ few.T) < 1e-10


def test_jacobian_of_a_molecule_of_four_elements() -> None:
    atoms = STRUCTURES["molecule"]()
    reference = soap_of(atoms, "off", "poly", n_max=2, l_max=1)
    soap = Soap(soap_basis(reference))
    _, dq_ebf = jacobian(atoms, reference, normalise=True)
    everything = SoapPoints(soap.basis, np.eye(soap.basis.n_features))
    assert worst(moved_by_coordinates(soap, pairs_of(atoms, soap), everything), dq_ebf) < 1e-10


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("n_points", [2, 40])
def test_pullback_is_the_transpose_of_the_jacobian(rng: np.random.Generator, mode: str, n_points: int) -> None:
    atoms = STRUCTURES["molecule"]()
    soap = Soap(soap_basis(soap_of(atoms, mode, "exp-w0")))
    points = soap.points(rng.normal(size=(n_points, soap.basis.n_features)))
    alpha = rng.normal(size=n_points)
    for channel in soap.channels:
        part = soap.pairs_of(pairs_of(atoms, soap), channel)
        sites = soap.sites(part, channel, points)
        rows = sites.jacobian()
        expected = np.zeros_like(part.r_pc)
        np.add.at(expected, rows.pair_q, rows.meet(rows.rows_qcx) @ alpha)
        gx_sd = np.tile(alpha @ points.x_md, (len(sites.x_sd), 1))
        assert worst(sites.pullback(gx_sd, None), expected) < 1e-12


def test_features_are_unit_vectors_of_the_centres_asked_for() -> None:
    atoms = STRUCTURES["molecule"]()
    soap = Soap(soap_basis(soap_of(atoms)))
    pairs = pairs_of(atoms, soap)
    p_ef = soap.values(pairs)
    for channel in soap.channels:
        sites = soap.sites(soap.pairs_of(pairs, channel), channel)
        assert sites.centre_s.tolist() == np.flatnonzero(atoms.numbers == channel[0]).tolist()
        q_ef = p_ef[sites.centre_s] / np.linalg.norm(p_ef[sites.centre_s], axis=1)[:, None]
        assert sites.x_sd == pytest.approx(q_ef, abs=1e-13)
        assert sites.full_sd == pytest.approx(q_ef, abs=1e-13)


def test_production_size_equals_dscribe() -> None:
    """n = l = 8, blocks of different coordination, and the largest component as the scale."""
    atoms = bulk("Si", cubic=True) * (2, 1, 1)
    atoms.rattle(0.3, seed=2)
    del atoms[3]
    reference = SOAP(species=["Si"], r_cut=5.0, n_max=8, l_max=8, sigma=0.5, periodic=True)
    soap = Soap(soap_basis(reference))
    assert worst(soap.values(pairs_of(atoms, soap)), reference.create(atoms)) < 1e-11


@pytest.mark.parametrize("mode", MODES)
def test_no_density_at_all(mode: str) -> None:
    """With w0 = 0 an isolated atom has no density: its features vanish, and nothing is divided by zero."""
    given = soap_arguments(species=["Si"], compression={"mode": mode}, weighting=WEIGHTINGS["poly"] | {"w0": 0.0})
    soap = Soap(soap_basis(given))
    atoms = Atoms("Si3", [[0, 0, 0], [30, 0, 0], [0, 2.0, 0]])
    points = soap.points(np.ones((2, soap.basis.n_features)))
    sites = soap.sites(soap.pairs_of(pairs_of(atoms, soap), (14,)), (14,), points)
    assert not sites.full_sd[1].any()
    assert np.linalg.norm(sites.full_sd, axis=1) == pytest.approx([1.0, 0.0, 1.0])
    assert np.isfinite(sites.jacobian().rows_qcx).all()
    assert np.isfinite(sites.pullback(np.ones_like(sites.x_sd), None)).all()


def test_a_neighbour_exactly_at_the_cutoff_counts_for_nothing() -> None:
    soap = Soap(soap_basis(soap_arguments(species=["Si"])))
    alone = soap.values(pairs_of(Atoms("Si"), soap))
    for distance in (3.6, np.nextafter(3.6, 4.0), np.nextafter(3.6, 0.0)):
        pair = soap.values(pairs_of(Atoms("Si2", [[0, 0, 0], [0, 0, distance]]), soap))
        assert pair == pytest.approx(np.repeat(alone, 2, axis=0), abs=1e-14)


def test_jacobian_needs_points() -> None:
    soap = Soap(soap_basis(soap_arguments(species=["Si"])))
    with pytest.raises(TypeError, match="points"):
        soap.sites(pairs_of(Atoms("Si"), soap), (14,)).jacobian()

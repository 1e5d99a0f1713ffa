"""Sparse points in the space that they span: no kernel value is lost, whatever the environment."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms

from gapkit.atoms.labels import to_frame
from gapkit.atoms.neighbours import NeighbourList
from gapkit.descriptors.basis import soap_basis
from gapkit.descriptors.soap import Soap, SoapSites
from gapkit.descriptors.soap_points import PROJECTION_TOLERANCE, SoapPoints
from tests.samples import cluster, crystal, soap_arguments


def soap(n_max: int = 5, l_max: int = 4) -> Soap:
    return Soap(soap_basis(soap_arguments(species=["Si"], n_max=n_max, l_max=l_max)))


def sites_of(soap: Soap, structures: list[Atoms], points: SoapPoints | None = None) -> list[SoapSites]:
    neighbours = NeighbourList(soap.reach)
    return [soap.sites(neighbours.pairs(to_frame(atoms, labels=False)), (14,), points) for atoms in structures]


def vectors(soap: Soap, structures: list[Atoms]) -> np.ndarray:
    return np.concatenate([sites.x_sd for sites in sites_of(soap, structures)])


def far_away() -> list[Atoms]:
    """Environments that look like nothing in the data: squeezed, stretched, torn apart."""
    found = []
    for k, scale in enumerate((0.6, 0.8, 1.3, 1.6)):
        atoms = cluster(k, "Si6")
        atoms.positions *= scale
        atoms.rattle(0.4 * scale, seed=k)
        found.append(atoms)
    return [*found, Atoms("Si")]


def test_projection_keeps_the_kernel_of_any_environment() -> None:
    native = soap()
    x_mf = vectors(native, [crystal(k) for k in range(15)])  # 30 points of 75 features, nearly alike
    points = native.points(x_mf)
    assert points.map_fd is not None
    assert points.x_md.shape[1] == sum(points.widths_l) < 60
    assert points.map_fd.T @ points.map_fd == pytest.approx(np.eye(len(points.map_fd.T)), abs=1e-13)
    dropped_mf = x_mf - points.x_md @ points.map_fd.T
    assert np.linalg.norm(dropped_mf, 2) <= PROJECTION_TOLERANCE * np.linalg.norm(x_mf, 2) * np.sqrt(5)  # l = 0 … 4
    for full, projected in zip(sites_of(native, far_away()), sites_of(native, far_away(), points), strict=True):
        lost = np.abs(projected.x_sd @ points.x_md.T - full.x_sd @ x_mf.T)
        assert np.all(lost <= np.linalg.norm(dropped_mf, axis=1) + 1e-14)
        assert projected.full_sd == pytest.approx(full.x_sd, abs=1e-15)


def test_projection_keeps_the_derivatives() -> None:
    native = soap()
    x_mf = vectors(native, [crystal(k) for k in range(15)])
    points = native.points(x_mf)
    plain = SoapPoints(native.basis, points.x_md @ points.map_fd.T)
    alpha = np.random.default_rng(0).normal(size=len(x_mf))
    pairs = zip(sites_of(native, far_away()[:4], points), sites_of(native, far_away()[:4], plain), strict=True)
    for projected, full in pairs:
        rows = [sites.jacobian().meet(sites.jacobian().rows_qcx) for sites in (projected, full)]
        assert rows[0] == pytest.approx(rows[1], abs=1e-13 * np.max(np.abs(rows[1])))
        pulls = [
            sites.pullback(np.tile(alpha @ p.x_md, (6, 1)), None) for sites, p in [(projected, points), (full, plain)]
        ]
        assert pulls[0] == pytest.approx(pulls[1], abs=1e-12 * np.max(np.abs(pulls[1])))


def test_few_points_are_left_as_they_are() -> None:
    """The map costs more than it saves when the points are fewer than what it would keep."""
    native = soap(n_max=3, l_max=2)
    x_mf = vectors(native, [cluster(0)])
    points = native.points(x_mf)
    assert points.map_fd is None
    assert np.array_equal(points.x_md, x_mf)


def test_points_are_not_changed() -> None:
    native = soap()
    x_mf = vectors(native, [crystal(k) for k in range(15)])
    kept = x_mf.copy()
    native.points(x_mf)
    assert np.array_equal(x_mf, kept)

"""dscribe as the engine: the oracle for the native one, and the fallback for the polynomial basis."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from dscribe.descriptors import SOAP

from gapkit import GAP, Noise, SoapTerm
from gapkit.atoms.labels import to_frame
from gapkit.atoms.neighbours import NeighbourList
from gapkit.descriptors.basis import soap_basis
from gapkit.descriptors.dscribe import DscribeSoap
from gapkit.descriptors.soap import Soap
from gapkit.errors import ConfigError
from gapkit.model.soap_term import soap_descriptor
from tests.samples import atom, cluster, crystal, soap_arguments

# no pair of the crystal is near the cutoff, where differences straddle a jump of the second derivative
ATOMS = {
    "crystal": crystal(6, symbols="SiC"),
    "cluster": cluster(3, "SiCSi2C2"),
    "atoms": Atoms("SiC", 30 * np.eye(2, 3)),
}
KINDS: dict[str, dict[str, Any]] = {
    "gto": {},
    "mu1nu1": {"compression": {"mode": "mu1nu1", "species_weighting": {"Si": 0.5, "C": 1.5}}},
    "unweighted": {"weighting": None},
    "polynomial": {"rbf": "polynomial"},
}


def arguments(kind: str) -> dict[str, Any]:
    return soap_arguments(species=["Si", "C"], n_max=2, l_max=2, **KINDS[kind])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ATOMS)
def test_values_are_dscribes(name: str, kind: str) -> None:
    atoms = ATOMS[name]
    soap = DscribeSoap(soap_basis(arguments(kind)))
    found = soap.values(NeighbourList(soap.reach).pairs(to_frame(atoms, labels=False)))
    expected = SOAP(**arguments(kind), periodic=bool(atoms.pbc.any())).create(atoms)
    assert found == pytest.approx(expected, abs=1e-12 * np.max(np.abs(expected)))


@pytest.mark.parametrize("kind", ["gto", "mu1nu1", "unweighted"])
@pytest.mark.parametrize("name", ["crystal", "cluster"])
def test_derivatives_are_the_native_ones(rng: np.random.Generator, name: str, kind: str) -> None:
    basis = soap_basis(arguments(kind))
    frame = to_frame(ATOMS[name], labels=False)
    x_mf = rng.normal(size=(3, basis.n_features))
    for channel in [(6,), (14,)]:
        rows, pulls = [], []
        for soap in (DscribeSoap(basis), Soap(basis)):
            part = soap.pairs_of(NeighbourList(soap.reach).pairs(frame), channel)
            sites = soap.sites(part, channel, points := soap.points(x_mf))
            jacobian = sites.jacobian()
            rows.append(jacobian.meet(jacobian.rows_qcx)[np.argsort(jacobian.pair_q)])
            pulls.append(sites.pullback(np.tile(points.x_md.sum(axis=0), (len(sites.x_sd), 1)), None))
        assert rows[0] == pytest.approx(rows[1], abs=1e-8 * np.max(np.abs(rows[1])))
        assert pulls[0] == pytest.approx(pulls[1], abs=1e-8 * np.max(np.abs(pulls[1])))


def test_engine_is_chosen_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    gto, polynomial = soap_basis(arguments("gto")), soap_basis(arguments("polynomial"))
    caplog.set_level(logging.INFO, logger="gapkit")
    assert isinstance(soap_descriptor(gto), Soap)
    assert isinstance(soap_descriptor(gto, "native"), Soap)
    assert not caplog.records
    assert isinstance(soap_descriptor(polynomial), DscribeSoap)
    assert "dscribe with numerical derivatives" in caplog.text
    assert isinstance(soap_descriptor(gto, "dscribe"), DscribeSoap)
    with pytest.raises(ConfigError, match="polynomial"):
        soap_descriptor(polynomial, "native")
    with pytest.raises(ConfigError, match="did you mean 'native'"):
        soap_descriptor(gto, "nativ")


def test_a_cutoff_that_jumps_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    soap_descriptor(soap_basis(arguments("unweighted")))
    assert "forces jump" in caplog.text


def test_both_engines_fit_the_same_model() -> None:
    frames = [atom(), crystal(1), cluster(2, "Si3")]
    noise = Noise(energy=0.01, forces=0.1, stress=0.05)
    native, slow = (
        GAP([SoapTerm(soap_arguments(n_max=2), zeta=2, n_sparse=5, engine=engine)], noise).fit(frames)
        for engine in ("native", "dscribe")
    )
    for test in (crystal(8), cluster(8)):
        one, two = native.predict(test, {"forces", "energy_std"}), slow.predict(test, {"forces", "energy_std"})
        assert two.energy == pytest.approx(one.energy, abs=1e-7)
        assert two.forces == pytest.approx(one.forces, abs=1e-7)
        assert two.energy_epistemic_std == pytest.approx(one.energy_epistemic_std, rel=1e-6)


def test_polynomial_basis_gives_forces_and_stress_of_its_energy() -> None:
    soap = soap_arguments(n_max=2, l_max=1, rbf="polynomial")
    model = GAP([SoapTerm(soap, zeta=2, n_sparse=3)]).fit([atom(), crystal(1), crystal(2)])
    test, step = crystal(5), 1e-4
    p = model.predict(test)
    moved = [test.copy() for _ in range(2)]
    for atoms, sign in zip(moved, (1, -1), strict=True):
        atoms.positions[1, 2] += sign * step
    slope = (model.predict(moved[0]).energy - model.predict(moved[1]).energy) / (2 * step)
    assert p.forces[1, 2] == pytest.approx(-slope, abs=1e-6)
    strained = [test.copy() for _ in range(2)]
    for atoms, sign in zip(strained, (1, -1), strict=True):
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + sign * step * np.diag([0, 1, 0])), scale_atoms=True)
    slope = (model.predict(strained[0]).energy - model.predict(strained[1]).energy) / (2 * step)
    assert p.stress[1] * test.get_volume() == pytest.approx(slope, abs=1e-6)

"""Distances of bonds: sites, weights and both directions of the gradient, against a complex step."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms

from gapkit.atoms.labels import to_frame
from gapkit.atoms.neighbours import NeighbourList, Pairs
from gapkit.descriptors.pair import PairDistances
from tests.reference.latent import PairGP
from tests.reference.soap_legendre import STRAINS_vcc
from tests.samples import cluster, crystal

R_CUT, WIDTH = 3.4, 1.2


def cutoff(r: np.ndarray) -> np.ndarray:
    """1 - 10 u³ + 15 u⁴ - 6 u⁵ between r_cut - width and r_cut, of real or complex r."""
    u = (r - (R_CUT - WIDTH)) / WIDTH
    inside = np.where(np.real(u) < 0.0, 0.0, np.where(np.real(u) > 1.0, 1.0, u))
    return 1.0 - inside**3 * (10.0 - 15.0 * inside + 6.0 * inside**2)


def pairs_of(atoms: Atoms) -> Pairs:
    return NeighbourList(5.0).pairs(to_frame(atoms, labels=False))


def by_coordinates(part: Pairs, gradient_pc: np.ndarray) -> np.ndarray:
    """Derivatives by the 3N coordinates and the 6 strains, from those by the pair vectors."""
    strain = np.einsum("vcd,pd,pc->v", STRAINS_vcc, part.r_pc, gradient_pc)
    return np.append(-part.forces(gradient_pc).ravel(), strain)


@pytest.mark.parametrize("channel", [(6, 6), (6, 14), (14, 14)])
@pytest.mark.parametrize("atoms", [cluster(1, "SiCSi2C2"), crystal(2, symbols="SiC")], ids=["cluster", "crystal"])
def test_sites_and_gradients_are_the_reference(
    rng: np.random.Generator, atoms: Atoms, channel: tuple[int, int]
) -> None:
    descriptor = PairDistances([14, 6], R_CUT, WIDTH)
    part = descriptor.pairs_of(pairs_of(atoms), channel)
    group_p, owner_e, x_ed, dx_ebd, w_e, dw_eb = PairGP(R_CUT, cutoff, 1.0, 1.0, only=channel).sites(atoms)
    assert set(group_p) <= {channel}
    sites = descriptor.sites(part, channel)
    order, expected = (np.lexsort((x[:, 0].round(8), e)) for x, e in ((sites.x_sd, sites.centre_s), (x_ed, owner_e)))
    assert sites.centre_s[order].tolist() == owner_e[expected].tolist()
    assert sites.x_sd[order] == pytest.approx(x_ed[expected], abs=1e-12)
    assert sites.full_sd is sites.x_sd
    assert sites.weight_s is not None
    assert sites.weight_s[order] == pytest.approx(w_e[expected], abs=1e-12)
    # functions of the distances whose values mark the sites: energy Σ w_s · x_s (x_s + 1)
    x = sites.x_sd
    pulled = sites.pullback(sites.weight_s[:, None] * (2.0 * x + 1.0), (x * (x + 1.0))[:, 0])
    exact = (w_e[:, None] * (2.0 * x_ed + 1.0) * dx_ebd[:, :, 0] + dw_eb * x_ed * (x_ed + 1.0)).sum(axis=0)
    assert by_coordinates(part, pulled) == pytest.approx(exact, abs=1e-11 * np.max(np.abs(exact)))


def test_jacobian_is_what_the_pullback_transposes(rng: np.random.Generator) -> None:
    descriptor = PairDistances([14], R_CUT, WIDTH)
    part = descriptor.pairs_of(pairs_of(crystal(1)), (14, 14))
    points = descriptor.points(np.array([[2.0], [2.5], [3.1]]))
    sites = descriptor.sites(part, (14, 14), points)
    rows = sites.jacobian()
    gx_s, gw_s = rng.normal(size=(2, len(sites.x_sd)))
    pulled = sites.pullback(gx_s[:, None], gw_s)
    expected = np.zeros_like(part.r_pc)
    np.add.at(expected, rows.pair_q, rows.rows_qcx[:, :, 0] * gx_s[rows.site_q, None])
    assert rows.weight_slope_qc is not None
    np.add.at(expected, rows.pair_q, rows.weight_slope_qc * gw_s[rows.site_q, None])
    assert pulled == pytest.approx(expected, abs=1e-14)
    assert rows.meet(rows.rows_qcx) == pytest.approx(rows.rows_qcx * [2.0, 2.5, 3.1], abs=1e-15)
    assert rows.along_qc == pytest.approx(rows.rows_qcx[:, :, 0] * sites.x_sd[rows.site_q], abs=1e-14)


def test_channels_are_unordered_pairs_of_elements() -> None:
    descriptor = PairDistances([14, 1, 6], R_CUT, WIDTH)
    assert descriptor.species == (1, 6, 14)
    assert list(descriptor.channels) == [(1, 1), (1, 6), (1, 14), (6, 6), (6, 14), (14, 14)]


def test_each_bond_is_found_from_both_ends_and_counts_half() -> None:
    descriptor = PairDistances([6, 14], R_CUT, WIDTH)
    sites = descriptor.sites(descriptor.pairs_of(pairs_of(Atoms("SiC", [[0, 0, 0], [0, 0, 2]])), (6, 14)), (6, 14))
    assert sites.centre_s.tolist() == [0, 1]
    assert sites.weight_s == pytest.approx([0.5, 0.5])

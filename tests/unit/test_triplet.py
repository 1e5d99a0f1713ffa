"""Triangles: features, weights and both directions of the gradient, against loops with a complex step; the term."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from ase import Atoms

from gapkit import ConfigError, TripletTerm
from gapkit.atoms.labels import to_frame, to_frames
from gapkit.atoms.neighbours import NeighbourList, Pairs
from gapkit.descriptors.triangles import two_of_each
from gapkit.descriptors.triplet import Triplets
from gapkit.gp.design import _block_size
from gapkit.gp.term import SparseTerm
from tests.reference.soap_legendre import STRAINS_vcc
from tests.reference.three_body import TripletGP
from tests.samples import atom, cluster, crystal

R_CUT, WIDTH, SCALES = 3.4, 1.2, (0.9, 0.7, 1.3)
WATER = Atoms("OHH", [[0, 0, 0], [1.0, 0, 0], [0, 1.2, 0]])


def pairs_of(atoms: Atoms, r_cut: float = 5.0) -> Pairs:
    return NeighbourList(r_cut).pairs(to_frame(atoms, labels=False))


def by_coordinates(part: Pairs, gradient_pc: np.ndarray) -> np.ndarray:
    """Derivatives by the 3N coordinates and the 6 strains, from those by the pair vectors."""
    strain = np.einsum("vcd,pd,pc->v", STRAINS_vcc, part.r_pc, gradient_pc)
    return np.append(-part.forces(gradient_pc).ravel(), strain)


def sites_by_channel(descriptor: Triplets, pairs: Pairs) -> Iterator[tuple[tuple[int, ...], Pairs, Any]]:
    for channel in descriptor.channels:
        part = descriptor.pairs_of(pairs, channel)
        if len(part.centres_e):
            yield channel, part, descriptor.sites(part, channel)


@pytest.mark.parametrize("atoms", [cluster(1, "SiCSi2C2"), crystal(2, symbols="SiC")], ids=["cluster", "crystal"])
def test_sites_and_gradients_are_the_reference(atoms: Atoms) -> None:
    group_e, owner_e, x_ed, dx_ebd, w_e, dw_eb = TripletGP(R_CUT, WIDTH, SCALES, 1.0).sites(atoms)
    found = set()
    for channel, part, sites in sites_by_channel(Triplets([14, 6], R_CUT, WIDTH, SCALES), pairs_of(atoms)):
        found.add(channel)
        mine = np.array([g == channel for g in group_e])
        assert len(sites.x_sd) == mine.sum()
        keys = (
            (x.round(7)[:, 2], x.round(7)[:, 0], x.round(7)[:, 1], e)
            for x, e in ((sites.x_sd, sites.centre_s), (x_ed[mine], owner_e[mine]))
        )
        order, expected = (np.lexsort(key) for key in keys)
        assert sites.centre_s[order].tolist() == owner_e[mine][expected].tolist()
        assert sites.x_sd[order] == pytest.approx(x_ed[mine][expected], abs=1e-12)
        assert sites.full_sd is sites.x_sd
        assert sites.weight_s[order] == pytest.approx(w_e[mine][expected], abs=1e-12)
        # E = Σ w_s (x·a + (x·b)²): all features, each with a slope of its own
        a, b = np.array([0.3, -1.1, 0.7]), np.array([0.5, 0.2, -0.4])
        x = sites.x_sd
        pulled = sites.pullback(sites.weight_s[:, None] * (a + 2.0 * (x @ b)[:, None] * b), x @ a + (x @ b) ** 2)
        x, dx, w, dw = x_ed[mine], dx_ebd[mine], w_e[mine], dw_eb[mine]
        slope = a + 2.0 * (x @ b)[:, None] * b
        exact = np.einsum("e,ebd,ed->b", w, dx, slope) + dw.T @ (x @ a + (x @ b) ** 2)
        assert by_coordinates(part, pulled) == pytest.approx(exact, abs=1e-11 * np.abs(exact).max())
    assert found == set(group_e)


def test_jacobian_is_what_the_pullback_transposes(rng: np.random.Generator) -> None:
    descriptor = Triplets([6, 14], R_CUT, WIDTH, SCALES)
    points = descriptor.points(rng.normal(size=(4, 3)))
    for channel, part, _ in sites_by_channel(descriptor, pairs_of(crystal(1, symbols="SiC"))):
        sites = descriptor.sites(part, channel, points)
        rows = sites.jacobian()
        gx_sd, gw_s = rng.normal(size=sites.x_sd.shape), rng.normal(size=len(sites.x_sd))
        expected = np.zeros_like(part.r_pc)
        np.add.at(expected, rows.pair_q, np.einsum("qcd,qd->qc", rows.rows_qcx, gx_sd[rows.site_q]))
        np.add.at(expected, rows.pair_q, rows.weight_slope_qc * gw_s[rows.site_q, None])
        assert sites.pullback(gx_sd, gw_s) == pytest.approx(expected, abs=1e-13)
        assert rows.meet(rows.rows_qcx) == pytest.approx(np.einsum("qcd,md->qcm", rows.rows_qcx, points.x_md))
        along = np.einsum("qcd,qd->qc", rows.rows_qcx, sites.x_sd[rows.site_q])
        assert rows.along_qc == pytest.approx(along, abs=1e-13)
        assert np.all(np.diff(rows.site_q) >= 0)


def test_water_by_hand() -> None:
    """Legs of 1 and 1.2 Å at a right angle."""
    far = np.sqrt(2.44)
    descriptor = Triplets([1, 8], 4.0, 1.0, (2.0, 0.5, 4.0))
    found = {c: sites for c, _, sites in sites_by_channel(descriptor, pairs_of(WATER))}
    assert set(found) == {(8, 1, 1), (1, 1, 8)}
    assert found[8, 1, 1].x_sd == pytest.approx(np.array([[1.1, 0.08, far / 4]]), abs=1e-14)
    assert found[8, 1, 1].weight_s == pytest.approx([1.0])
    # from each hydrogen: j is the other hydrogen, k the oxygen
    expected = [[(far + 1.0) / 2, (far - 1.0) / 0.5, 1.2 / 4], [(far + 1.2) / 2, (far - 1.2) / 0.5, 1.0 / 4]]
    assert found[1, 1, 8].x_sd == pytest.approx(np.array(expected), abs=1e-14)
    assert found[1, 1, 8].centre_s.tolist() == [1, 2]
    # a cutoff at 1.5 Å of width 1: u = 0.7 for the leg of 1.2 Å, u = 0.5 for that of 1 Å, H-H beyond
    near = {c: s for c, _, s in sites_by_channel(Triplets([1, 8], 1.5, 1.0, (1.0, 1.0, 1.0)), pairs_of(WATER))}
    assert set(near) == {(8, 1, 1)}
    assert near[8, 1, 1].weight_s == pytest.approx([0.5 * (1 - 3.43 + 15 * 0.2401 - 6 * 0.16807)], abs=1e-12)


def test_order_of_neighbours_has_no_meaning() -> None:
    descriptor = Triplets([1, 6, 8], 4.0, 1.0, SCALES)
    atoms = Atoms("CHHOO", [[0, 0, 0], [1, 0.2, 0], [0, 1.1, 0], [0.3, 0, 1.2], [-1.2, 0.1, -0.2]])
    for order in ([0, 2, 1, 3, 4], [4, 3, 2, 1, 0]):
        turned = {c: s for c, _, s in sites_by_channel(descriptor, pairs_of(atoms[order]))}
        for channel, _, sites in sites_by_channel(descriptor, pairs_of(atoms)):
            one, other = (np.sort(x.round(10).view("f8,f8,f8").ravel()) for x in (sites.x_sd, turned[channel].x_sd))
            assert (one == other).all()


def test_two_of_each() -> None:
    first, second = two_of_each(np.array([0, 0, 0, 2, 3, 3]))
    assert list(zip(first.tolist(), second.tolist(), strict=True)) == [(0, 1), (0, 2), (1, 2), (4, 5)]
    assert [len(x) for x in two_of_each(np.empty(0, dtype=int))] == [0, 0]


def test_centres_without_triangles_are_left_out() -> None:
    """A dimer has legs; a mixed channel needs both elements."""
    descriptor = Triplets([6, 14], R_CUT, WIDTH, SCALES)
    for channel in descriptor.channels:
        part = descriptor.pairs_of(pairs_of(Atoms("SiC", [[0, 0, 0], [0, 0, 2]])), channel)
        assert (len(part.centres_e), len(part.e_p)) == (0, 0)
        assert descriptor.sites(part, channel).x_sd.shape == (0, 3)
    chain = pairs_of(Atoms("CSiC", [[0, 0, 0], [0, 0, 2], [0, 0, 4]]))
    assert [c for c in descriptor.channels if len(descriptor.pairs_of(chain, c).e_p)] == [(14, 6, 6)]


def test_channels_are_a_centre_and_two_ends() -> None:
    assert list(Triplets([14, 6], 3.0, 1.0, SCALES).channels) == [
        (6, 6, 6), (6, 6, 14), (6, 14, 14), (14, 6, 6), (14, 6, 14), (14, 14, 14),
    ]  # fmt: skip


def chosen(term: TripletTerm, structures: list[Atoms], seed: int = 0, **more: Any) -> SparseTerm:
    return term.choose("triplet0", to_frames(structures), np.random.default_rng(seed), **more)


def test_points_are_triangles_of_the_data_and_far_apart() -> None:
    structures = [crystal(k) for k in range(3)] + [cluster(4)]
    term = chosen(TripletTerm(R_CUT, n_sparse=12), structures)
    (x_md,) = (p.x_md for p in term.points.values())
    descriptor = Triplets([14], R_CUT, 1.0, (1.0, 1.0, 1.0))
    all_x = np.concatenate([s.x_sd for a in structures for _, _, s in sites_by_channel(descriptor, pairs_of(a))])
    to_data = np.linalg.norm(x_md[:, None] - all_x, axis=2)
    assert to_data.min(axis=1) == pytest.approx(np.zeros(12))
    apart = np.linalg.norm(x_md[:, None] - x_md, axis=2) + 9 * np.eye(12)
    assert to_data.min(axis=0).max() <= apart.min()  # what defines the choice: none left is farther than they are
    assert not term.origins


def test_choice_is_reproducible_and_bounded() -> None:
    structures = [crystal(k, symbols="SiC") for k in range(4)]
    term = TripletTerm(4.5, n_sparse=10**6)
    everything, few = chosen(term, structures), chosen(term, structures, pool=24.0 * 6 * 4 * 7)
    assert everything.n_columns > 4 * len(few.points) * 7
    sizes = [len(p.x_md) for p in few.points.values()]
    assert (max(sizes), min(sizes) > 20) == (28, True)  # 7 of each of 4 frames, some equal by symmetry
    for again in (chosen(term, structures, pool=24.0 * 6 * 4 * 7), chosen(term, structures, pool=4032.0, n_jobs=2)):
        assert all((again.points[c].x_md == few.points[c].x_md).all() for c in few.points)
    other = chosen(term, structures, seed=1, pool=4032.0)
    assert any((other.points[c].x_md != few.points[c].x_md).any() for c in few.points)


def test_channels_without_data_are_absent() -> None:
    term = chosen(TripletTerm(R_CUT), [Atoms("CSiC", [[0, 0, 0], [0, 0, 2], [0, 0, 4]])])
    assert set(term.points) == {(14, 6, 6)}


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"r_cut": 0.9}, "r_cut > 1"),
        ({"r_cut": "wide"}, "TripletTerm.r_cut"),
        ({"width": 4.0}, "width below r_cut"),
        ({"theta": (1.0, 2.0)}, "three"),
        ({"theta": (1.0, 2.0, -1.0)}, "theta > 0"),
        ({"theta": 0.0}, "theta > 0"),
        ({"n_sparse": 0}, "at least 1"),
        ({"delta": -1.0}, "delta > 0"),
        ({"r_cut": 1.1}, "increase r_cut"),
    ],
)
def test_settings_outside_their_range(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        chosen(TripletTerm(**{"width": 0.5, **settings}), [crystal(0), atom()])


def test_blocks_have_few_centres_where_triangles_are_many() -> None:
    """The kernel values of a block are bounded by its bytes."""
    pairs = pairs_of(crystal(0).repeat(3), 5.5)
    term = chosen(TripletTerm(5.0, n_sparse=50), [crystal(0)])
    size = _block_size(term, pairs, 1e6)
    (channel,) = term.points
    block = next(iter(term.descriptor.pairs_of(pairs, channel).blocks(size)))
    n_bytes = 8 * 50 * len(term.descriptor.sites(block, channel).x_sd)
    assert 0.2e6 < n_bytes < 0.6e6

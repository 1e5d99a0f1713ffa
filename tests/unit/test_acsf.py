"""Symmetry functions: dscribe's values, both directions of the gradient against a complex step; the term."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.geometry import complete_cell
from dscribe.descriptors import ACSF

from gapkit import GAP, ACSFTerm, ConfigError, Noise, SpeciesError, load
from gapkit.atoms.labels import to_frame, to_frames
from gapkit.atoms.neighbours import NeighbourList, Pairs
from gapkit.descriptors.acsf import Acsf
from gapkit.descriptors.symmetry import SymmetryFunctions, _power
from gapkit.gp.term import SparseTerm
from gapkit.model.acsf_term import default_functions
from gapkit.testing import zoo
from tests.reference.soap_legendre import STRAINS_vcc
from tests.reference.three_body import AcsfGP
from tests.samples import atom, cluster, crystal, frames, two_species

G2, G3 = [[0.3, 0.0], [1.0, 1.5], [2.0, 3.0]], [1.0, 2.3]
G4 = [[0.01, 1, 1], [0.01, 1, -1], [0.05, 4, 1], [0.02, 2.5, 0.5]]
G5 = [[0.03, 16, -1], [0.03, 1, 0.7], [0.1, 3, 1]]
ALL = {"g2_params": G2, "g3_params": G3, "g4_params": G4, "g5_params": G5}
SETS = [ALL, {}, *({name: value} for name, value in ALL.items()), {"g2_params": G2, "g5_params": G5}]


def pairs_of(atoms: Atoms, r_cut: float = 5.0) -> Pairs:
    return NeighbourList(r_cut).pairs(to_frame(atoms, labels=False))


def values(descriptor: Acsf, atoms: Atoms) -> np.ndarray:
    """Features of all atoms."""
    x_ef = np.empty((len(atoms), descriptor.functions.n_features))
    for channel in descriptor.channels:
        part = descriptor.pairs_of(pairs_of(atoms), channel)
        if len(part.centres_e):
            sites = descriptor.sites(part, channel)
            x_ef[sites.centre_s] = sites.x_sd
    return x_ef


@pytest.mark.parametrize(
    ("species", "r_cut"), [(("Si",), 4.1), (("Na", "Cl"), 4.7), (("O", "H", "C"), 2.4)], ids=["Si", "NaCl", "OHC"]
)
def test_features_are_those_of_dscribe(species: tuple[str, ...], r_cut: float) -> None:
    """All types of function, alone and together; crystals, a slab, a wire, molecules, the isolated atom."""
    for name, atoms in zoo(species).items():
        if atoms.pbc.any():
            atoms.set_cell(complete_cell(atoms.cell) * np.where(atoms.pbc, 1.0, 30.0)[:, None])
        for parameters in SETS if len(atoms) <= 3 else [ALL]:
            arguments = {"species": list(species), "r_cut": r_cut, **parameters}
            dscribe = ACSF(**arguments, periodic=bool(atoms.pbc.any()))
            functions = SymmetryFunctions.of(arguments, ())
            assert functions.n_features == dscribe.get_number_of_features()
            exact = dscribe.create(atoms)
            assert values(Acsf(functions), atoms) == pytest.approx(exact, rel=1e-11, abs=1e-11), name


@pytest.mark.parametrize("atoms", [cluster(1, "SiCSi2C2"), crystal(2, symbols="SiC")], ids=["cluster", "crystal"])
def test_gradients_are_the_reference(atoms: Atoms, rng: np.random.Generator) -> None:
    arguments = {"r_cut": 3.4, "species": [6, 14], **ALL}
    functions = SymmetryFunctions.of(arguments, ())
    scale = dict(zip([(6,), (14,)], rng.uniform(0.5, 2.0, (2, functions.n_features)), strict=True))
    descriptor = Acsf(functions, scale)
    _, _, x_ed, dx_ebd, _, _ = AcsfGP(arguments, {c[0]: s for c, s in scale.items()}, 1.0, 1.0).sites(atoms)
    a_d, b_d = rng.normal(size=(2, functions.n_features))
    for channel in descriptor.channels:
        part = descriptor.pairs_of(pairs_of(atoms), channel)
        sites, mine = descriptor.sites(part, channel), np.flatnonzero(atoms.numbers == channel[0])
        assert sites.centre_s.tolist() == mine.tolist()
        assert sites.x_sd == pytest.approx(x_ed[mine], rel=1e-12, abs=1e-12)
        assert sites.full_sd is sites.x_sd
        slope = a_d + 2.0 * (sites.x_sd @ b_d)[:, None] * b_d
        pulled = sites.pullback(slope)
        strain = np.einsum("vcd,pd,pc->v", STRAINS_vcc, part.r_pc, pulled)
        exact = np.einsum("ebd,ed->b", dx_ebd[mine], slope)
        size = np.abs(exact).max()
        assert np.append(-part.forces(pulled).ravel(), strain) == pytest.approx(exact, abs=1e-12 * size)
        rows = sites.jacobian()
        assert rows.pair_q.tolist() == list(range(len(part.e_p)))
        again = np.einsum("qcd,qd->qc", rows.rows_qcx, slope[rows.site_q])
        assert again == pytest.approx(pulled, abs=1e-12 * size)
        along = np.einsum("qcd,qd->qc", rows.rows_qcx, sites.x_sd[rows.site_q])
        assert rows.along_qc == pytest.approx(along, abs=1e-12 * np.abs(along).max())
        points = descriptor.points(rng.normal(size=(3, functions.n_features)))
        met = descriptor.sites(part, channel, points).jacobian().meet(rows.rows_qcx)
        assert met == pytest.approx(np.einsum("qcd,md->qcm", rows.rows_qcx, points.x_md), rel=1e-12, abs=1e-9)


def test_batches_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    functions = SymmetryFunctions.of({"r_cut": 4.5, **ALL}, [14])
    part = pairs_of(crystal(0).repeat(2), 4.5)

    def everything() -> tuple[np.ndarray, ...]:
        sites = Acsf(functions).sites(part, (14,))
        return sites.x_sd, sites.pullback(np.ones_like(sites.x_sd)), sites.jacobian().rows_qcx

    whole = everything()
    monkeypatch.setattr("gapkit.descriptors.acsf._BATCH", 1000)
    monkeypatch.setattr("gapkit.descriptors.acsf._KEPT", 0)
    for before, after in zip(whole, everything(), strict=True):
        assert after == pytest.approx(before, rel=1e-12, abs=1e-12)


def test_forces_of_straight_angles_are_finite() -> None:
    """1 + λ cos θ is zero there, and may come out below it."""
    functions = SymmetryFunctions.of({"r_cut": 4.0, "g4_params": [[0.1, 1, 1], [0.1, 1.5, 1]]}, [14])
    for far in (1.0, 1.7, 2.3):
        sites = Acsf(functions).sites(pairs_of(Atoms("Si3", [[0, 0, 0], [far, 0, 0], [-1.3, 0, 0]]), 4.0), (14,))
        assert np.isfinite(sites.x_sd).all()
        assert np.isfinite(sites.jacobian().rows_qcx).all()
        assert (sites.x_sd >= 0.0).all()


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0, 3.0, 15.0, 64.0, 0.5, 2.7, 100.0])
def test_powers(exponent: float) -> None:
    base = np.linspace(0.0, 1.0, 11)
    assert _power(base, exponent) == pytest.approx(base**exponent, rel=1e-13)


def test_arguments_may_be_a_dscribe_object() -> None:
    given = {"r_cut": 4.5, "species": ["C", "H"], **ALL}
    functions = SymmetryFunctions.of(ACSF(**given), [8])
    assert functions == SymmetryFunctions.of({**given, "periodic": True}, [8])
    assert functions.species == (1, 6)
    assert SymmetryFunctions.of(functions.arguments, ()) == functions
    assert SymmetryFunctions.of({"r_cut": 3, "g2_params": []}, [8]) == SymmetryFunctions((8,), 3.0)
    assert SymmetryFunctions((8,), 3.0).arguments["g4_params"] is None


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (3.0, "no dscribe ACSF"),
        ({"r_cut": 3.0, "g2": [[1, 2]]}, "g2_params"),
        ({"g2_params": [[1, 2]]}, "no r_cut"),
        ({"r_cut": -3.0}, "r_cut > 0"),
        ({"r_cut": 3.0, "g2_params": [1, 2]}, "2 finite numbers a row"),
        ({"r_cut": 3.0, "g2_params": [[1, 2], [3]]}, "no table of numbers"),
        ({"r_cut": 3.0, "g2_params": [[-1, 2]]}, "η ≥ 0"),
        ({"r_cut": 3.0, "g3_params": [[1.0]]}, "a list of κ"),
        ({"r_cut": 3.0, "g4_params": [[0.1, 0.5, 1]]}, "ζ ≥ 1"),
        ({"r_cut": 3.0, "g5_params": [[0.1, 2, -1.1]]}, "λ from -1 to 1"),
        ({"r_cut": 3.0, "g5_params": [[np.nan, 2, -1]]}, "finite"),
        ({"r_cut": 3.0, "species": ["Xx"]}, "no element"),
    ],
)
def test_arguments_outside_their_range(given: Any, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        SymmetryFunctions.of(given, [14])


def test_default_functions_by_hand() -> None:
    found = default_functions(5.0)
    g2, g4 = np.array(found["g2_params"]), np.array(found["g4_params"])
    assert g2[:6, 0] == pytest.approx(np.array([1.0, 1.903654, 3.623898, 6.898648, 13.132639, 25.0]) / 25.0, rel=1e-6)
    assert (g2[:6, 1] == 0.0).all()
    assert g2[6:, 1] == pytest.approx([3.623898, 2.626528, 1.903654, 1.379730, 1.0], rel=1e-6)
    assert g2[10, 0] == pytest.approx(0.379730**-2, rel=1e-5)
    assert g2[6, 0] == pytest.approx((5.0 - 3.623898) ** -2, rel=1e-6)
    assert len(g4) == 18
    assert set(g4[:, 1]) == {1.0, 4.0, 16.0}
    assert set(g4[:, 2]) == {-1.0, 1.0}
    assert sorted(set(g4[:, 0])) == pytest.approx(g2[:3, 0])


def chosen(term: ACSFTerm, structures: list[Atoms], **more: Any) -> SparseTerm:
    return term.choose("acsf0", to_frames(structures), np.random.default_rng(0), **more)


SMALL = {"r_cut": 3.6, "g2_params": G2, "g4_params": G4[:2]}


def test_scales_are_standard_deviations_per_element() -> None:
    structures = two_species(6)
    term = chosen(ACSFTerm(SMALL, n_sparse=20), structures)
    bare = Acsf(term.descriptor.functions)
    x_ef = np.concatenate([values(bare, atoms) for atoms in structures])
    numbers = np.concatenate([atoms.numbers for atoms in structures])
    root = np.sqrt(x_ef.shape[1])
    for (z,), scale in term.descriptor.scale.items():
        assert scale == pytest.approx(root * x_ef[numbers == z].std(axis=0), rel=1e-10)
    again = chosen(ACSFTerm(SMALL, n_sparse=20), structures, n_jobs=2)
    assert all((again.points[c].x_md == term.points[c].x_md).all() for c in term.points)


def test_features_that_do_not_vary_have_a_scale() -> None:
    """No carbon: zero for its functions; one environment: a thousandth of the value."""
    dimer = Atoms("Si2", [[0, 0, 0], [0, 0, 2.3]])
    term = chosen(ACSFTerm({**SMALL, "species": ["C", "Si"]}, n_sparse=2), [dimer])
    root, scale = np.sqrt(term.descriptor.functions.n_features), term.descriptor.scale[14,]
    value = values(Acsf(term.descriptor.functions), dimer)[0]
    assert scale[:4] == pytest.approx(np.full(4, root))
    assert scale[4:8] == pytest.approx(1e-3 * root * value[4:8])
    assert term.kernel.theta == 1.0  # one environment has no distances
    assert term.n_columns == 2


def test_isolated_atom_is_the_first_sparse_point_and_no_other() -> None:
    term = chosen(ACSFTerm(SMALL, n_sparse={"Si": 9, "C": 5}), [*two_species(6), atom("Si")])
    assert {c: len(p.x_md) for c, p in term.points.items()} == {(6,): 5, (14,): 9}
    for channel, points in term.points.items():
        assert not points.x_md[0].any()
        assert points.x_md[1:].any(axis=1).all()
        assert term.origins[channel].frame_m[0] == -1
        assert (term.origins[channel].frame_m[1:] >= 2).all()


def test_origins_name_the_environments() -> None:
    structures = two_species(6)
    term = chosen(ACSFTerm(SMALL, n_sparse=12), structures)
    for channel, points in term.points.items():
        origins = term.origins[channel]
        for x_d, frame, e in zip(points.x_md[1:], origins.frame_m[1:], origins.atom_m[1:], strict=True):
            assert values(term.descriptor, structures[frame])[e] == pytest.approx(x_d, rel=1e-10)
            assert structures[frame].numbers[e] == channel[0]


def test_length_scale_is_the_median_distance() -> None:
    term = chosen(ACSFTerm(SMALL, n_sparse=12), frames(6))
    x_md = term.points[14,].x_md[1:]
    distances = [np.linalg.norm(x - y) for k, x in enumerate(x_md) for y in x_md[:k]]
    assert term.kernel.theta == pytest.approx(np.median(distances), rel=1e-12)
    assert chosen(ACSFTerm(SMALL, n_sparse=12, theta=2.5), frames(6)).kernel.theta == 2.5


def test_functions_follow_from_the_cutoff() -> None:
    structures = to_frames(frames(2))
    assert ACSFTerm().functions(structures).arguments == {
        "r_cut": 5.0, **default_functions(5.0), "g3_params": None, "g5_params": None, "species": ["Si"]
    }  # fmt: skip
    assert ACSFTerm({"r_cut": 4.0}).functions(structures).g4_params == tuple(
        map(tuple, default_functions(4.0)["g4_params"])
    )
    assert ACSFTerm({"r_cut": 4.0, "g3_params": [1.0]}).functions(structures).n_features == 2
    assert ACSFTerm(ACSF(r_cut=4.0, species=["Si"])).functions(structures).n_features == 1


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"method": "farthest"}, "farthest_point"),
        ({"method": 3}, "farthest_point"),
        ({"theta": -1.0}, "theta > 0"),
        ({"delta": 0.0}, "delta > 0"),
        ({"n_sparse": 0}, "at least 1"),
        ({"n_sparse": {"Ge": 3}}, "Ge"),
    ],
)
def test_settings_outside_their_range(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        chosen(ACSFTerm(SMALL, **settings), frames(2))


def test_foreign_elements_are_refused() -> None:
    with pytest.raises(SpeciesError, match="Si"):
        chosen(ACSFTerm({**SMALL, "species": ["C"]}, n_sparse=3), frames(2))


def test_dscribe_is_not_needed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "dscribe", None)
    monkeypatch.setitem(sys.modules, "dscribe.descriptors", None)
    model = GAP([ACSFTerm(SMALL, n_sparse=5)], Noise(0.01, 0.1, None)).fit(frames(2))
    model.save(tmp_path / "m.gap")
    assert load(tmp_path / "m.gap").predict(crystal(5)).energy == model.predict(crystal(5)).energy

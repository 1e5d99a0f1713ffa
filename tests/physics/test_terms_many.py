"""Three-body terms and symmetry functions as parts of a model: laws, brute-force Gaussian processes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from ase import Atoms

from gapkit import GAP, ACSFTerm, Noise, PairTerm, SoapTerm, TripletTerm, load
from gapkit.cli.config import TERMS
from gapkit.cli.info import _SHOWN
from gapkit.cli.main import main
from gapkit.model.memory import block_size
from gapkit.model.term_kinds import TERM_KINDS
from gapkit.testing import GAPLaws, ModelLaws, zoo
from tests.physics.conftest import Fitted, soap, training_frames
from tests.physics.test_exact_gp import SIGMAS, compare, observations, predicted, queries, smooth_step
from tests.reference.gaussian_process import PairGP, ReferenceGP, SparseReference
from tests.reference.latent import Term
from tests.reference.three_body import AcsfGP, TripletGP
from tests.samples import atom, cluster, crystal

FUNCTIONS = {
    "r_cut": 4.2,
    "g2_params": [[0.3, 0.0], [1.0, 2.5]],
    "g4_params": [[0.01, 1, 1], [0.02, 4, -1]],
    "g5_params": [[0.02, 2, 1]],
}
FEW = ("primitive", "slab", "wire", "ethanol", "dimer")


@pytest.fixture(scope="module")
def hierarchy() -> Fitted:
    """Two, three and many bodies."""
    terms = [
        PairTerm(r_cut=3.8, n_sparse=8, theta=0.4),
        TripletTerm(r_cut=3.2, n_sparse=25, theta=(0.8, 0.6, 1.0)),
        SoapTerm(soap(4.2, 2, 2), zeta=2, n_sparse=15, delta=0.5),
    ]
    frames = training_frames(["Si"], copies=1)
    return Fitted(GAP(terms, Noise(0.005, 0.05, 0.01), baselines=[]).fit(frames, rng=0), frames)


@pytest.fixture(scope="module")
def functions() -> Fitted:
    """Symmetry functions of two species beside a pair and a three-body term."""
    terms = [
        PairTerm(r_cut=4.0, n_sparse=5),
        ACSFTerm(FUNCTIONS, n_sparse=20, theta=1.0),
        TripletTerm(r_cut=3.4, n_sparse=5),
    ]
    frames = training_frames(["Na", "Cl"], copies=1)
    return Fitted(GAP(terms, Noise(0.005, 0.05, 0.01), baselines=[]).fit(frames, rng=0), frames)


class TestHierarchy(GAPLaws, ModelLaws):
    species = ("Si",)

    def structures(self) -> dict[str, Atoms]:
        return {name: zoo(self.species)[name] for name in FEW}

    def others(self) -> list[Atoms]:
        return [zoo(self.species, seed=7)[name] for name in FEW]

    @pytest.fixture
    def model(self, hierarchy: Fitted) -> GAP:
        return hierarchy.model

    @pytest.fixture
    def frames(self, hierarchy: Fitted) -> list[Atoms]:
        return hierarchy.frames


class TestSymmetryFunctions(TestHierarchy):
    species = ("Na", "Cl")

    @pytest.fixture
    def model(self, functions: Fitted) -> GAP:
        return functions.model

    @pytest.fixture
    def frames(self, functions: Fitted) -> list[Atoms]:
        return functions.frames


def with_labels(symbols: str, n: int) -> list[Atoms]:
    """A crystal and clusters that differ from it."""
    return [crystal(3, symbols="Si" if symbols == "Si3" else "SiC"), *(cluster(k, symbols) for k in range(n))]


def points_of(model: GAP) -> list[Mapping[Any, np.ndarray]]:
    """Sparse points of every term, as the references take them."""
    found = [{c: p.x_md for c, p in term.points.items()} for term in model.state_.terms]
    return [{c[0]: x for c, x in own.items()} if len(next(iter(own))) == 1 else own for own in found]


def acsf_reference(term: Any) -> AcsfGP:
    """The same symmetry functions, scales and kernel."""
    functions = term.descriptor.functions
    arguments = {name: value for name, value in functions.arguments.items() if value is not None}
    arguments["species"] = list(functions.species)
    return AcsfGP(arguments, {c[0]: s for c, s in term.descriptor.scale.items()}, term.kernel.theta, term.delta)


def test_three_bodies_are_the_dense_formula() -> None:
    """Mean, variance and evidence of energies, local energies, forces and stresses, for two elements."""
    pair = PairTerm(r_cut=2.8, n_sparse=4, theta=0.7, width=1.1, delta=0.6)
    triplet = TripletTerm(2.7, n_sparse=4, theta=(0.5, 0.4, 0.6), width=0.9, delta=0.8)
    frames, elements = with_labels("SiCSi", 2), {14: "Si", 6: "C"}
    model = GAP([pair, triplet], Noise(*SIGMAS), e0={"Si": 0.0, "C": 0.0}, baselines=[]).fit(frames)
    latent: list[Term] = [
        PairGP(2.8, lambda r: smooth_step(r, 2.8, 1.1), 0.7, 0.6),
        TripletGP(2.7, 0.9, (0.5, 0.4, 0.6), 0.8),
    ]
    rows, y, sigma = observations(frames, elements)
    reference = SparseReference(latent, points_of(model)).fit(rows, y, sigma)
    compare(model, reference, rows, [crystal(7, symbols="SiC"), cluster(8, "SiCC")], y)


def test_symmetry_functions_are_the_dense_formula() -> None:
    """As above; the isolated atom is one of the sparse points."""
    functions = {**FUNCTIONS, "r_cut": 2.8, "g2_params": [[0.5, 2.0]]}
    frames, elements = with_labels("SiCSi", 2), {14: "Si", 6: "C"}
    term = ACSFTerm(functions, n_sparse={"Si": 4, "C": 3}, theta=0.7, delta=0.9)
    model = GAP([term], Noise(*SIGMAS), e0={"Si": 0.0, "C": 0.0}, baselines=[]).fit(frames)
    rows, y, sigma = observations(frames, elements)
    latent = [acsf_reference(model.state_.terms[0])]
    reference = SparseReference(latent, points_of(model)).fit(rows, y, sigma)
    compare(model, reference, rows, [crystal(7, symbols="SiC"), cluster(8, "SiCC")], y)


@pytest.mark.parametrize("kind", ["triplet", "acsf"])
def test_all_environments_give_the_exact_process(kind: str) -> None:
    """Of energies, which are sums over the sparse points themselves; the predictions are anything."""
    frames = with_labels("Si3", 3)
    terms: dict[str, Any] = {
        "triplet": TripletTerm(2.9, n_sparse=99, theta=0.3, delta=0.8),
        "acsf": ACSFTerm({**FUNCTIONS, "r_cut": 2.9}, n_sparse=11, theta=0.2, delta=0.8),
    }
    model = GAP([terms[kind]], Noise(SIGMAS[0], None, None), e0={"Si": 0.0}, baselines=[]).fit(frames)
    (fitted,) = model.state_.terms
    latent = TripletGP(2.9, 1.0, (0.3,) * 3, 0.8) if kind == "triplet" else acsf_reference(fitted)
    rows, y, sigma = observations(frames, {14: "Si"})
    keep = [n for n, row in enumerate(rows) if row.kind == "energy"]
    exact = ReferenceGP([latent], digits=30).fit([rows[n] for n in keep], y[keep], sigma[keep])
    tests = [crystal(7), cluster(8, "Si3")]
    mean, std = predicted(model, tests)
    assert np.abs(mean - exact.mean(queries(tests))).max() < 1e-8 * np.abs(y[keep]).max()
    assert np.abs(std**2 - exact.variance(queries(tests))).max() < 1e-8
    assert model.log_evidence_ == pytest.approx(exact.log_evidence(), rel=1e-8)


def test_extrapolation_is_of_environments_where_there_are_any(hierarchy: Fitted, functions: Fitted) -> None:
    """Triangles of one atom are like others even where the atom is not, so they count only without many-body terms."""
    for fitted, name in ((hierarchy, "soap2"), (functions, "acsf1")):
        state = fitted.model.state_
        compared = [term.name for term in state.terms if state.is_compared(term)]
        assert compared == [name]
        p = fitted.model.predict(fitted.frames[0], {"extrapolation"})
        here = state.slices[[term.name for term in state.terms].index(name)]
        assert ((here.start <= p.nearest) & (p.nearest < here.stop)).all()
        assert all(state.origin(int(column)) for column in p.nearest)
    triangles = GAP([TripletTerm(3.2, n_sparse=9)], Noise(0.01, None, None), baselines=[]).fit(hierarchy.frames, rng=0)
    p = triangles.predict(hierarchy.frames[0], {"extrapolation"})
    assert (p.nearest >= 0).all()
    assert triangles.state_.origin(int(p.nearest[0])) == ""


def test_a_dimer_has_no_three_body_energy(hierarchy: Fitted) -> None:
    p = hierarchy.model.predict(Atoms("Si2", [[0, 0, 0], [0, 0, 2.4]]), {"energy", "forces", "energies_std"})
    assert p.by_term["triplet1"] == 0.0
    assert p.by_term["pair0"] != 0.0


@pytest.mark.parametrize("which", ["hierarchy", "functions"])
def test_everything_else_works(which: str, request: pytest.FixtureRequest) -> None:
    """Explanations, samples, residuals of left-out frames, a ceiling on memory."""
    model, frames = request.getfixturevalue(which)
    atoms = frames[0]
    p = model.predict(atoms, {"energy", "energies", "forces", "stress", "forces_std", "stress_std", "energy_std"})
    e = model.explain(atoms)
    assert e.energy == pytest.approx(p.energy, abs=1e-8)
    assert e.local_energy == pytest.approx(p.energies[e.atom], abs=1e-8)
    assert e.similar
    found = model.leave_one_out(frames[:3])
    assert np.isfinite(found["forces"].error_xc).all()
    bounded = GAP(**{**model.get_params(deep=False), "max_memory": "40MB"}).fit(frames, rng=0)
    assert bounded.predict(atoms).energy == pytest.approx(p.energy, abs=1e-6)
    members = [member.predict(atoms, {"energy"}).energy for member in model.sample(200, rng=1)]
    assert np.std(members) == pytest.approx(e.energy_data_std, rel=0.25)


CONFIG = """
[[terms]]
type = "triplet"
r_cut = 3.2
n_sparse = 6
theta = [0.8, 0.6, 1.0]
[[terms]]
type = "acsf"
n_sparse = {Si = 5}
[terms.acsf]
r_cut = 3.6
g2_params = [[0.5, 2.0], [1.0, 3.0]]
g4_params = [[0.01, 1, -1]]
"""


def test_command_line_knows_the_terms(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config, model = tmp_path / "c.toml", tmp_path / "m.gap"
    config.write_text(CONFIG)
    ase.io.write(tmp_path / "train.xyz", [atom(), *(crystal(k) for k in range(4))])
    arguments = ["fit", str(tmp_path / "train.xyz"), "-o", str(model), "--config", str(config), "--jobs", "1"]
    assert main(arguments) == 0
    settings = {term.kind: term for term in load(model).state_.settings}
    assert list(settings["triplet"].theta) == [0.8, 0.6, 1.0]
    assert settings["acsf"].acsf["g4_params"] == [[0.01, 1.0, -1.0]]
    assert main(["info", str(model)]) == 0
    text = capsys.readouterr().out
    assert re.search(r"triplet0 r_cut 3.2 Å, width 1 Å, theta 0.8 0.6 1 Å, delta 0.3 eV\n +Si-Si-Si: 6 sparse", text)
    assert re.search(
        r"acsf1 +r_cut 3.6 Å, theta [\d.]+, delta 1 eV\n +2 G2, 1 G4\n +Si: 5 sparse points, 4 features", text
    )
    for wrong, fix in (("g2_params", "g2_param"), ("[terms.acsf]", "")):
        config.write_text(CONFIG.replace(wrong, fix))
        assert main(arguments) == 2
        assert ("did you mean 'g2_params'" if fix else "write it below [terms.acsf]") in capsys.readouterr().err


def test_every_kind_of_term_is_known_everywhere() -> None:
    assert set(TERM_KINDS) == set(TERMS) == set(_SHOWN) == {"pair", "triplet", "soap", "acsf"}


def test_blocks_of_a_prediction_shrink_where_triangles_are_many(hierarchy: Fitted) -> None:
    terms, alone = hierarchy.model.state_.terms, hierarchy.model.state_.terms[:1]
    wide = GAP([TripletTerm(5.5, n_sparse=40)], Noise(0.01, None, None), baselines=[]).fit(hierarchy.frames, rng=0)
    sizes = [block_size(2e8, 60.0, some, 1) for some in (alone, terms, wide.state_.terms)]
    assert sizes[0] >= sizes[1] > 2 * sizes[2]

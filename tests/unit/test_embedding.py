"""Vectors of the elements: chemical features, settings, what is refused, and the file."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import atomic_numbers

from gapkit import GAP, ConfigError, Noise, SoapTerm, load
from gapkit.descriptors.basis import soap_basis
from gapkit.descriptors.embedding import chemical_features, chemical_vectors, embedding_vectors
from gapkit.descriptors.soap import Soap
from tests.samples import E0, cluster, crystal, soap_arguments, two_species

VECTORS = {"Si": [1.0, 0.25], "C": [0.1, -0.7]}


def numbers(symbols: str) -> list[int]:
    return sorted(atomic_numbers[s] for s in symbols.split())


def cosines(symbols: str, k: int) -> dict[tuple[int, int], float]:
    z, u_sk = numbers(symbols), chemical_vectors(numbers(symbols), k)
    return {(a, b): float(u_sk[i] @ u_sk[j]) for i, a in enumerate(z) for j, b in enumerate(z)}


@pytest.mark.parametrize(
    ("symbol", "period", "group", "chi"),
    [
        ("H", 1, 1, 2.20),
        ("He", 1, 18, 4.16),
        ("Be", 2, 2, 1.57),
        ("B", 2, 13, 2.04),
        ("F", 2, 17, 3.98),
        ("Na", 3, 1, 0.93),
        ("S", 3, 16, 2.58),
        ("Sc", 4, 3, 1.36),
        ("Zn", 4, 12, 1.65),
        ("Br", 4, 17, 2.96),
        ("Mo", 5, 6, 2.16),
        ("I", 5, 17, 2.66),
        ("Cs", 6, 1, 0.79),
        ("Gd", 6, 3, 1.20),
        ("Hf", 6, 4, 1.30),
        ("Ta", 6, 5, 1.50),
        ("Bi", 6, 15, 1.90),
        ("U", 7, 3, 1.70),
    ],
)
def test_features_are_those_of_the_periodic_table(symbol: str, period: int, group: int, chi: float) -> None:
    found = chemical_features(np.array([atomic_numbers[symbol]]))[0]
    assert found[:3].tolist() == [period, group, chi]


def test_features_exist_for_all_elements_of_ase() -> None:
    found = chemical_features(np.arange(1, 119))
    assert np.isfinite(found).all()
    assert found[:, 1].min() == 1
    assert found[:, 1].max() == 18


@pytest.mark.parametrize("symbols", ["H C N O", "Na Cl", "Mo Ta", "H C N O F Si S Cl Ti Sr"])
def test_chemical_vectors_are_of_one_length_and_do_not_depend_on_the_order(symbols: str) -> None:
    z = numbers(symbols)
    for k in range(2, len(z) + 1):
        u_sk = chemical_vectors(z, k)
        assert u_sk.shape == (len(z), k)
        assert np.linalg.norm(u_sk, axis=1) == pytest.approx(np.ones(len(z)))
        assert (u_sk[:, 0] > 0).all()
        other_sk = chemical_vectors(z[::-1], k)[::-1]
        assert other_sk @ other_sk.T == pytest.approx(u_sk @ u_sk.T, abs=1e-12)
    assert np.linalg.matrix_rank(u_sk) == len(z)  # as many channels as elements keep them apart


def test_similar_elements_have_similar_vectors() -> None:
    """Neighbours of a row, hydrogen apart; metals and halogens are nearer to their own than to each other."""
    near = cosines("H C N O", 3)
    assert min(near[6, 7], near[7, 8]) > 0.5 > 0.2 > max(abs(near[1, z]) for z in (6, 7, 8))
    for k in (2, 3, 4):
        salts = cosines("Na K Cl Br", k)
        own, other = (salts[11, 19], salts[17, 35]), [salts[a, b] for a in (11, 19) for b in (17, 35)]
        assert min(own) > max(other) + 0.3


def test_vectors_of_a_single_element() -> None:
    assert embedding_vectors(1, [14]).tolist() == [[1.0]]


@pytest.mark.parametrize(
    ("embedding", "match"),
    [
        (1, "embedding=1 is outside .* from 2 to 2"),
        (3, "from 2 to 2"),
        (2.0, "from 2 to 2"),
        ("2", "from 2 to 2"),
        ({"Si": [1.0]}, "no vector of C"),
        ({"Si": [1.0, 0.0], "C": [1.0]}, "differ in length"),
        ({"Si": [1.0, 0.0], "C": [0.0, 0.0]}, "embedding of C"),
        ({"Si": [1.0, np.nan], "C": [0.0, 1.0]}, "embedding of Si"),
        ({"Si": 1.0, "C": 2.0}, "embedding of C"),
        ({"Si": "ab", "C": "cd"}, "embedding of C"),
        ({"Si": [], "C": []}, "embedding of C"),
    ],
)
def test_wrong_embeddings_are_refused(embedding: Any, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        embedding_vectors(embedding, [6, 14])


@pytest.mark.parametrize(
    ("changes", "soap", "match"),
    [
        ({"embedding": 2}, {"compression": {"mode": "mu2", "species_weighting": None}}, "both mix species"),
        ({"embedding": 2, "engine": "dscribe"}, {}, "dscribe has no embedding"),
        ({"embedding": 2}, {"rbf": "polynomial"}, "dscribe has no embedding"),
        ({"alchemical": True}, {}, "needs vectors"),
        ({"alchemical": True, "engine": "dscribe"}, {}, "needs vectors"),
    ],
)
def test_what_does_not_go_together_is_refused(changes: Any, soap: Any, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        GAP([SoapTerm(soap_arguments(**soap), n_sparse=8, **changes)], Noise(0.002, 0.05, 0.02)).fit(two_species())


def test_the_number_of_features_is_that_of_the_channels() -> None:
    basis = soap_basis(soap_arguments(species=["H", "C", "N", "O", "S"]))
    n, degrees = 3, 3
    for k in range(1, 6):
        assert basis.embedded(np.ones((5, k))).n_features == degrees * (k * n) * (k * n + 1) // 2
    assert basis.n_features == basis.embedded(np.eye(5)).n_features


def test_a_descriptor_without_embedding_does_nothing_more() -> None:
    basis = soap_basis(soap_arguments(species=["Si", "C"]))
    values = np.ones((2, 3))
    assert basis.of_densities(values) is values
    assert not Soap(basis).alchemical


def fitted(**changes: Any) -> GAP:
    settings = {"zeta": 2, "n_sparse": 12, "embedding": VECTORS, **changes}
    return GAP([SoapTerm(soap_arguments(), **settings)], Noise(0.002, 0.05, 0.02)).fit(two_species())


@pytest.mark.parametrize("alchemical", [False, True])
def test_the_file_keeps_the_embedding(alchemical: bool, tmp_path: Path) -> None:
    model = fitted(alchemical=alchemical)
    model.save(tmp_path / "model.gap", data=True)
    loaded = load(tmp_path / "model.gap")
    assert loaded.terms[0].embedding == VECTORS
    assert loaded.terms[0].alchemical is alchemical
    assert loaded.state_.terms[0].descriptor.basis.embedding_sk.tolist() == [VECTORS["C"], VECTORS["Si"]]
    want = {"energy", "forces", "forces_std", "energies_std"}
    one, other = model.predict(cluster(7, "SiCSi2"), want), loaded.predict(cluster(7, "SiCSi2"), want)
    for name in ("energy", "forces", "forces_std", "energies_std"):
        assert np.array_equal(getattr(one, name), getattr(other, name)), name
    again, atoms = GAP(loaded.terms, Noise(0.002, 0.05, 0.02)).fit(two_species()), crystal(3, symbols="SiC")
    assert np.array_equal(again.predict(atoms).forces, model.predict(atoms).forces)


def test_a_number_of_channels_is_spelt_out_in_the_file(tmp_path: Path) -> None:
    model = fitted(embedding=2)
    model.save(tmp_path / "model.gap")
    expected = dict(zip(("C", "Si"), chemical_vectors([6, 14], 2).tolist(), strict=True))
    assert load(tmp_path / "model.gap").terms[0].embedding == expected
    assert model.terms[0].embedding == 2


def test_files_of_before_embeddings_are_read(tmp_path: Path) -> None:
    model = fitted(embedding=None)
    model.save(tmp_path / "new.gap")
    with zipfile.ZipFile(tmp_path / "new.gap") as new, zipfile.ZipFile(tmp_path / "old.gap", "w") as old:
        for name in new.namelist():
            content = new.read(name)
            if name == "model.json":
                document = json.loads(content)
                for entry in (*document["terms"], *document["settings"]):
                    assert entry.pop("embedding", "absent") is None
                    assert entry.pop("alchemical", "absent") is False
                content = json.dumps(document).encode()
            old.writestr(name, content)
    loaded = load(tmp_path / "old.gap")
    atoms = cluster(7, "SiCSi2")
    assert np.array_equal(loaded.predict(atoms).forces, model.predict(atoms).forces)
    assert loaded.terms[0].embedding is None


def test_points_of_an_alchemical_term_serve_all_elements() -> None:
    """A silicon atom among nothing but carbon data has learned something."""
    frames = [*two_species()[:2], *(cluster(k, "C4") for k in range(6))]
    similar, target = {"Si": [1.0, 0.1], "C": [1.0, -0.1]}, cluster(9, "C3Si")
    stds = []
    for alchemical in (False, True):
        settings = {"zeta": 2, "n_sparse": 12, "embedding": similar, "alchemical": alchemical}
        model = GAP([SoapTerm(soap_arguments(), **settings)], Noise(0.002, 0.05, 0.02)).fit(frames)
        stds.append(model.predict(target, {"energies_std"}).energies_epistemic_std[3])
    assert stds[1] < 0.5 * stds[0]


def test_origins_of_alchemical_points_are_those_of_their_element() -> None:
    model = fitted(alchemical=True)
    term = model.state_.terms[0]
    carbon = term.columns[6,]
    assert model.origin(carbon.start) == "isolated C atom"
    p = model.predict(crystal(0, symbols="SiC"), {"extrapolation"})
    assert all(0 <= m < term.n_columns for m in p.nearest)
    assert p.extrapolation.min() < 0.3
    assert "Si" in str(model.explain(cluster(5, "SiCSi2"), atom=0))


@pytest.mark.parametrize("embedding", [None, 2])
def test_perfect_crystals_alone_can_be_fitted(embedding: int | None) -> None:
    """They have nothing of l = 1 and 2, where the sparse points span no direction."""
    cells = []
    for k in range(12):
        atoms = bulk("SiC", "zincblende", a=4.0 + 0.05 * k)
        results = {"energy": 0.3 * (k - 6.0) ** 2 - 15.0, "forces": np.zeros((2, 3)), "stress": np.zeros(6)}
        atoms.calc = SinglePointCalculator(atoms, **results)
        cells.append(atoms)
    soap = soap_arguments(n_max=4, l_max=4, r_cut=3.9)
    model = GAP([SoapTerm(soap, embedding=embedding, n_sparse=26)], Noise(0.001, 0.05, None), baselines=[], e0=E0)
    model.fit(cells, rng=0)
    points = model.state_.terms[0].points[14,]
    assert 0 in points.widths_l
    predicted = model.predict(cells[3], {"energy", "forces", "forces_std"})
    assert predicted.energy == pytest.approx(0.3 * 9.0 - 15.0, abs=0.05)
    assert np.abs(predicted.forces).max() < 1e-9
    cells[3].rattle(0.1, seed=0)
    assert np.abs(model.predict(cells[3]).forces).max() > 0.01

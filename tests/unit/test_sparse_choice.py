"""How sparse points are chosen: methods, quotas per config_type, files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from ase import Atoms

from gapkit import GAP, ConfigError, DataError, GapkitWarning, SoapTerm
from gapkit.atoms.labels import to_frame, to_frames
from gapkit.atoms.neighbours import NeighbourList
from gapkit.gp.term import ISOLATED, UNKNOWN, SparseTerm
from gapkit.numerics.select import POOL_BYTES
from tests.samples import cluster, crystal, frames, model, soap_arguments, two_species

METHODS = ("farthest_point", "leverage", "kmeans", "uniform")
WIDTH = 18  # features of `soap_arguments` for one species


def chosen(
    structures: list[Atoms] | None = None, seed: int = 0, pool: float = POOL_BYTES, **settings: Any
) -> SparseTerm:
    term = SoapTerm(soap_arguments(), **{"zeta": 2, "n_sparse": 8, **settings})
    data = to_frames(frames(10) if structures is None else structures)
    return term.choose("soap", data, np.random.default_rng(seed), pool)


def full(term: SparseTerm, number: int = 14) -> np.ndarray:
    """Sparse points as unit vectors of all features, without the isolated atom."""
    points = term.points[(number,)]
    return (points.x_md if points.map_fd is None else points.x_md @ points.map_fd.T)[1:]


def environments(structures: list[Atoms], number: int = 14) -> np.ndarray:
    """Unit vectors of all environments of an element."""
    elements = sorted({int(z) for atoms in structures for z in atoms.numbers})
    soap = SoapTerm(soap_arguments(species=elements)).descriptor([])
    found = []
    for atoms in structures:
        pairs = NeighbourList(soap.reach).pairs(to_frame(atoms, labels=False))
        part = soap.pairs_of(pairs, (number,))
        if len(part.centres_e):
            found.append(soap.sites(part, (number,)).x_sd)
    return np.concatenate(found)


def distances(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """From each row of one to the nearest row of two."""
    return np.linalg.norm(one[:, None] - two[None], axis=2).min(axis=1)


@pytest.mark.parametrize("method", METHODS)
def test_methods_choose_distinct_environments_and_depend_on_the_seed_alone(method: str) -> None:
    first = full(chosen(method=method))
    assert len(first) == 7
    assert distances(first, environments(frames(10))).max() < 1e-5
    gaps = np.linalg.norm(first[:, None] - first[None], axis=2) + 9 * np.eye(7)
    assert gaps.min() > 1e-4
    assert np.array_equal(full(chosen(method=method)), first)
    others = [full(chosen(method=method, seed=seed)) for seed in (1, 2, 3)]
    assert any(not np.array_equal(other, first) for other in others)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("pool", "n_jobs"), [(POOL_BYTES, 1), (POOL_BYTES, 2), (1.0, 1)])
def test_every_point_knows_its_environment(method: str, pool: float, n_jobs: int) -> None:
    """Its origin is an atom with just this descriptor, of its element."""
    structures = [*two_species(6), crystal(8, symbols="SiC", config_type="late")]
    term = SoapTerm(soap_arguments(), zeta=2, n_sparse={"Si": 9, "C": 5}, method=method)
    found = term.choose("soap", to_frames(structures), np.random.default_rng(0), pool, n_jobs)
    for number in (6, 14):
        origins = found.origins[(number,)]
        assert (origins.frame_m[0], origins.atom_m[0]) == (ISOLATED, -1)
        assert len(origins.frame_m) == len(origins.atom_m) == len(found.points[(number,)].x_md)
        for point, frame, atom in zip(full(found, number), origins.frame_m[1:], origins.atom_m[1:], strict=True):
            atoms = structures[frame]
            assert atoms.numbers[atom] == number
            everything = environments([*two_species(0), atoms], number)[1:]
            own = np.flatnonzero(np.flatnonzero(atoms.numbers == number) == atom)
            assert np.linalg.norm(everything[own] - point) < 1e-5


def test_methods_differ() -> None:
    found = [full(chosen(method=method)) for method in METHODS]
    assert all(not np.array_equal(a, b) for k, a in enumerate(found) for b in found[:k])


def test_more_than_there_are_takes_all_and_warns() -> None:
    structures = frames(2)
    with pytest.warns(GapkitWarning, match="99 sparse points wanted.*all are taken"):
        term = chosen(structures, n_sparse=100)
    everything = environments(structures[1:])
    assert distances(everything, full(term)).max() < 1e-5


def test_more_than_there_are_fits_and_predicts() -> None:
    with pytest.warns(GapkitWarning, match="all are taken"):
        fitted = GAP([SoapTerm(soap_arguments(), zeta=2, n_sparse=10_000)]).fit(frames(4))
    assert np.isfinite(fitted.predict(crystal(9)).forces).all()


def test_quotas_are_kept() -> None:
    structures = [*frames(10), *[cluster(k, "Si5", config_type="liquid") for k in range(3)]]
    groups = {
        name: [a for a in structures if a.info["config_type"] == name] for name in ("crystal", "cluster", "liquid")
    }
    for quotas, expected in [
        ({"crystal": 2, "cluster": 3, "liquid": 4, "isolated_atom": 0}, (2, 3, 4)),
        ({"crystal": 0.25, "liquid": 0.5, "cluster": 0.25}, (2, 2, 4)),
        ({"liquid": 5, "crystal": 0, "cluster": 0}, (0, 0, 5)),
    ]:
        points = full(chosen(structures, n_sparse=max(8, sum(expected)), quotas=quotas))
        near = [int((distances(points, environments(groups[name])) < 1e-5).sum()) for name in groups]
        assert tuple(near) == expected
        assert len(points) == sum(expected)


@pytest.mark.parametrize(
    ("quotas", "message"),
    [
        ({"crystall": 2}, r"unknown group 'crystall'.*did you mean 'crystal'"),
        ({"crystal": 1.5}, "1.5 of group 'crystal' is no fraction"),
        ({"crystal": -1}, "crystal"),
        ({"crystal": 5, "cluster": 5}, "sum to 10 points of n=8"),
        ({"crystal": 0.7, "cluster": 0.7}, "sum to 1.4"),
    ],
)
def test_wrong_quotas_are_refused(quotas: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        chosen(quotas=quotas)


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("farthest", r"'farthest' is neither.*did you mean 'farthest_point'"),
        ("CUR", "neither a selection method nor a file.*leverage"),
        ("nowhere/points.npy", "neither a selection method nor a file"),
        (None, "method=None is no name"),
        (3, "method=3 is no name"),
    ],
)
def test_wrong_methods_are_refused(method: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        chosen(method=method)


def test_points_from_an_array(tmp_path: Path, rng: np.random.Generator) -> None:
    """Rows of any length are brought to unit length; n_sparse is what the file holds."""
    x = rng.uniform(0.1, 1.0, (5, WIDTH))
    np.save(tmp_path / "points.npy", x)
    for method in (tmp_path / "points.npy", str(tmp_path / "points.npy")):
        found = full(chosen(method=method, n_sparse=2))
        assert found == pytest.approx(x / np.linalg.norm(x, axis=1)[:, None], abs=1e-5)


def test_points_of_two_species_from_an_archive(tmp_path: Path, rng: np.random.Generator) -> None:
    x = {"Si": rng.uniform(0.1, 1.0, (3, 63)), "C": rng.uniform(0.1, 1.0, (4, 63))}
    np.savez(tmp_path / "points.npz", **x)
    term = chosen(two_species(), method=tmp_path / "points.npz")
    for symbol, number in (("Si", 14), ("C", 6)):
        expected = x[symbol] / np.linalg.norm(x[symbol], axis=1)[:, None]
        assert full(term, number) == pytest.approx(expected, abs=1e-5)


def test_points_from_structures(tmp_path: Path) -> None:
    """All environments of the file, with or without labels."""
    bare = [atoms.copy() for atoms in (crystal(1), cluster(2))]
    ase.io.write(tmp_path / "sparse.xyz", bare)
    found = full(chosen(method=tmp_path / "sparse.xyz"))
    expected = environments(bare)
    assert len(found) == len(expected) == 6
    assert found == pytest.approx(expected, abs=1e-5)
    origins = chosen(method=tmp_path / "sparse.xyz").origins[(14,)]
    assert origins.frame_m.tolist() == [ISOLATED] + 6 * [UNKNOWN]
    assert origins.atom_m.tolist() == 7 * [-1]


def damaged(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1 :]


def write_archive(path: Path) -> bytes:
    np.savez(path, Si=np.ones((3, WIDTH)))
    return path.read_bytes()


FILES: dict[str, tuple[str, Callable[[Path], Any], str]] = {
    "wrong width": ("a.npy", lambda p: np.save(p, np.ones((3, 17))), "17 features, the descriptor has 18"),
    "objects": ("a.npy", lambda p: np.save(p, np.array([{}], dtype=object), allow_pickle=True), "cannot be read"),
    "text": ("a.npy", lambda p: np.save(p, np.array([["a"] * WIDTH])), "no.*matrix|not a finite matrix"),
    "complex": ("a.npy", lambda p: np.save(p, np.ones((3, WIDTH)) + 1j), "not a finite matrix"),
    "nan": ("a.npy", lambda p: np.save(p, np.full((3, WIDTH), np.nan)), "not a finite matrix"),
    "zeros": ("a.npy", lambda p: np.save(p, np.zeros((3, WIDTH))), "not a finite matrix"),
    "no rows": ("a.npy", lambda p: np.save(p, np.ones((0, WIDTH))), "not a finite matrix"),
    "one vector": ("a.npy", lambda p: np.save(p, np.ones(WIDTH)), "not a finite matrix"),
    "no array at all": ("a.npy", lambda p: p.write_bytes(b"junk"), "cannot be read"),
    "truncated": ("a.npz", lambda p: p.write_bytes(write_archive(p)[:-40]), "cannot be read"),
    "flipped": ("a.npz", lambda p: p.write_bytes(damaged(write_archive(p), 250)), "cannot be read"),
    "other element": ("a.npz", lambda p: np.savez(p, Ge=np.ones((3, WIDTH))), "no array for Si"),
    "no silicon": ("a.xyz", lambda p: ase.io.write(p, Atoms("C")), "no environments of Si"),
    "empty": ("a.xyz", lambda p: p.write_text(""), "empty"),
    "no structures": ("a.xyz", lambda p: p.write_text("hello\n"), "cannot be read"),
}


@pytest.mark.parametrize("name", FILES)
def test_files_that_cannot_be_used(name: str, tmp_path: Path) -> None:
    file, write, message = FILES[name]
    write(tmp_path / file)
    with pytest.raises(DataError, match=message) as error:
        chosen(method=tmp_path / file)
    assert file in error.value.where


def test_one_array_for_two_elements_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones((3, 63)))
    with pytest.raises(DataError, match="npz with one array per symbol"):
        chosen(two_species(), method=tmp_path / "a.npy")


def test_quotas_do_not_go_with_a_file(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones((3, WIDTH)))
    with pytest.raises(ConfigError, match="quotas"):
        chosen(method=tmp_path / "a.npy", quotas={"crystal": 1.0})


def test_large_data_are_thinned_to_a_pool() -> None:
    """Memory of the candidates is bounded; four candidates for each point always remain."""
    found = full(chosen(frames(20), n_sparse=4, pool=1.0))
    assert len(found) == 3
    assert distances(found, environments(frames(20))).max() < 1e-5


def test_seed_and_generator_decide_the_whole_fit() -> None:
    test = crystal(9)
    energies = [model().fit(frames(), rng=seed).predict(test).energy for seed in (0, 0, np.random.default_rng(0), 1, 2)]
    assert energies[0] == energies[1] == energies[2]
    assert len({energies[0], energies[3], energies[4]}) > 1


def test_quotas_of_groups_that_lack_an_element() -> None:
    """Also of "isolated_atom", which gap_fit's users name: these atoms are sparse points anyway."""
    pure = [cluster(k, "Si4", config_type="pure") for k in range(3)]
    mixed = [cluster(k, "Si2C2", config_type="mixed") for k in range(3)]
    quotas = {"isolated_atom": 1, "pure": 3, "mixed": 2}
    term = chosen([*two_species(0), *pure, *mixed], n_sparse={"Si": 5, "C": 2}, quotas=quotas)
    silicon, carbon = (environments([*pure, *mixed], number) for number in (14, 6))
    assert [int((distances(full(term), part) < 1e-5).sum()) for part in (silicon[:12], silicon[12:])] == [3, 2]
    assert len(full(term, 6)) == 2
    assert distances(full(term, 6), carbon).max() < 1e-5

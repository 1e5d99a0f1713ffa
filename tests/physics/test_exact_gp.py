"""Law 12: gapkit against a brute-force Gaussian process with derivative observations (tests/reference).

gapkit adds to every fit one exact row per element, the isolated atom at e0 with σ = 1e-5 eV, and the isolated
environment to the sparse points. Both references get the same.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from dscribe.descriptors import SOAP

from gapkit import GAP, Noise, PairTerm, SoapTerm
from tests.reference.gaussian_process import (
    Functional,
    PairGP,
    ReferenceGP,
    SoapGP,
    SparseReference,
    all_functionals,
    labelled,
)
from tests.reference.soap_legendre import create
from tests.reference.spanning import spanning_case

SIGMAS = (0.05, 0.2, 0.3)
ISOLATED_SIGMA = 1e-5
ELEMENTS = {"HO": {1: "H", 8: "O"}, "Si": {14: "Si"}}


def smooth_step(r: np.ndarray, r_cut: float, width: float) -> np.ndarray:
    """Cutoff of a pair term, for real and complex distances."""
    u = (r - (r_cut - width)) / width
    inner = 1.0 - 10.0 * u**3 + 15.0 * u**4 - 6.0 * u**5
    return np.where(np.real(u) <= 0.0, 1.0, np.where(np.real(u) >= 1.0, 0.0, inner))


def observations(structures: list[Atoms], elements: dict[int, str]) -> tuple[list[Functional], np.ndarray, np.ndarray]:
    """What gapkit learns from: all labels, and the isolated atoms."""
    rows: list[Functional] = []
    labels: list[np.ndarray] = []
    for atoms in structures:
        mine, y = labelled(atoms, ("energy", "force", "stress") if atoms.pbc.any() else ("energy", "force"))
        rows += mine
        labels.append(y)
    alone = [Functional(Atoms(symbol), "energy") for symbol in elements.values()]
    sigma = [row.sigma(*SIGMAS) for row in rows] + [ISOLATED_SIGMA] * len(alone)
    return rows + alone, np.append(np.concatenate(labels), np.zeros(len(alone))), np.array(sigma)


def queries(structures: list[Atoms]) -> list[Functional]:
    """All properties that gapkit predicts, structure by structure."""
    kinds = ("energy", "local", "force")
    return [q for atoms in structures for q in all_functionals(atoms, kinds + (("stress",) if atoms.pbc.any() else ()))]


def predicted(model: GAP, structures: list[Atoms]) -> tuple[np.ndarray, np.ndarray]:
    """Means and posterior standard deviations in the order of `queries`."""
    means, stds = [], []
    for atoms in structures:
        values = {"energy", "energies", "forces"} | ({"stress"} if atoms.pbc.any() else set())
        p = model.predict(atoms, values | {f"{name}_std" for name in values})
        names = ["energy", "energies", "forces", "stress"][: len(values)]
        means += [np.ravel(getattr(p, name)) for name in names]
        stds += [np.ravel(getattr(p, f"{name}_epistemic_std")) for name in names]
    return np.concatenate(means), np.concatenate(stds)


def evidence_of_virials(reference: ReferenceGP, rows: list[Functional]) -> float:
    """gapkit learns V·stress, whose probability density is that of the stress over V per component."""
    return reference.log_evidence() - sum(np.log(row.atoms.get_volume()) for row in rows if row.kind == "stress")


def sparse_points(soap: SOAP, elements: dict[int, str], n_points: int, seed: int = 0) -> dict[int, np.ndarray]:
    """The isolated environment and random points in the space of SOAP vectors.

    Environments would do as well, were not their K_mm singular to rounding: the law is about algebra.
    """
    rng = np.random.default_rng(seed)
    alone = {z: create(Atoms(symbol), soap) for z, symbol in elements.items()}
    return {z: np.concatenate([p, rng.normal(size=(n_points - 1, p.shape[1]))]) for z, p in alone.items()}


def sparse_file(path: Path, points: dict[int, np.ndarray], elements: dict[int, str]) -> Path:
    """The points without the isolated environment, which gapkit adds itself."""
    np.savez(path, **{elements[z]: p[1:] for z, p in points.items()})
    return path


@pytest.mark.parametrize(("material", "zeta"), [("HO", 1), ("HO", 2), ("Si", 2)])
def test_sparse_is_exact_when_points_span_everything(material: str, zeta: int, tmp_path: Path) -> None:
    case, elements = spanning_case(material, zeta), ELEMENTS[material]
    structures = case.structures[6:]
    n_features = case.soap.get_number_of_features()
    points = sparse_points(case.soap, elements, math.comb(n_features + zeta - 1, zeta))  # all products of ζ features
    file = sparse_file(tmp_path / "points.npz", points, elements)
    term = SoapTerm(case.soap, zeta=zeta, delta=case.delta, method=file)
    model = GAP([term], Noise(*SIGMAS), e0=dict.fromkeys(elements.values(), 0.0)).fit(structures)

    rows, y, sigma = observations(structures, elements)
    exact = ReferenceGP([SoapGP(case.soap, zeta, case.delta)], digits=30).fit(rows, y, sigma)
    asked = queries(case.tests)
    mean, std = predicted(model, case.tests)
    assert np.abs(mean - exact.mean(asked)).max() < 1e-9 * np.abs(y).max()
    assert np.abs(std**2 - exact.variance(asked)).max() < 1e-9 * case.delta**2
    assert model.log_evidence_ == pytest.approx(evidence_of_virials(exact, rows), rel=1e-9)


def fitted_sum(
    tmp_path: Path, noise: Noise | None = None
) -> tuple[GAP, SparseReference, list[Functional], list[Atoms], np.ndarray]:
    """A pair term and two SOAPs of different cutoffs, with few sparse points: gapkit's and the brute-force DTC."""
    case, elements = spanning_case("HO", 2), ELEMENTS["HO"]
    structures = case.structures[3:]
    wide = SOAP(
        species=["H", "O"],
        periodic=True,
        r_cut=3.0,
        n_max=2,
        l_max=2,
        sigma=0.4,
        weighting={"function": "poly", "r0": 3.0, "c": 1.0, "m": 2.0},
        compression={"mode": "mu1nu1"},
    )
    soaps, inducing, terms = [(case.soap, 2, 1.5), (wide, 3, 0.7)], [], []
    for k, (soap, zeta, delta) in enumerate(soaps):
        points = sparse_points(soap, elements, 6 + k, seed=k)
        inducing.append(points)
        file = sparse_file(tmp_path / f"points{k}.npz", points, elements)
        terms.append(SoapTerm(soap, zeta=zeta, delta=delta, method=file))
    pair = PairTerm(r_cut=2.8, n_sparse=4, theta=0.7, width=1.1, delta=0.6)
    model = GAP([*terms, pair], noise or Noise(*SIGMAS), e0={"H": 0.0, "O": 0.0}).fit(structures)

    grids = {pair: np.linspace(_shortest(structures, pair), 2.8, 4) for pair in [(1, 1), (1, 8), (8, 8)]}
    reference = SparseReference(
        [*(SoapGP(*s) for s in soaps), PairGP(2.8, lambda r: smooth_step(r, 2.8, 1.1), 0.7, 0.6)], [*inducing, grids]
    )
    rows, y, sigma = observations(structures, elements)
    return model, reference.fit(rows, y, sigma), rows, case.tests, y


def _shortest(structures: list[Atoms], pair: tuple[int, int]) -> float:
    shortest = np.inf
    for atoms in structures:
        images = atoms.repeat(np.where(atoms.pbc, 3, 1))
        r = images.get_all_distances() + 1e3 * np.eye(len(images))
        a, b = np.isin(images.numbers, pair[0]), np.isin(images.numbers, pair[1])
        shortest = min(shortest, float(r[np.ix_(a, b)].min(initial=np.inf)))
    return shortest


def compare(model: GAP, reference: SparseReference, rows: list[Functional], tests: list[Atoms], y: np.ndarray) -> None:
    """Mean, variance and evidence of gapkit are those of the reference."""
    asked = queries(tests)
    mean, std = predicted(model, tests)
    assert np.abs(mean - reference.mean(asked)).max() < 1e-9 * np.abs(y).max()
    assert np.abs(std**2 - reference.variance(asked)).max() < 1e-9
    assert model.log_evidence_ == pytest.approx(evidence_of_virials(reference, rows), rel=1e-9)


def test_sum_of_terms_is_the_dense_formula(tmp_path: Path) -> None:
    compare(*fitted_sum(tmp_path))


def test_wrong_square_root_of_n_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The harness itself: σ of energies and virials must grow as √N."""
    monkeypatch.setattr("gapkit.gp.compress.row_scale", lambda kind, n: 1.0 if kind == "forces" else float(n))
    case = fitted_sum(tmp_path)
    with pytest.raises(AssertionError):
        compare(*case)

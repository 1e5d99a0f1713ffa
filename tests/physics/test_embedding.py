"""Embedded species and the alchemical kernel: dscribe's spectrum mixed by hand, all laws, and a brute-force process."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from dscribe.descriptors import SOAP

from gapkit import GAP, Noise, SoapTerm
from gapkit.atoms.labels import to_frame
from gapkit.atoms.neighbours import NeighbourList, Pairs
from gapkit.descriptors.base import Descriptor
from gapkit.descriptors.basis import SoapBasis, soap_basis
from gapkit.descriptors.soap import Soap
from gapkit.descriptors.soap_jacobian import SoapJacobian
from gapkit.gp.covariance import energy_prior, force_covariance_prior, force_prior, virial_prior
from gapkit.gp.term import SparseTerm
from gapkit.kernels.polynomial import DotProduct
from gapkit.testing import STATISTICS, DescriptorLaws, GAPLaws, ModelLaws, sampled, zoo
from tests.physics.conftest import soap as arguments_of
from tests.physics.conftest import training_frames
from tests.reference.gaussian_process import Functional, ReferenceGP, SoapGP, all_functionals, labelled
from tests.reference.soap_legendre import create, jacobian
from tests.reference.spanning import spanning_case

SPECIES = ("H", "C", "O")
ZOO = zoo(SPECIES, seed=3)
U = np.array([[0.9, -0.4], [0.3, 1.2], [-0.5, 0.8]])
SALT = {"Na": [1.0, 0.3], "Cl": [0.4, -0.9]}


def arguments(n_max: int = 2, l_max: int = 3, **more: Any) -> dict[str, Any]:
    weighting = {"function": "poly", "r0": 2.7, "c": 1.0, "m": 1.0}
    return {"species": list(SPECIES), "r_cut": 2.7, "n_max": n_max, "l_max": l_max, "sigma": 0.4} | {
        "weighting": weighting,
        **more,
    }


def pairs_of(atoms: Atoms, reach: float) -> Pairs:
    return NeighbourList(reach).pairs(to_frame(atoms, labels=False))


def mixing_matrix(n_max: int, l_max: int, u_sk: np.ndarray) -> np.ndarray:
    """The linear map of dscribe's spectrum of S species to that of K mixed ones: p^kk' = Σ_ZZ' u_kZ u_k'Z' p^ZZ'."""

    def places(n_species: int) -> dict[tuple[int, int, int, int, int], int]:
        found: dict[tuple[int, int, int, int, int], int] = {}
        for s, t in itertools.combinations_with_replacement(range(n_species), 2):
            for l in range(l_max + 1):
                for n, m in itertools.product(range(n_max), repeat=2):
                    if s < t or n <= m:
                        found[l, s, n, t, m] = len(found)
        return found

    whole, mixed = places(len(u_sk)), places(u_sk.shape[1])
    matrix = np.zeros((len(mixed), len(whole)))
    for (l, k, n, kk, m), row in mixed.items():
        for s, t in itertools.product(range(len(u_sk)), repeat=2):
            place = whole.get((l, s, n, t, m), whole.get((l, t, m, s, n)))  # p is symmetric
            matrix[row, place] += u_sk[s, k] * u_sk[t, kk]
    return matrix


@pytest.mark.parametrize("weighting", [None, {"w0": 0.4}, {"function": "poly", "r0": 2.4, "c": 1.0, "m": 2.5}])
def test_values_are_the_mixed_spectrum_of_dscribe(weighting: Any) -> None:
    weights = {"mode": "off", "species_weighting": {"H": 0.5, "C": 1.4, "O": -0.8}}
    soap = SOAP(**arguments(3, 3, weighting=weighting, compression=weights), periodic=True)
    native, matrix = Soap(soap_basis(soap).embedded(U)), mixing_matrix(3, 3, U)
    for name, atoms in ZOO.items():
        system = atoms.copy()
        system.cell = atoms.cell.complete()
        expected = np.asarray(soap.create(system)) @ matrix.T
        error = np.abs(native.values(pairs_of(atoms, native.reach)) - expected).max()
        assert error <= 1e-11 * np.abs(expected).max(), name


def everything(descriptor: Soap, atoms: Atoms) -> list[np.ndarray]:
    """Values, rows of a Jacobian that meets few points, and gradients of a random function: of all channels."""
    pairs, rng = pairs_of(atoms, descriptor.reach), np.random.default_rng(0)
    found = [descriptor.values(pairs)]
    for channel in descriptor.channels:
        part = descriptor.pairs_of(pairs, channel)
        points = descriptor.points(rng.normal(size=(7, descriptor.basis.n_features)))
        way_f = rng.normal(size=descriptor.basis.n_features)
        if len(part.e_p):
            rows = descriptor.sites(part, channel, points).jacobian()
            pulled = descriptor.sites(part, channel).pullback(np.tile(way_f, (len(part.centres_e), 1)))
            found += [rows.meet(rows.rows_qcx)[np.lexsort((rows.pair_q,))], pulled]
    return found


@pytest.mark.parametrize("case", ["identity is no compression", "one channel is mu2"])
def test_limits_are_dscribe_s_compressions(case: str) -> None:
    """With S channels of the elements, and with one channel and the weights of the elements: exactly."""
    basis, weights = soap_basis(arguments()), {"H": 0.5, "C": 1.4, "O": -0.8}
    if case == "one channel is mu2":
        embedded = basis.embedded(np.array(list(weights.values()))[:, None])
        other = soap_basis(arguments(compression={"mode": "mu2", "species_weighting": weights}))
    else:
        embedded, other = basis.embedded(np.eye(3)), basis
    assert embedded.n_features == other.n_features
    for name, atoms in ZOO.items():
        for mine, theirs in zip(everything(Soap(embedded), atoms), everything(Soap(other), atoms), strict=True):
            assert np.abs(mine - theirs).max() <= 1e-12 * max(1.0, np.abs(theirs).max()), name


class TestEmbeddedSoap(DescriptorLaws):
    def descriptors(self) -> dict[str, Descriptor]:
        return {"two of three": Soap(soap_basis(arguments()).embedded(U))}


class _Few(DescriptorLaws):
    def structures(self, species: Sequence[str]) -> dict[str, Atoms]:
        return {name: zoo(species)[name] for name in ("tiny", "skewed", "wire", "ethanol", "dimer", "atom")}


class TestEmbeddedSoapOfSalt(_Few):
    def descriptors(self) -> dict[str, Descriptor]:
        basis = soap_basis(arguments_of(4.5, 2, 2, species=list(SALT)))
        return {
            "three of two": Soap(basis.embedded(np.array([[1, 0.2, -0.3], [0.1, -0.7, 0.4]]))),
            "alchemical": Soap(basis.embedded(np.array(list(SALT.values()))), alchemical=True),
        }


class TestEmbeddedSoapWithManyPoints(_Few):
    """So many that their space is smaller than that of the features, and the Jacobian is projected."""

    n_points = 60

    def descriptors(self) -> dict[str, Descriptor]:
        return {"two of three": Soap(soap_basis(arguments()).embedded(U))}


@pytest.mark.parametrize(("broken", "law"), [("mixing", "forces_are_slopes"), ("norm", "jacobian_is_pullback")])
def test_the_laws_notice_a_small_error(broken: str, law: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the gradient by the density of one element, or in ∂|p| of training rows alone."""
    case, mixed, slope = TestEmbeddedSoap(), SoapBasis.of_densities, SoapJacobian._norm_slope
    check = next(own for own in case.laws if own.name == law)
    model = sampled(case.descriptors()["two of three"], case.kernel)
    check(model, ZOO["ethanol"])
    if broken == "norm":
        monkeypatch.setattr(SoapJacobian, "_norm_slope", lambda *args: slope(*args) * 1.0001)
    else:
        wrong = np.array([[1.0], [1.0001], [1.0]])
        monkeypatch.setattr(SoapBasis, "of_densities", lambda self, values: mixed(self, values) * wrong)
    with pytest.raises(AssertionError):
        check(model, ZOO["ethanol"])


def salt_model(alchemical: bool) -> tuple[GAP, list[Atoms]]:
    frames = training_frames(["Na", "Cl"])
    term = SoapTerm(arguments_of(4.2, 2, 2), zeta=3, n_sparse=24, embedding=SALT, alchemical=alchemical)
    return GAP([term], Noise(0.005, 0.05, 0.01)).fit(frames, rng=0), frames


@pytest.fixture(scope="module")
def embedded() -> tuple[GAP, list[Atoms]]:
    return salt_model(alchemical=False)


@pytest.fixture(scope="module")
def alchemical() -> tuple[GAP, list[Atoms]]:
    return salt_model(alchemical=True)


class _Salt(GAPLaws, ModelLaws):
    species = ("Na", "Cl")

    def structures(self) -> dict[str, Atoms]:
        return {name: zoo(self.species)[name] for name in ("skewed", "wire", "ethanol", "dimer")}

    def others(self) -> list[Atoms]:
        return [zoo(self.species, seed=7)[name] for name in ("skewed", "slab", "water", "dimer")]


class TestEmbeddedModel(_Salt):
    @pytest.fixture
    def model(self, embedded: tuple[GAP, list[Atoms]]) -> GAP:
        return embedded[0]

    @pytest.fixture
    def frames(self, embedded: tuple[GAP, list[Atoms]]) -> list[Atoms]:
        return embedded[1]


class TestAlchemicalModel(_Salt):
    @pytest.fixture
    def model(self, alchemical: tuple[GAP, list[Atoms]]) -> GAP:
        return alchemical[0]

    @pytest.fixture
    def frames(self, alchemical: tuple[GAP, list[Atoms]]) -> list[Atoms]:
        return alchemical[1]


class AlchemicalGP(SoapGP):
    """The latent function of û_Z ⊗ q, q from dscribe's spectrum mixed by hand: one group of all central species."""

    def __init__(self, soap: SOAP, u_sk: np.ndarray, zeta: int, delta: float, alchemical: bool) -> None:
        super().__init__(soap, zeta, delta)
        self.u_sk, self.alchemical = u_sk, alchemical
        self.matrix = mixing_matrix(soap._n_max, soap._l_max, u_sk)

    def central(self, z: int) -> np.ndarray:
        u_k = self.u_sk[list(self.soap._atomic_numbers).index(z)]
        return np.asarray(u_k / np.linalg.norm(u_k))

    def sites(self, atoms: Atoms) -> Any:
        p_ef, dp_ebf = (x @ self.matrix.T for x in jacobian(atoms, self.soap))
        norm_e = np.linalg.norm(p_ef, axis=1)
        q_ef = p_ef / norm_e[:, None]
        along_eb = np.einsum("ebf,ef->eb", dp_ebf, q_ef)
        dq_ebf = (dp_ebf - along_eb[..., None] * q_ef[:, None]) / norm_e[:, None, None]
        n, numbers = len(atoms), [int(z) for z in atoms.numbers]
        if self.alchemical:
            u_ek = np.array([self.central(z) for z in numbers])
            q_ef = np.einsum("ek,ef->ekf", u_ek, q_ef).reshape(n, -1)
            dq_ebf = np.einsum("ek,ebf->ebkf", u_ek, dq_ebf).reshape(n, dq_ebf.shape[1], -1)
            numbers = [0] * n
        return numbers, np.arange(n), q_ef, dq_ebf, np.ones(n), np.zeros((n, 3 * n + 6))


SIGMAS, ISOLATED_SIGMA, HO = (0.05, 0.2, 0.3), 1e-5, {"H": [0.9, -0.2], "O": [0.5, 0.8]}


def observed(structures: list[Atoms]) -> tuple[list[Functional], np.ndarray, np.ndarray]:
    """All labels, and the isolated atoms that gapkit holds at e0."""
    kinds = ("energy", "force")
    parts = [labelled(a, (*kinds, "stress") if a.pbc.any() else kinds) for a in structures]
    rows = [row for own, _ in parts for row in own]
    alone = [Functional(Atoms(symbol), "energy") for symbol in HO]
    sigma = [row.sigma(*SIGMAS) for row in rows] + [ISOLATED_SIGMA] * len(alone)
    return rows + alone, np.concatenate([*(y for _, y in parts), np.zeros(len(alone))]), np.array(sigma)


def predicted(model: GAP, structures: list[Atoms]) -> tuple[np.ndarray, np.ndarray, list[Functional]]:
    """Means and variances of all that can be predicted, and what they are."""
    means, variances, asked = [], [], []
    for atoms in structures:
        names = ["energy", "energies", "forces"] + (["stress"] if atoms.pbc.any() else [])
        p = model.predict(atoms, {*names, *(f"{name}_std" for name in names)})
        means += [np.ravel(getattr(p, name)) for name in names]
        variances += [np.ravel(getattr(p, f"{name}_epistemic_std")) ** 2 for name in names]
        asked += all_functionals(atoms, ("energy", "local", "force", "stress")[: len(names)])
    return np.concatenate(means), np.concatenate(variances), asked


def spanning_model(folder: Path, zeta: int, alchemical: bool) -> tuple[GAP, ReferenceGP, Any]:
    """Random points that span all that sites of an element can be, and the exact process."""
    case, u_sk = spanning_case("HO", zeta), np.array(list(HO.values()))
    reference = AlchemicalGP(case.soap, u_sk, zeta, case.delta, alchemical)
    width, rng = len(reference.matrix), np.random.default_rng(1)
    alone = {s: create(Atoms(s), case.soap) @ reference.matrix.T for s in HO}
    extra = math.comb(width + zeta - 1, zeta) - 1  # the isolated atom is one
    np.savez(folder / "points.npz", **{s: rng.normal(size=(extra, x.shape[1])) for s, x in alone.items()})
    settings = {"zeta": zeta, "delta": case.delta, "method": folder / "points.npz"}
    term = SoapTerm(case.soap, embedding=HO, alchemical=alchemical, **settings)
    structures = case.structures[6:]
    model = GAP([term], Noise(*SIGMAS), e0=dict.fromkeys(HO, 0.0), baselines=[]).fit(structures)
    rows, y, sigma = observed(structures)
    return model, ReferenceGP([reference], digits=30).fit(rows, y, sigma), (case, y, rows)


@pytest.mark.parametrize(("zeta", "alchemical"), [(1, True), (2, True), (2, False)])
def test_sparse_is_exact_when_points_span_everything(zeta: int, alchemical: bool, tmp_path: Path) -> None:
    """Means, and variances of energies, local energies, forces and stress, are those of the brute-force process."""
    model, exact, (case, y, rows) = spanning_model(tmp_path, zeta, alchemical)
    mean, variance, asked = predicted(model, case.tests)
    assert np.abs(mean - exact.mean(asked)).max() < 1e-9 * np.abs(y).max()
    assert np.abs(variance - exact.variance(asked)).max() < 1e-9 * case.delta**2
    volumes = sum(np.log(row.atoms.get_volume()) for row in rows if row.kind == "stress")
    assert model.log_evidence_ == pytest.approx(exact.log_evidence() - volumes, rel=1e-9)
    forces_cc = model.predict(case.tests[0], {"forces_covariance"}).forces_covariance
    assert np.diagonal(forces_cc) == pytest.approx(exact.variance(all_functionals(case.tests[0], ("force",))), abs=1e-8)


def priors(model: GAP, atoms: Atoms) -> tuple[float, np.ndarray, np.ndarray]:
    """Prior variance of the energy, and covariances of forces and strain derivatives."""
    terms, pairs = model.state_.terms, pairs_of(atoms, model.reach)
    return energy_prior(terms, [pairs]), force_covariance_prior(terms, pairs), virial_prior(terms, pairs)


@pytest.mark.parametrize("alchemical", [True, False])
def test_priors_are_those_of_the_exact_process(
    alchemical: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sparse points do not hide them here; without κ between the elements they are others."""
    model, exact, (case, _, _) = spanning_model(tmp_path, 2, alchemical)
    atoms = case.tests[1]
    energy, forces_xx, virial_vv = priors(model, atoms)
    rows = {kind: all_functionals(atoms, (kind,)) for kind in ("energy", "force", "stress")}
    expected = {kind: exact.covariance(own, own) for kind, own in rows.items()}
    assert energy == pytest.approx(float(expected["energy"][0, 0]), rel=1e-11)
    assert forces_xx == pytest.approx(expected["force"], abs=1e-11 * np.abs(forces_xx).max())
    volume = atoms.get_volume()
    assert virial_vv / volume**2 == pytest.approx(expected["stress"], abs=1e-11 * np.abs(virial_vv).max() / volume**2)
    diagonal = force_prior(model.state_.terms, pairs_of(atoms, model.reach)).ravel()
    assert diagonal == pytest.approx(np.diagonal(forces_xx), rel=1e-11)
    monkeypatch.setattr(SparseTerm, "central", lambda self, numbers: np.eye(2)[(numbers == 8).astype(int)])
    others = priors(model, atoms)[1:]
    changed = [np.abs(a - b).max() / np.abs(a).max() for a, b in zip((forces_xx, virial_vv), others, strict=True)]
    assert min(changed) > 0.01 if alchemical else max(changed) == 0.0


def test_leave_one_out_is_a_fit_without_the_frame(tmp_path: Path) -> None:
    model, _, (case, _, _) = spanning_model(tmp_path, 2, True)
    structures = case.structures[6:]
    term = model.state_.settings[0]
    found = model.leave_one_out(structures)["forces"]
    less = GAP([term], Noise(*SIGMAS), e0=dict.fromkeys(HO, 0.0), baselines=[]).fit(structures[1:])
    held = less.residuals(structures[:1])["forces"]
    own = found.frame_x == 0
    assert found.error_xc[own] == pytest.approx(held.error_xc, abs=1e-8 * np.abs(held.error_xc).max())
    assert found.data_xc[own] + found.prior_xc[own] == pytest.approx(held.data_xc + held.prior_xc, abs=1e-8)


def test_samples_spread_like_the_posterior(alchemical: tuple[GAP, list[Atoms]]) -> None:
    model, frames = alchemical
    one = next(atoms for atoms in frames if len(atoms) == 3)
    drawn = np.array([p.forces for p in model.sample(400).predict(one, {"forces"})])
    ratio = drawn.var(axis=0) / model.residuals([one])["forces"].data_xc
    assert np.abs(ratio - 1.0).max() < STATISTICS * np.sqrt(2.0 / 400)


def test_orthogonal_vectors_keep_central_species_apart() -> None:
    frames = training_frames(["Na", "Cl"])
    settings = {"zeta": 2, "n_sparse": 24, "embedding": {"Na": [1.0, 0.0], "Cl": [0.0, 1.0]}}
    models = [
        GAP([SoapTerm(arguments_of(4.2, 2, 2), alchemical=a, **settings)], Noise(0.005, 0.05, 0.01)).fit(frames)
        for a in (False, True)
    ]
    apart, related = (predicted(m, [zoo(("Na", "Cl"), seed=7)["skewed"]])[:2] for m in models)
    for one, other in zip(apart, related, strict=True):
        assert one == pytest.approx(other, abs=1e-8 * np.abs(one).max())


def test_elements_of_one_vector_are_one_element() -> None:
    """Labels of either teach about both, and swapping them changes nothing but e0."""
    frames = training_frames(["Na", "Cl"])
    term = SoapTerm(arguments_of(4.2, 2, 2), zeta=2, n_sparse=24, embedding={"Na": [1.0], "Cl": [1.0]}, alchemical=True)
    model = GAP([term], Noise(0.005, 0.05, 0.01)).fit(frames)
    atoms = zoo(("Na", "Cl"), seed=7)["ethanol"]
    swapped = atoms.copy()
    swapped.numbers = 28 - atoms.numbers  # 11 and 17
    want, name = {"energy", "forces_std", "energies_std"}, model.state_.terms[0].name
    one, other = model.predict(atoms, want), model.predict(swapped, want)
    assert other.by_term[name] == pytest.approx(one.by_term[name], rel=1e-9)
    for what in ("forces_std", "energies_std"):
        assert getattr(other, what) == pytest.approx(getattr(one, what), rel=1e-7, abs=1e-9)


@pytest.mark.parametrize("zeta", [1, 2, 3, 4])
def test_covariance_has_no_negative_eigenvalue(zeta: int) -> None:
    """Of random vectors, whose cosines may be negative: a product and a power of kernels is a kernel."""
    rng = np.random.default_rng(zeta)
    basis = soap_basis(arguments()).embedded(rng.normal(size=(3, 2)))
    soap = Soap(basis, alchemical=True)
    x = {c: rng.normal(size=(9, basis.n_features)) for c in soap.channels}
    points = soap.shared_points({c: x_mf / np.linalg.norm(x_mf, axis=1)[:, None] for c, x_mf in x.items()})
    k_mm = SparseTerm("term", soap, DotProduct(zeta), 1.0, points).covariance()
    assert k_mm == pytest.approx(k_mm.T, abs=1e-14)
    assert np.diagonal(k_mm) == pytest.approx(np.ones(27))
    assert np.linalg.eigvalsh(k_mm).min() > -1e-12
    assert np.abs(k_mm[:9, 9:]).max() > 1e-3  # elements are related

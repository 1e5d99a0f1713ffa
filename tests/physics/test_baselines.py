"""Known physics below a model: it is subtracted from labels, added to predictions, and nothing else changes."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from gapkit import GAP, GapkitWarning, Noise, PairTerm, SoapTerm, evaluate, load
from gapkit.atoms.frame import Frame
from gapkit.atoms.labels import to_frame
from gapkit.atoms.neighbours import NeighbourList, Pairs
from gapkit.atoms.pieces import pieces
from gapkit.baselines.base import Contribution
from gapkit.baselines.cohesion import Cohesion
from gapkit.baselines.zbl import ZBL
from gapkit.gp.design import frame_rows
from gapkit.model.baseline_kinds import BASELINE_KINDS
from gapkit.testing import MODEL_LAWS, obeys, zoo
from gapkit.typing import Kind
from gapkit.units import to_voigt
from tests.samples import E0, EVERYTHING, atom, cluster, crystal, frames, numbers, soap_arguments, two_species

NOISE = {"energy": 0.002, "forces": 0.05, "stress": 0.02}


class Bonds:
    """½ Σ A (1 - r²/R²)³ over pairs, the same of all elements, and a constant for each atom that has a neighbour or
    is in a crystal (isolated atoms have none)."""

    kind: ClassVar[str] = "bonds"

    def __init__(self, strength: float = 1.5, r_cut: float = 3.4, constant: float = 0.0, scale: Any = 1.0) -> None:
        self.strength, self.r_cut, self.constant, self.scale = strength, r_cut, constant, scale

    @property
    def reach(self) -> float:
        return self.r_cut

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        return {"strength": self.strength, "r_cut": self.r_cut, "constant": self.constant, "scale": self.scale}

    def prepared(self, frames: Sequence[Frame]) -> Bonds:
        return Bonds(**self.get_params())

    def scaled(self, factor: float) -> Bonds:
        return Bonds(**{**self.get_params(), "scale": factor})

    def evaluate(self, frame: Frame, kinds: Collection[Kind], pairs: Pairs | None = None) -> Contribution:
        near = (NeighbourList(self.r_cut).pairs(frame) if pairs is None else pairs).within(self.r_cut)
        factor = 1.0 if self.scale == "fit" else self.scale
        r2_p = np.einsum("pc,pc->p", near.r_pc, near.r_pc)
        inside_p = 1.0 - r2_p / self.r_cut**2
        energies_e = 0.5 * self.strength * np.bincount(near.i_p, inside_p**3, frame.n_atoms)
        energies_e = factor * (energies_e + self.constant * (frame.n_atoms > 1))
        gradient_pc = (-3.0 * factor * self.strength / self.r_cut**2 * inside_p**2)[:, None] * near.r_pc
        return Contribution(
            energies_e,
            near.forces(gradient_pc) if "forces" in kinds else None,
            near.virial(gradient_pc) if "stress" in kinds else None,
        )


FAR = 5.2  # Å, beyond the reach of the terms
CASES = {"short": Bonds(), "long": Bonds(0.4, FAR, 0.8)}


def plus(atoms: Atoms, baseline: Any, factor: float = 1.0, noise: np.random.Generator | None = None) -> Atoms:
    """The structure with `factor` times a baseline added to its labels, and noise of a tenth of `NOISE`."""
    found, frame = atoms.copy(), to_frame(atoms)
    results = dict(atoms.calc.results)
    part = baseline.evaluate(frame, {"energy", "forces", "stress"})
    added = {"energy": float(part.energies_e.sum()), "forces": part.forces_ec}
    if frame.pbc_c.all():
        added["stress"] = to_voigt(part.virial_cc) / frame.volume
    for name in results:
        results[name] = results[name] + factor * added[name]
        if noise is not None and len(atoms) > 1 and name != "stress":
            results[name] = results[name] + 0.1 * NOISE[name] * noise.normal(size=np.shape(results[name]))
    found.calc = SinglePointCalculator(found, **results)
    return found


def soap_model(baselines: Sequence[Any], **changes: Any) -> GAP:
    term = SoapTerm(soap_arguments(), zeta=2, n_sparse=8)
    return GAP([term], **{"noise": Noise(**NOISE), "baselines": list(baselines), **changes})


def only_e0(atoms: Atoms) -> Atoms:
    """Labels of atoms that do not see each other."""
    found = atoms.copy()
    energy = sum(E0[s] for s in atoms.get_chemical_symbols())
    results: dict[str, Any] = {"energy": energy, "forces": np.zeros((len(atoms), 3))}
    if atoms.pbc.all():
        results["stress"] = np.zeros(6)
    found.calc = SinglePointCalculator(found, **results)
    return found


@pytest.mark.parametrize("case", CASES)
def test_labels_that_are_the_baseline_leave_nothing_to_learn(case: str) -> None:
    baseline = CASES[case]
    data = [atom("Si"), atom("C"), *(plus(only_e0(a), baseline) for a in two_species(6)[2:])]
    fit = soap_model([baseline]).fit(data)
    assert np.abs(fit.state_.posterior.weights_m).max() < 1e-9
    for atoms in (crystal(9, symbols="SiC"), cluster(8, "SiCSi2")):
        expected, p = plus(only_e0(atoms), baseline), fit.predict(atoms)
        assert p.energy == pytest.approx(expected.get_potential_energy(), abs=1e-10)
        assert p.forces == pytest.approx(expected.get_forces(), abs=1e-10)
        assert p.by_term["bonds"] == pytest.approx(p.energy - p.by_term["e0"], abs=1e-9)
        if atoms.pbc.all():
            assert p.stress == pytest.approx(expected.get_stress(), abs=1e-11)
    assert fit.training_["errors"][0]["rms"] < 1e-9


@pytest.mark.parametrize("case", CASES)
def test_a_model_with_a_baseline_is_the_sum_of_both(case: str) -> None:
    """On labels with the baseline it is what one without it is on labels without; σ are the same."""
    baseline = CASES[case]
    bare = soap_model([]).fit(frames(6))
    fit = soap_model([baseline]).fit([plus(a, baseline) if len(a) > 1 else a for a in frames(6)])
    assert fit.log_evidence_ == pytest.approx(bare.log_evidence_, rel=1e-10)
    for atoms in (crystal(9), cluster(8)):
        part = baseline.evaluate(to_frame(atoms, labels=False), {"energy", "forces", "stress"})
        want = EVERYTHING if atoms.pbc.all() else EVERYTHING - {"stress", "stress_std"}
        p, q = fit.predict(atoms, want), bare.predict(atoms, want)
        assert p.energy == pytest.approx(q.energy + part.energies_e.sum(), abs=1e-9)
        assert p.energies == pytest.approx(q.energies + part.energies_e, abs=1e-9)
        assert p.forces == pytest.approx(q.forces + part.forces_ec, abs=1e-9)
        assert sum(p.by_term.values()) == pytest.approx(p.energy, abs=1e-12)
        assert set(p.by_term) == {"e0", "bonds", "soap0"}
        assert p.by_term["bonds"] == pytest.approx(part.energies_e.sum(), abs=1e-12)
        for name in ("energy_std", "energies_std", "forces_std", "extrapolation"):
            assert getattr(p, name) == pytest.approx(getattr(q, name), rel=1e-9, abs=1e-12), name
        if atoms.pbc.all():
            assert p.stress == pytest.approx(q.stress + to_voigt(part.virial_cc) / atoms.get_volume(), abs=1e-10)
            assert p.stress_std == pytest.approx(q.stress_std, rel=1e-9)


@pytest.mark.parametrize("case", CASES)
def test_everything_that_judges_a_model_sees_the_baseline(case: str) -> None:
    """Residuals, frames that are left out, evaluation, explanations, samples."""
    baseline = CASES[case]
    data = [plus(a, baseline) if len(a) > 1 else a for a in frames(6)]
    bare, fit = soap_model([]).fit(frames(6)), soap_model([baseline]).fit(data)
    tests = [crystal(9), cluster(8)]
    moved = [plus(a, baseline) for a in tests]
    for one, other in (
        (fit.residuals(moved), bare.residuals(tests)),
        (fit.leave_one_out(data), bare.leave_one_out(frames(6))),
        (fit.leave_one_out(data, by="config_type"), bare.leave_one_out(frames(6), by="config_type")),
    ):
        assert set(one) == set(other)
        for kind, own in other.items():
            assert np.abs(one[kind].error_xc - own.error_xc).max() <= 1e-8 * np.abs(own.error_xc).max()
            assert one[kind].std_xc == pytest.approx(own.std_xc, rel=1e-8)
    for kind in ("energy", "forces", "stress"):
        one, other = evaluate(fit, moved).comparison(kind), evaluate(bare, tests).comparison(kind)
        assert one is not None
        assert other is not None
        assert one.predicted_n - one.true_n == pytest.approx(other.predicted_n - other.true_n, abs=1e-7)
    part = baseline.evaluate(to_frame(tests[1], labels=False), ())
    assert np.ptp(part.energies_e) > 0.1
    for k in range(4):
        e, p = fit.explain(tests[1], k), fit.predict(tests[1], {"energies"})
        assert e.local_by_term["bonds"] == pytest.approx(part.energies_e[k], abs=1e-12)
        assert e.local_energy == pytest.approx(p.energies[k], abs=1e-9)
        assert e.by_term == pytest.approx(fit.predict(tests[1]).by_term, abs=1e-9)
    members, plain = fit.sample(5, rng=1), bare.sample(5, rng=1)
    added = baseline.evaluate(to_frame(tests[1], labels=False), {"forces"})
    for one_member, other_member in zip(members, plain, strict=True):
        p, q = one_member.predict(tests[1]), other_member.predict(tests[1])
        assert p.energy == pytest.approx(q.energy + added.energies_e.sum(), abs=1e-8)
        assert p.forces == pytest.approx(q.forces + added.forces_ec, abs=1e-7)


def test_a_model_with_baselines_obeys_all_laws() -> None:
    """Two of one kind, one of which sees farther than the terms, and a repulsion."""
    baselines = [Bonds(), Bonds(0.4, FAR), ZBL()]
    fit = soap_model(baselines).fit(two_species())
    structures = zoo(["Si", "C"])
    short = soap_model([Bonds(), ZBL()]).fit(two_species())
    for kind in ("skewed", "water", "dimer"):
        obeys(short, structures[kind])
    for law in ("primitive", "wire"):
        obeys_without_reach(fit, structures[law])
    p = fit.predict(structures["skewed"])
    assert list(p.by_term) == ["e0", "bonds0", "bonds1", "zbl", "soap0"]


def obeys_without_reach(fit: GAP, atoms: Atoms) -> None:
    """Slopes and symmetries; laws of distant fragments know the reach of the terms alone."""
    for law in MODEL_LAWS:
        if law.name not in ("distant_fragments_add", "nothing_jumps", "stress_is_virial_sum"):
            law(fit, atoms)


@pytest.mark.parametrize("change", [{"max_memory": "100kB"}, {"n_jobs": 2}])
def test_regions_and_processes_change_nothing(change: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A large structure is done in regions whose pairs do not serve a baseline."""
    fit = soap_model([Bonds(), Bonds(0.4, FAR), ZBL()]).fit(frames(4))
    large = crystal(9).repeat((16, 2, 2))
    large.positions += np.random.default_rng(0).normal(0.0, 0.05, large.positions.shape)
    whole = fit.predict(large, {"energy", "energies", "forces", "stress"})
    seen = []
    monkeypatch.setattr("gapkit.model.predict.pieces", lambda *a: seen.extend(found := list(pieces(*a))) or found)
    other = copy(fit).set_params(**change)
    parts = other.predict(large, {"energy", "energies", "forces", "stress"})
    assert (len(seen) > 1) == ("max_memory" in change)
    assert parts.energy == pytest.approx(whole.energy, rel=1e-11)
    for name in ("energies", "forces", "stress"):
        expected = getattr(whole, name)
        assert np.abs(getattr(parts, name) - expected).max() <= 1e-9 * np.abs(expected).max()
    both = other.predict([large, crystal(3)])
    assert both[0].forces == pytest.approx(whole.forces, abs=1e-8)
    assert both[1].energy == pytest.approx(fit.predict(crystal(3)).energy, abs=1e-8)


def test_a_file_keeps_the_baseline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BASELINE_KINDS, "bonds", Bonds)
    close = Atoms("Si2", [[0, 0, 0], [0, 0, 0.9]])
    data = [plus(only_e0(a), Bonds(), 0.7) if len(a) > 1 else a for a in frames(4)]
    for baselines in ([ZBL()], [ZBL(inner=0.5, outer=1.5)], [Bonds(scale="fit"), ZBL()], []):
        fit = soap_model(baselines).fit(data)
        fit.save(tmp_path / "a.gap", data=True)
        again = load(tmp_path / "a.gap")
        assert np.array_equal(numbers(again), numbers(fit))
        assert again.predict(close).energy == fit.predict(close).energy
        assert [b.get_params() for b in again.state_.baselines] == [b.get_params() for b in fit.state_.baselines]
        assert numbers(again.extend([crystal(40)])) == pytest.approx(numbers(fit.extend([crystal(40)])), rel=1e-9)
    guarded = soap_model([ZBL(inner=0.5, outer=1.5)]).fit(frames(4))
    assert guarded.predict(close).by_term["zbl"] > 20.0


def like_the_model(structures: Sequence[Atoms], seed: int = 5) -> list[Atoms]:
    """The structures with labels that are e0 and a draw from the prior of the model.

    The draw is one that isolated atoms and least squares of energies against composition find nothing in, so that e0
    is that of the model in both ways.
    """
    fit = soap_model([]).fit(structures)
    state, rng = fit.state_, np.random.default_rng(seed)
    frames_ = [to_frame(a) for a in structures]
    rows = np.array([frame_rows(state.terms, NeighbourList(fit.reach).pairs(f), {"energy"}).energy_m for f in frames_])
    bound = [k for k, f in enumerate(frames_) if f.n_atoms > 1]
    counts = np.array([[(frames_[k].numbers_e == z).sum() for z in fit.species_] for k in bound])
    weight = 1.0 / np.sqrt(counts.sum(axis=1))[:, None]
    nothing = np.concatenate([np.linalg.pinv(counts * weight) @ (rows[bound] * weight), np.delete(rows, bound, axis=0)])
    prior = np.linalg.inv(state.prior_mm.T @ state.prior_mm)
    weights = np.linalg.solve(state.prior_mm, rng.normal(size=len(prior)))
    weights -= prior @ nothing.T @ np.linalg.solve(nothing @ prior @ nothing.T, nothing @ weights)
    made = copy(fit)
    made.state_ = replace(state, posterior=replace(state.posterior, weights_m=weights))
    found = []
    for atoms in structures:
        p, copy_ = made.predict(atoms), atoms.copy()
        own = {"energy": p.energy, "forces": p.forces} | ({} if p.stress is None else {"stress": p.stress})
        copy_.calc = SinglePointCalculator(copy_, **own)
        found.append(copy_)
    return found


def many() -> list[Atoms]:
    """Isolated atoms, and structures of several compositions."""
    more = [cluster(30 + k, "Si3C") for k in range(2)] + [cluster(40 + k, "SiC4") for k in range(2)]
    return [*two_species(8), *more]


@pytest.mark.parametrize("true", [0.7, 2.5])
@pytest.mark.parametrize("least_squares", [False, True])
def test_a_scale_is_found_with_the_rest(true: float, least_squares: bool) -> None:
    """Where e0 comes from least squares, it takes most of a baseline of 6 eV per atom; the scale is found all the same.

    Three standard errors, of the curvature of the evidence as a refit with another scale has it.
    """
    baseline, rng = Bonds(1.5, 3.4, 6.0 if least_squares else 0.0), np.random.default_rng(7)
    bare = like_the_model(many())[2 if least_squares else 0 :]
    data = [plus(a, baseline, true, rng) if len(a) > 1 else a for a in bare]

    def fitted(scale: Any) -> GAP:
        return soap_model([Bonds(1.5, 3.4, baseline.constant, scale)]).fit(data)

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore" if least_squares else "error", message=".*least squares")
        fit, at_true = fitted("fit"), fitted(true)
        near = [fitted(true + step) for step in (-0.02, 0.02)]
    found = fit.state_.baselines[0].scale
    curvature = (2.0 * at_true.log_evidence_ - sum(n.log_evidence_ for n in near)) / 0.02**2
    error = 1.0 / np.sqrt(curvature)
    assert error < 0.03
    assert abs(found - true) < 3.0 * error + 1e-9
    assert fit.log_evidence_ >= max(n.log_evidence_ for n in [*near, at_true])
    errors = fit.residuals(data)["energy"].error_xc  # e0 gives back what the baseline took
    assert np.sqrt(np.mean(errors**2)) < NOISE["energy"]
    if not least_squares:
        again = numbers(fitted(found), crystal(61, symbols="SiC"))
        assert numbers(fit, crystal(61, symbols="SiC")) == pytest.approx(again, rel=1e-7, abs=1e-8)


def test_a_scale_is_never_negative() -> None:
    data = [plus(a, Bonds(), -0.5) if len(a) > 1 else a for a in like_the_model(many())]
    with pytest.warns(GapkitWarning, match="scale 0"):
        fit = soap_model([Bonds(scale="fit")]).fit(data)
    assert fit.state_.baselines[0].scale == 0.0
    bare = soap_model([]).fit(data)
    assert fit.predict(crystal(9)).forces == pytest.approx(bare.predict(crystal(9)).forces, abs=1e-8)


def test_a_scale_and_other_scales_together() -> None:
    """With a learned noise and a learned δ."""
    rng = np.random.default_rng(3)
    data = [plus(a, Bonds(), 0.7, rng) if len(a) > 1 else a for a in like_the_model(many())]
    term = SoapTerm(soap_arguments(), zeta=2, n_sparse=8, delta=None)
    fit = GAP([term], None, baselines=[Bonds(scale="fit"), ZBL()]).fit(data)
    assert fit.state_.baselines[0].scale == pytest.approx(0.7, abs=0.02)
    learned, delta = fit.state_.noise, fit.state_.terms[0].delta
    for factor in (0.5, 2.0):  # and δ is the most probable one
        fixed = SoapTerm(soap_arguments(), zeta=2, n_sparse=8, delta=factor * delta)
        noise = Noise(learned.energy, learned.forces, learned.stress)
        assert GAP([fixed], noise, baselines=fit.state_.baselines).fit(data).log_evidence_ < fit.log_evidence_
    assert fit.state_.noise.forces == pytest.approx(0.1 * NOISE["forces"], rel=0.3)
    assert fit.baselines[0].scale == "fit"  # the user's setting stays


@pytest.mark.parametrize("known", ["isolated atoms", "least squares", "cohesion"])
@pytest.mark.parametrize("delta", [True, False])
def test_the_largest_evidence_finds_scales_again(known: str, delta: bool) -> None:
    """With σ wrong by 30 and 0.1: all of it is a fresh fit with the σ and δ that were found."""
    rng, baseline = np.random.default_rng(3), Bonds(constant=2.0)
    bare = like_the_model(many())[2 if known == "least squares" else 0 :]
    data = [plus(a, baseline, 0.7, rng) if len(a) > 1 else a for a in bare]
    baselines = [*([Cohesion()] if known == "cohesion" else []), Bonds(constant=2.0, scale="fit"), ZBL()]

    def made(noise: Noise, deltas: Sequence[float]) -> GAP:
        soap = SoapTerm(soap_arguments(), zeta=2, n_sparse=8, delta=deltas[1])
        model = GAP([PairTerm(3.5, n_sparse=5, delta=deltas[0]), soap], noise, baselines=baselines)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore" if known == "least squares" else "error", message=".*least squares")
            return model.fit(data)

    found = made(Noise(30.0 * NOISE["energy"], 0.1 * NOISE["forces"], 30.0 * NOISE["stress"]), (1.0, 1.0))
    before = scale_of(found)
    found.maximize_evidence(delta=delta)
    fresh = made(found.noise, [t.delta for t in found.state_.terms])
    assert scale_of(found) == pytest.approx(scale_of(fresh), rel=1e-6)
    assert abs(scale_of(found) - before) > 1e-3
    assert found.log_evidence_ == pytest.approx(fresh.log_evidence_, rel=1e-7)
    assert found.evidence_.log_evidence[1] == pytest.approx(fresh.log_evidence_, rel=1e-7)
    assert found.evidence_.scale == {"bonds": pytest.approx((before, scale_of(fresh)), rel=1e-6)}
    assert found.e0_ == pytest.approx(fresh.e0_, abs=1e-6)
    for atoms in (crystal(61, symbols="SiC"), crystal(62, symbols="SiC")):
        assert numbers(found, atoms) == pytest.approx(numbers(fresh, atoms), rel=1e-5, abs=1e-6)


def test_scales_stay_where_the_data_are_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BASELINE_KINDS, "bonds", Bonds)
    data = [plus(a, Bonds(), 0.7) if len(a) > 1 else a for a in like_the_model(many())]
    for change in ("file", "extend", "remove", "thin"):
        model = soap_model([Bonds(scale="fit")]).fit(data[:-2])
        before = scale_of(model)
        if change == "file":
            model.save(tmp_path / "a.gap", data=True)
            model = load(tmp_path / "a.gap")
        elif change == "extend":
            model.extend(data[-2:])
        elif change == "remove":
            model.remove(data[-3:-2])
        else:
            model = model.thinned(4)
        assert model.maximize_evidence().evidence_.scale == {}
        assert scale_of(model) == before


def scale_of(model: GAP) -> float:
    return float(next(b.scale for b in model.state_.baselines if b.kind == "bonds"))


def test_extension_and_fine_tuning_subtract_it() -> None:
    baseline = Bonds()
    terms = [PairTerm(3.5, n_sparse=5), SoapTerm(soap_arguments(), zeta=2, n_sparse=6)]
    made = {}
    for name, own in (("with", [baseline]), ("without", [])):
        change = (lambda a: plus(a, baseline) if len(a) > 1 else a) if own else (lambda a: a)
        fit = GAP(terms, Noise(**NOISE), baselines=own).fit([change(a) for a in frames(4)])
        fit.extend([change(crystal(40)), change(cluster(41))])
        fit.fine_tune([change(crystal(42)), change(cluster(43))], difference=0.3, e0={"Si": -2.5})
        made[name] = fit.remove([change(crystal(42))])
    part = baseline.evaluate(to_frame(crystal(9), labels=False), {"forces"})
    p, q = made["with"].predict(crystal(9)), made["without"].predict(crystal(9))
    assert p.energy == pytest.approx(q.energy + part.energies_e.sum(), abs=1e-6)
    assert p.forces == pytest.approx(q.forces + part.forces_ec, abs=1e-6)

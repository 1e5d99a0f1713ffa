"""σ and δ of a fitted model at the maximum of the evidence: what changes, what stays, and from where it is found."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gapkit import GAP, ConfigError, EvidenceReport, Keys, Noise, PairTerm, SoapTerm, load, read_frames
from gapkit.model.maximizing import _with_deltas
from tests.samples import crystal, frames, model, numbers, soap_arguments, two_species

SILICON = Path(__file__).parents[2] / "data" / "silicon"


def test_it_finds_more_probable_settings_without_a_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    made = model().fit(frames(8))
    before = made.log_evidence_
    monkeypatch.setattr("gapkit.gp.term.SparseTerm.blocks", None)
    monkeypatch.setattr("gapkit.gp.term.SparseTerm.covariance", None)
    assert made.maximize_evidence() is made
    monkeypatch.undo()
    report = made.evidence_
    assert isinstance(report, EvidenceReport)
    assert report.converged
    assert report.log_evidence == pytest.approx((before, made.log_evidence_), rel=1e-9)
    assert made.log_evidence_ > before + 10
    assert set(report.sigma) == {"energy", "forces", "stress"}
    assert set(report.delta) == {"pair0", "soap1"}
    assert [t.delta for t in made.state_.terms] == [after for _, after in report.delta.values()]
    assert {kind: after for kind, (_, after) in report.sigma.items()} == pytest.approx(
        {kind: getattr(made.noise, kind) for kind in ("energy", "forces", "stress")}
    )
    assert "σ forces" in str(report)
    assert "converged after" in str(report)


def test_it_is_a_fresh_fit_with_what_it_found() -> None:
    made = model().fit(frames(8)).maximize_evidence()
    deltas = [t.delta for t in made.state_.terms]
    terms = [
        PairTerm(r_cut=3.5, n_sparse=6, delta=deltas[0]),
        SoapTerm(soap_arguments(), zeta=2, n_sparse=8, delta=deltas[1]),
    ]
    fresh = model(terms=terms, noise=made.noise).fit(frames(8))
    assert made.log_evidence_ == pytest.approx(fresh.log_evidence_, rel=1e-9)
    assert numbers(made) == pytest.approx(numbers(fresh), rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("sigma", ["kind", "group", None])
def test_again_changes_nothing(sigma: str | None) -> None:
    made = model().fit(frames(8)).maximize_evidence(sigma)
    evidence, before = made.log_evidence_, numbers(made)
    made.maximize_evidence(sigma)
    assert made.log_evidence_ == pytest.approx(evidence, abs=1e-3)
    assert numbers(made) == pytest.approx(before, rel=1e-2, abs=1e-4)


def test_refit_and_the_file_keep_it(tmp_path: Path) -> None:
    made = model().fit(frames(8)).maximize_evidence("group")
    expected, report = numbers(made), made.evidence_
    made.save(tmp_path / "a.gap", data=True)
    kept = load(tmp_path / "a.gap")
    assert np.array_equal(numbers(kept), expected)
    assert kept.evidence_ == report
    assert json.loads(json.dumps(kept.training_["evidence"])) == kept.training_["evidence"]
    assert [t.delta for t in kept.terms] == [t.delta for t in made.state_.terms]
    assert kept.noise.get_params() == made.noise.get_params()
    assert np.array_equal(numbers(kept.refit()), expected)
    assert np.array_equal(numbers(made.refit()), expected)
    assert made.evidence_ is None  # of the model before
    again = load(tmp_path / "a.gap").maximize_evidence("group")
    assert numbers(again) == pytest.approx(expected, rel=1e-2, abs=1e-4)


def test_groups_keep_their_ratios_or_get_their_own() -> None:
    noise = Noise(0.002, 0.05, 0.02, {"cluster": {"forces": 0.2}})
    made = model(noise=noise).fit(frames(8)).maximize_evidence()
    assert made.noise.groups["cluster"]["forces"] / made.noise.forces == pytest.approx(4.0)
    assert set(made.noise.groups["cluster"]) == {"forces"}
    own = model(noise=noise).fit(frames(8)).maximize_evidence("group")
    assert set(own.noise.groups["cluster"]) == {"energy", "forces"}
    assert set(own.noise.groups["crystal"]) == {"energy", "forces", "stress"}
    squares = [own.noise.groups[group]["forces"] ** 2 for group in ("cluster", "crystal")]
    assert own.noise.forces == pytest.approx(np.sqrt(np.average(squares, weights=[4 * 12, 4 * 6])))
    assert own.log_evidence_ > made.log_evidence_
    assert set(own.evidence_.sigma) == {
        "energy, cluster",
        "energy, crystal",
        "forces, cluster",
        "forces, crystal",
        "stress, crystal",
    }
    assert noise.groups == {"cluster": {"forces": 0.2}}


def test_what_is_left_out_or_given_stays() -> None:
    noise = Noise(0.002, None, 0.02, {"cluster": {"energy": None, "forces": 0.1}})
    made = model(noise=noise).fit(frames(8)).maximize_evidence("group", delta=False)
    assert made.noise.forces is None
    assert made.noise.groups["cluster"]["energy"] is None
    assert [t.delta for t in made.state_.terms] == [1.0, 1.0]
    assert made.evidence_.delta == {}
    only = model().fit(frames(8)).maximize_evidence(None)
    assert only.noise.get_params() == model().noise.get_params()
    assert only.evidence_.sigma == {}
    assert only.log_evidence_ > model().fit(frames(8)).log_evidence_


def test_sigma_of_the_frames_and_of_earlier_fits_stays() -> None:
    data = frames(8)
    for atoms in data[1:4]:
        atoms.info["energy_sigma"] = 0.01
    made = model(keys=Keys(energy_sigma="energy_sigma", sigma_per_atom=True)).fit(data).maximize_evidence()
    assert made.evidence_.converged
    assert any(part.key.own and part.key.group for part in made.state_.rows)
    earlier = model().fit(frames(8))
    earlier.state_ = replace(earlier.state_, rows=None)
    earlier.extend([crystal(30, config_type="crystal"), crystal(31, config_type="crystal")])
    earlier.maximize_evidence()
    assert earlier.evidence_.converged
    assert earlier.log_evidence_ >= earlier.evidence_.log_evidence[0]


def test_settings_of_the_user_are_not_touched() -> None:
    given = model()
    noise, terms = given.noise, given.terms
    given.fit(frames(8)).maximize_evidence()
    assert noise.get_params() == model().noise.get_params()
    assert [t.delta for t in terms] == [1.0, 1.0]
    assert given.noise is not noise


def test_what_cannot_be_done_says_so(tmp_path: Path) -> None:
    made = model().fit(frames())
    with pytest.raises(ConfigError, match=r"sigma='kinds' does not exist.*did you mean 'kind'"):
        made.maximize_evidence("kinds")
    with pytest.raises(ConfigError, match="neither σ nor δ"):
        made.maximize_evidence(None, delta=False)
    made.save(tmp_path / "a.gap")
    with pytest.raises(ConfigError, match=r"without its compressed data.*save it with data=True"):
        load(tmp_path / "a.gap").maximize_evidence()


def ends(made: GAP, sigma: str, starts: int, seed: int) -> np.ndarray:
    """Logarithms of σ and δ, and the evidence, from starts that are wrong by up to a factor of 100."""
    rng, found = np.random.default_rng(seed), []
    noise, deltas = made.state_.noise, [term.delta for term in made.state_.terms]
    for _ in range(starts):
        wrong = {kind: float(10.0 ** rng.uniform(-2.0, 2.0)) for kind in ("energy", "forces", "stress")}
        bad = next(made.refits([noise.scaled(wrong)]))
        bad.state_ = _with_deltas(bad.state_, [d * 10.0 ** rng.uniform(-1.0, 1.0) for d in deltas])
        bad.maximize_evidence(sigma)
        assert bad.evidence_.converged
        values = [after for _, after in [*bad.evidence_.sigma.values(), *bad.evidence_.delta.values()]]
        found.append([*np.log(values), bad.log_evidence_])
    return np.array(found)


def silicon(n_frames: int, n_sparse: int) -> GAP:
    """A small model of real silicon, of every config_type."""
    data = read_frames(SILICON / "train.xyz")
    weighting = {"function": "poly", "r0": 5.0, "c": 1.0, "m": 1.0}
    soap = {"r_cut": 5.0, "n_max": 4, "l_max": 4, "sigma": 0.5, "weighting": weighting}
    terms = [PairTerm(4.5, n_sparse=15), SoapTerm(soap, zeta=4, n_sparse=n_sparse)]
    return GAP(terms, Noise(0.001, 0.1, 0.03), baselines=[]).fit(data[:: len(data) // n_frames])


@pytest.mark.parametrize("sigma", ["kind", "group"])
@pytest.mark.filterwarnings("ignore::gapkit.GapkitWarning")
def test_ten_bad_starts_on_silicon_agree(sigma: str) -> None:
    found = ends(silicon(10, 40), sigma, 10, 0)
    assert np.ptp(found[:, -1]) < 0.05
    assert np.ptp(found[:, :-1], axis=0).max() < 0.05


@pytest.mark.parametrize("sigma", ["kind", "group"])
@pytest.mark.filterwarnings("ignore::gapkit.GapkitWarning")
def test_ten_bad_starts_on_two_elements_agree(sigma: str) -> None:
    data = two_species(10)
    for k, atoms in enumerate(data[2:]):
        atoms.info["config_type"] = ("crystal", "cluster")[k % 2]
    found = ends(model().fit(data), sigma, 10, 1)
    assert np.ptp(found[:, -1]) < 0.05
    assert np.ptp(found[:, :-1], axis=0).max() < 0.05


@pytest.mark.slow
@pytest.mark.parametrize("sigma", ["kind", "group"])
@pytest.mark.filterwarnings("ignore::gapkit.GapkitWarning")
def test_ten_bad_starts_on_more_silicon_agree(sigma: str) -> None:
    found = ends(silicon(60, 200), sigma, 10, 2)
    assert np.ptp(found[:, -1]) < 0.05
    assert np.ptp(found[:, :-1], axis=0).max() < 0.05


def test_refits_are_refits() -> None:
    made = model().fit(frames(8))
    noises = [
        Noise(0.01, 0.2, None),
        Noise(0.001, 0.02, 0.5),
        Noise(0.01, 0.2, 0.1, {"cluster": {"forces": 0.5, "energy": None}}),
    ]
    for noise, found in zip(noises, made.refits(noises), strict=True):
        expected = model().fit(frames(8)).refit(noise)
        assert found.noise is noise
        assert numbers(found) == pytest.approx(numbers(expected), rel=1e-8, abs=1e-9)
        assert found.log_evidence_ == pytest.approx(expected.log_evidence_, abs=1e-6)
        assert [e | {"rms": 0} for e in found.training_["errors"]] == [
            e | {"rms": 0} for e in expected.training_["errors"]
        ]
        rms, other = ([e["rms"] for e in m.training_["errors"]] for m in (found, expected))
        assert rms == pytest.approx(other, rel=1e-7)
        assert numbers(found.refit()) == pytest.approx(numbers(expected), rel=1e-8, abs=1e-9)
    assert np.array_equal(numbers(made), numbers(model().fit(frames(8))))
    out = model(noise=Noise(forces=None)).fit(frames())
    with pytest.raises(ConfigError, match="forces labels of group 'cluster' were left out"):
        next(out.refits([Noise()]))

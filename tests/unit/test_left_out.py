"""Errors of structures that are left out, one by one and many together, against honest refits; and what fits share."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ase import Atoms

from gapkit import GAP, ACSFTerm, Cohesion, ConfigError, Coulomb, DataError, Noise, PairTerm, SoapTerm
from gapkit.atoms.labels import to_frames
from gapkit.descriptors.soap import Soap
from gapkit.model.left_out import left_out_differences
from tests.samples import cluster, crystal, frames, fresh, model, numbers, soap_arguments, two_species


def soap_model(n_sparse: int = 8, **changes: object) -> GAP:
    return model(**{"terms": [SoapTerm(soap_arguments(), zeta=2, n_sparse=n_sparse)], **changes})


def assert_honest(fit: GAP, structures: list[Atoms], labels: list[str], tolerance: float) -> None:
    found = left_out_differences(fit.state_, to_frames(structures), labels, 1)
    expected: dict[str, list[np.ndarray]] = {}
    for label in dict.fromkeys(labels):
        kept = [a for a, own in zip(structures, labels, strict=True) if own != label or len(a) == 1]
        left = [a for a, own in zip(structures, labels, strict=True) if own == label and len(a) > 1]
        if left:
            for kind, own in fresh(fit, kept).residuals(left).items():
                expected.setdefault(kind, []).append(own.error_xc.ravel())
    for kind in found:
        own = expected[kind]
        reference = np.concatenate(own)
        assert len(found[kind]) == len(reference)
        assert np.sort(found[kind]) == pytest.approx(np.sort(reference), abs=tolerance * np.abs(reference).max())


@pytest.mark.parametrize("n_sparse", [20, 5], ids=["fewer rows than points", "more rows than points"])
def test_frames_that_are_left_out_together_are_a_refit(n_sparse: int) -> None:
    structures = frames(9)
    labels = ["alone", "a", "b", "a", "b", "c", "c", "c", "d", "d"]
    fit = soap_model(n_sparse).fit(structures)
    assert_honest(fit, structures, labels, 1e-6)


def test_one_by_one_they_are_those_of_leave_one_out() -> None:
    structures = frames(8)
    fit = soap_model().fit(structures)
    expected, found = fit.leave_one_out(structures), fit.leave_one_out_errors(structures)
    assert list(found) == ["energy", "forces", "stress"]
    for kind, errors in found.items():
        error_n = expected[kind].error_xc.ravel()
        assert errors.n == len(error_n)
        assert errors.mae == pytest.approx(np.abs(error_n).mean(), rel=1e-9)
        assert errors.rmse == pytest.approx(np.sqrt(np.mean(error_n**2)), rel=1e-9)


def test_masks_and_own_sigmas_are_those_of_the_fit() -> None:
    structures = frames(6)
    structures[2].arrays["force_mask"] = np.array([True, False, False, False])
    structures[3].info["energy_sigma"] = 0.01
    structures[4].arrays["force_atom_sigma"] = np.linspace(0.02, 0.3, 4)
    fit = soap_model(noise=Noise(0.002, 0.05, None)).fit(structures)
    assert_honest(fit, structures, ["x", "a", "a", "b", "b", "c", "c"], 1e-7)
    assert "stress" not in fit.leave_one_out_errors(structures)


def test_rows_that_were_kept_change_nothing_and_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    structures = frames(8)
    plain = soap_model().fit(structures)
    data = soap_model().prepare(structures)
    fit = soap_model().fit(structures, keep_rows=True)
    expected = plain.leave_one_out_errors(structures), plain.thinned(5).leave_one_out_errors(structures)
    with monkeypatch.context() as patch:
        patch.setattr("gapkit.gp.term.SparseTerm.blocks", None)  # no kernel row is made
        found = fit.leave_one_out_errors(structures), fit.thinned(6).thinned(5).leave_one_out_errors(data)
    for mine, others in zip(found, expected, strict=True):
        for kind in mine:
            assert mine[kind].mae == pytest.approx(others[kind].mae, rel=1e-9)
    fit.extend([crystal(71), cluster(72)], old_frames=structures, n_sparse=2)  # they belong to the old points
    fit.leave_one_out_errors(structures)


def test_there_may_be_no_room_for_rows() -> None:
    structures = frames(6)
    fit = soap_model(max_memory="30MB").fit(structures, keep_rows=True)
    fit._rows._rows.clear()
    expected = soap_model().fit(structures).leave_one_out_errors(structures)
    assert fit.leave_one_out_errors(structures) == expected


def test_threads_change_nothing() -> None:
    structures = frames(8)
    one, two = (soap_model(n_jobs=n).fit(structures).leave_one_out_errors(structures) for n in (1, 2))
    assert one == two


def test_a_fit_of_prepared_data_is_the_fit() -> None:
    structures = two_species(6)
    baselines = [Cohesion(), Coulomb("oxidation", scale="fit")]
    made = model(baselines=baselines, noise=None)
    data = made.prepare(structures)
    expected = numbers(model(baselines=baselines, noise=None).fit(structures), crystal(9, symbols="SiC"))
    for _ in range(2):  # fits leave no trace in the data
        assert np.array_equal(numbers(made.fit(data), crystal(9, symbols="SiC")), expected)
    assert made.leave_one_out_errors(data) == made.leave_one_out_errors(structures)


def test_points_are_chosen_once_for_all_powers_and_scales(monkeypatch: pytest.MonkeyPatch) -> None:
    structures = frames()
    data = model().prepare(structures)
    terms = [
        [PairTerm(r_cut=3.5, n_sparse=6), SoapTerm(soap_arguments(), zeta=z, n_sparse=8, delta=d)]
        for z, d in [(2, 1.0), (4, 1.0), (4, 2.0), (1, None)]
    ]
    expected = [numbers(model(terms=own).fit(structures)) for own in terms]
    found = [numbers(model(terms=terms[0]).fit(data))]
    with monkeypatch.context() as patch:
        patch.setattr("gapkit.model.soap_term.choose_environments", None)
        found += [numbers(model(terms=own).fit(data)) for own in terms[1:]]
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
    other = [terms[0][0], SoapTerm(soap_arguments(sigma=0.4), zeta=2, n_sparse=8)]
    assert np.array_equal(numbers(model(terms=other).fit(data)), numbers(model(terms=other).fit(structures)))


def soaps(*powers: int, **changes: Any) -> list[list[Any]]:
    """Terms of models that differ in the power of their last term."""
    pair = PairTerm(r_cut=3.5, n_sparse=6)
    return [[pair, SoapTerm(soap_arguments(), **{"zeta": z, "n_sparse": 8, **changes})] for z in powers]


@pytest.mark.parametrize(
    "each",
    [
        soaps(1, 2, 5),
        soaps(2, 4, embedding=2, alchemical=True),
        [*soaps(2), *soaps(2, delta=0.3), *soaps(3, delta=None)],
        [*soaps(2, 3), *soaps(2, n_sparse=5), [SoapTerm(soap_arguments(sigma=0.4), zeta=2, n_sparse=8)]],
        [[ACSFTerm({"r_cut": 3.5}, n_sparse=5), *own] for own in soaps(2, 3)],
    ],
    ids=["powers", "alchemical", "scales", "others too", "three terms"],
)
def test_models_that_are_fitted_together_are_those_that_are_fitted_alone(each: list[list[Any]]) -> None:
    structures = two_species(5)
    data = model().prepare(structures)
    found = model(baselines=data.baselines).fit_each(each, data, keep_rows=True)
    for terms, fit in zip(each, found, strict=True):
        alone = model(terms=terms).fit(structures)
        assert np.array_equal(numbers(fit, crystal(9, symbols="SiC")), numbers(alone, crystal(9, symbols="SiC")))
        ours, theirs = fit.leave_one_out_errors(data), alone.leave_one_out_errors(structures)
        assert [e.mae for e in ours.values()] == pytest.approx([e.mae for e in theirs.values()], rel=1e-7)
        assert fit.terms == terms


def test_what_meets_the_points_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    data, made = model().prepare(frames()), []
    usual = Soap.sites

    def sites(self: Soap, *given: Any) -> Any:
        made.append(given)
        return usual(self, *given)

    monkeypatch.setattr(Soap, "sites", sites)
    counts = []
    for powers in ((2,), (2, 3, 4)):
        made.clear()
        model().fit_each(soaps(*powers), data)
        counts.append(sum(points is not None for *_, points in (given for given in made if len(given) == 3)))
    isolated = 1  # its row is made for each model
    assert counts[1] == counts[0] + 2 * isolated


def test_prepared_data_know_their_physics_and_themselves() -> None:
    structures = frames()
    data = model().prepare(structures)
    assert data.hash == model().prepare(frames()).hash != model().prepare(frames(7)).hash
    with pytest.raises(ConfigError, match="prepared by a model with other baselines or e0"):
        model(baselines=[]).fit(data)
    with pytest.raises(ConfigError, match="prepared by a model with other baselines or e0"):
        model(e0={"Si": 1.0}).fit(data)


def test_what_cannot_be_left_out_is_said() -> None:
    structures = frames(4)
    fit = soap_model().fit(structures)
    with pytest.raises(DataError, match=r"not in the fit \(frame 1\)"):
        fit.leave_one_out_errors([structures[1], crystal(77)])
    with pytest.raises(DataError, match="together has 2 labels for 5 frames"):
        fit.leave_one_out_errors(structures, [0, 1])

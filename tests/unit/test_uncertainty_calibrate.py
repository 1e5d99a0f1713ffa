"""Calibration on errors whose true σ is known, on a real small model, and the figure."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from ase import Atoms

from gapkit import GAP, Calibration, ConfigError, DataError, GapkitWarning, Residuals
from gapkit.uncertainty import calibrate
from gapkit.uncertainty.calibrate import SAMPLES
from gapkit.uncertainty.curve import GENTLE, best_scale, factor, folds, heldout_std, rising, taken
from gapkit.uncertainty.reliability import reliability_figure
from tests.samples import crystal, frames, label, model

Truth = Callable[[np.ndarray, np.ndarray], np.ndarray]


def seven(data: np.ndarray, prior: np.ndarray) -> np.ndarray:
    return 7.0 * np.sqrt(data)


def root(data: np.ndarray, prior: np.ndarray) -> np.ndarray:
    return 1.5 * data**0.25


def drawn(
    truth: Truth, n_frames: int = 40, n_atoms: int = 60, n_components: int = 3, prior: float = 0.0, seed: int = 0
) -> Residuals:
    """Errors from N(0, truth²); u between 0.001 and 0.2 as measured on silicon, and a prior part of random size."""
    rng = np.random.default_rng(seed)
    n = n_frames * n_atoms
    data_xc = np.repeat(np.exp(rng.uniform(np.log(0.001), np.log(0.2), n))[:, None] ** 2, n_components, axis=1)
    prior_xc = prior * np.repeat(np.exp(rng.uniform(np.log(0.02), np.log(0.5), n))[:, None] ** 2, n_components, axis=1)
    atom_x = np.tile(np.arange(n_atoms), n_frames)
    return Residuals(
        error_xc=rng.normal(scale=truth(data_xc, prior_xc)),
        data_xc=data_xc,
        prior_xc=prior_xc,
        std_xc=np.full_like(data_xc, np.nan),  # not to be used
        aleatoric_x=np.full(n, np.nan),
        frame_x=np.repeat(np.arange(n_frames), n_atoms),
        atom_x=atom_x,
        species_x=np.full(n, 14),
    )


class Known:
    """A model that answers with residuals that were made up."""

    def __init__(self, kinds: dict[str, Residuals], apart: dict[str, Residuals] | None = None) -> None:
        self.kinds, self.apart, self.calibration_ = kinds, apart, None
        self.state_ = None

    def trained_on(self, data: list[Any]) -> list[bool]:
        return [False] * len(data)

    def residuals(self, data: list[Any]) -> dict[str, Residuals]:
        return self.kinds

    def leave_one_out(self, data: list[Any], by: str = "frame") -> dict[str, Residuals]:
        if by == "frame":
            return self.kinds
        if self.apart is None:
            raise ConfigError("this model was saved without its compressed data", fix="save it with data=True")
        return self.apart


def calibrated(rows: Residuals, kind: str = "forces", **arguments: Any) -> Calibration:
    return calibrate(Known({kind: rows}), [None] * 40, **arguments)  # type: ignore[arg-type,list-item]


def rms(x_xc: np.ndarray) -> np.ndarray:
    return np.sqrt(np.mean(x_xc**2, axis=1))


def test_a_factor_is_recovered() -> None:
    rows = drawn(seven)
    calibration = calibrated(rows)
    (scale,) = calibration.scales["forces"].values()
    assert len(scale.raw_k) == 1
    expected = pytest.approx(7.0, rel=4.0 / np.sqrt(2.0 * rows.error_xc.size))
    assert scale.sigma_k[0] / scale.raw_k[0] == expected
    assert scale.prior_known == rows.prior_xc.max()
    report = calibration.report["forces"]
    assert (report["knots"], report["n_frames"], report["n_values"]) == (1, 40, 7200)
    for name, level in (("coverage_68", 0.6827), ("coverage_95", 0.95)):
        assert report[name] == pytest.approx(level, abs=4.0 * np.sqrt(level * (1.0 - level) / 7200))
    assert report["miscalibration_area"] < 0.02
    assert report["ratio_by_sigma"] == pytest.approx(np.ones(10), abs=4.0 / np.sqrt(2.0 * 720) + 0.05)
    assert report["rms_error"] == pytest.approx(rms(rows.error_xc.reshape(1, -1))[0])


def test_a_curve_is_recovered() -> None:
    calibration = calibrated(drawn(root))
    (scale,) = calibration.scales["forces"].values()
    assert 4 <= len(scale.raw_k) <= 8
    u = np.geomspace(0.002, 0.19, 40)
    assert scale.sigma(u) == pytest.approx(1.5 * np.sqrt(u), rel=0.15)
    assert np.diff(scale.sigma_k).min() >= 0.0
    assert calibration.report["forces"]["ratio_by_sigma"] == pytest.approx(np.ones(10), abs=0.15)
    # sabotage: the factor is far off in some range of u
    plain = factor(drawn(root))
    assert max(plain.sigma(u) / (1.5 * np.sqrt(u))) > 1.5


def test_the_prior_part_speaks_only_beyond_what_was_seen() -> None:
    rows = drawn(seven, prior=1.0)  # as large as on silicon, where it spoils the order of errors
    (scale,) = calibrated(rows).scales["forces"].values()
    bare = calibrated(drawn(seven)).scales["forces"][0]
    assert scale.apply(rows.data_xc, rows.prior_xc) == pytest.approx(bare.apply(rows.data_xc, 0.0 * rows.prior_xc))
    assert calibrated(rows).report["forces"]["spearman"] > 0.85
    assert scale.prior_known == rows.prior_xc.max()
    large = rms(np.sqrt(rows.prior_xc)) ** 2 > np.quantile(np.mean(rows.prior_xc, axis=1), 0.9)
    share = np.mean(rows.error_xc[large] ** 2) / np.mean(rows.prior_xc[large])
    assert 0.1 < share < 1.0
    far = scale.apply(np.zeros((1, 3)), np.full((1, 3), 2.0 + rows.prior_xc.max()))
    assert far**2 == pytest.approx(np.full((1, 3), 2.0 * share))  # no more than errors had of what was seen
    larger = replace(rows, error_xc=10.0 * rows.error_xc)
    assert calibrated(larger).scales["forces"][0].prior_share == 1.0  # the prior itself is the most


def test_the_curve_is_the_most_likely_one() -> None:
    rows = drawn(root)
    scale = rising(rows, 100)
    u, error = rms(np.sqrt(rows.data_xc)), rows.rms_error_x

    def cost(sigma_k: np.ndarray) -> float:
        std = type(scale)(scale.raw_k, sigma_k).sigma(u)
        return float(np.mean(np.log(std) + 0.5 * (error / std) ** 2))

    least = cost(scale.sigma_k)
    for k in range(len(scale.raw_k)):
        for change in (0.97, 1.03):
            other = scale.sigma_k.copy()
            other[k] *= change
            assert cost(other) > least
    assert np.mean((error / scale.sigma(u)) ** 2) == pytest.approx(1.0, abs=0.005)


def test_few_rows_carry_no_curve() -> None:
    rows = drawn(root, n_frames=10, n_atoms=19)
    assert len(rising(rows, 100).raw_k) == 1
    rows = drawn(root, n_frames=10, n_atoms=20)
    assert len(rising(rows, 100).raw_k) == 2
    flat = rising(drawn(lambda d, p: 1e-3 / np.sqrt(d)), 100)  # the larger u, the smaller the error
    slope = np.diff(np.log(flat.sigma_k)) / np.diff(np.log(flat.raw_k))
    assert slope == pytest.approx(GENTLE, rel=1e-6)


def test_reports_are_of_values_that_were_held_out() -> None:
    rows = drawn(seven, n_frames=12)
    fold_x = folds(rows.frame_x, np.random.default_rng(0))
    assert all(len(np.unique(fold_x[rows.frame_x == s])) == 1 for s in range(12))
    assert np.unique(fold_x).tolist() == [0, 1, 2, 3, 4]
    seen = []

    def fit(part: Residuals) -> Any:
        seen.append(set(part.frame_x.tolist()))
        return factor(part)

    std_xc = heldout_std(rows, fold_x, fit)
    for fold, used in enumerate(seen):
        own = fold_x == fold
        assert used.isdisjoint(rows.frame_x[own].tolist())
        assert std_xc[own] == pytest.approx(factor(taken(rows, ~own)).apply(rows.data_xc[own], rows.prior_xc[own]))


def test_species_with_enough_atoms_have_their_own_scale() -> None:
    rows = drawn(seven)
    species = np.where(rows.atom_x < 20, 6, np.where(rows.atom_x < 22, 1, 14))  # 800, 80 and 1520 atoms
    errors = rows.error_xc * np.where(species == 6, 3.0, 1.0)[:, None]
    rows = Residuals(**{**vars(rows), "species_x": species, "error_xc": errors})
    scales = calibrated(rows).scales["forces"]
    assert sorted(scales) == [0, 6, 14]
    assert scales[6].sigma(np.array([0.05])) == pytest.approx(21.0 * 0.05, rel=0.1)
    assert scales[14].sigma(np.array([0.05])) == pytest.approx(7.0 * 0.05, rel=0.1)
    assert scales[14].sigma(np.array([0.05])) < scales[0].sigma(np.array([0.05])) < scales[6].sigma(np.array([0.05]))


def test_values_that_are_zero_by_symmetry_are_left_out() -> None:
    rows = drawn(seven)
    zero = rows.atom_x < 30
    changed = {"data_xc": np.where(zero[:, None], 1e-18, rows.data_xc), "prior_xc": rows.prior_xc}
    changed["error_xc"] = np.where(zero[:, None], 1e-9, rows.error_xc)
    calibration = calibrated(Residuals(**{**vars(rows), **changed}))
    assert calibration.report["forces"]["n_values"] == 3600
    expected = calibrated(taken(rows, ~zero)).scales["forces"][0]
    assert np.array_equal(calibration.scales["forces"][0].sigma_k, expected.sigma_k)


def test_forces_that_are_all_zero_by_symmetry_are_not_calibrated() -> None:
    rows = drawn(seven)
    still = replace(rows, data_xc=1e-16 * rows.data_xc, error_xc=1e-8 * rows.error_xc)
    with pytest.warns(GapkitWarning, match="forces: not calibrated, since only 0 frames"), pytest.raises(DataError):
        calibrated(still)
    sure = replace(still, data_xc=1e-4 * rows.data_xc)  # sabotage: a model that is only very good
    assert calibrated(sure).report["forces"]["n_values"] == rows.error_xc.size


def test_samples_are_limited_and_the_seed_decides() -> None:
    rows = drawn(seven, n_atoms=100)
    one, same, other = (calibrated(rows, rng=seed) for seed in (0, 0, 1))
    assert one.samples["forces"].shape == (SAMPLES, 2)
    assert np.array_equal(one.samples["forces"], same.samples["forces"])
    assert not np.array_equal(one.samples["forces"], other.samples["forces"])
    assert np.isin(one.samples["forces"][:, 1], rows.rms_error_x).all()
    assert one.report == same.report
    assert 0.0 < one.limit(0.05) < one.limit(0.2) < 2.0


def test_leaving_out_frames_and_config_types_counts_alike() -> None:
    near, far = drawn(seven), drawn(seven, seed=1)
    far = Residuals(**{**vars(far), "data_xc": 100.0 * far.data_xc, "error_xc": 10.0 * far.error_xc})
    calibration = calibrate(Known({"forces": near}, {"forces": far}), [None] * 40, leave_one_out=True)  # type: ignore
    assert calibration.report["forces"]["n_values"] == 14_400
    assert calibration.report["forces"]["n_frames"] == 40
    assert calibration.samples["forces"][:, 0].max() > 10.0
    with pytest.warns(GapkitWarning, match=r"only single frames were left out, since .* without its compressed data"):
        alone = calibrate(Known({"forces": near}), [None] * 40, leave_one_out=True)  # type: ignore
    assert alone.report["forces"]["n_values"] == 7200


def test_warnings() -> None:
    def messages(rows: Residuals, kind: str = "forces") -> str:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            calibrated(rows, kind)
        assert all(w.category is GapkitWarning for w in caught)
        return "; ".join(str(w.message) for w in caught)

    assert messages(drawn(seven)) == ""
    structures = drawn(seven, n_frames=12, n_atoms=1, n_components=1)
    assert "energy: only 12 frames to calibrate with" in messages(structures, "energy")
    unrelated = messages(drawn(lambda d, p: np.full_like(d, 0.3)))
    assert "forces: σ hardly tells large errors from small ones (Spearman" in unrelated
    # half of the frames have errors ten times as large, at the largest u of each fold unseen by the others
    rows = drawn(seven)
    wild = (rows.frame_x == 0)[:, None]
    rows = Residuals(
        **{
            **vars(rows),
            "data_xc": np.where(wild, 40.0 * rows.data_xc, rows.data_xc),
            "error_xc": np.where(wild, 100.0 * rows.error_xc, rows.error_xc),
        }
    )
    assert "forces: large σ is biased" in messages(rows)


def test_what_cannot_be_calibrated_is_refused() -> None:
    with pytest.raises(DataError, match="4 frames are too few"):
        calibrate(Known({"forces": drawn(seven)}), [None] * 4)  # type: ignore[arg-type,list-item]
    with pytest.raises(DataError, match="One Atoms object"):
        calibrate(Known({}), Atoms("Si6"))  # type: ignore[arg-type]
    few = drawn(seven, n_frames=4)
    with (
        pytest.warns(GapkitWarning, match="forces: not calibrated, since only 4 frames"),
        pytest.raises(DataError, match="No label can be calibrated"),
    ):
        calibrated(few)
    # one kind is enough; an older calibration stays if there is none
    known = Known({"forces": few, "energy": drawn(seven, n_atoms=1, n_components=1)})
    with pytest.warns(GapkitWarning, match="forces: not calibrated"):
        calibration = calibrate(known, [None] * 40)  # type: ignore
    assert list(calibration.scales) == ["energy"]
    assert known.calibration_ is calibration


def test_exact_predictions_get_a_positive_sigma() -> None:
    rows = drawn(seven)
    rows = Residuals(**{**vars(rows), "error_xc": np.zeros_like(rows.error_xc)})
    for fit in (lambda: factor(rows), lambda: rising(rows, 100)):
        scale = fit()
        assert (scale.sigma_k > 0.0).all()
        assert np.isfinite(scale.sigma_k).all()
    assert (best_scale(rows, 100, np.random.default_rng(0)).sigma_k > 0.0).all()


@pytest.fixture
def fitted() -> tuple[GAP, list[Atoms]]:
    structures = frames(24)
    return model().fit(structures), structures


@pytest.mark.filterwarnings("ignore::gapkit.GapkitWarning")
def test_a_model_predicts_with_its_calibration(fitted: tuple[GAP, list[Atoms]]) -> None:
    fit, structures = fitted
    want = ("energy_std", "forces_std", "stress_std")
    new = crystal(99)
    raw = fit.predict(new, want)
    one = calibrate(fit, structures, leave_one_out=True)
    assert fit.calibration_ is one
    assert list(one.scales) == ["energy", "forces", "stress"]
    told = fit.predict(new, want)
    for name in want:
        assert np.all(getattr(told, name) > 0.0)
        assert not np.allclose(getattr(told, name), getattr(raw, name))
    # once more: the older calibration has no influence
    again = calibrate(fit, structures, leave_one_out=True)
    assert again.report == one.report
    assert np.array_equal(again.scales["forces"][0].sigma_k, one.scales["forces"][0].sigma_k)
    # both ways of leaving out are in
    n_atoms = sum(len(atoms) for atoms in structures[1:])
    rows = fit.leave_one_out(structures)["forces"]
    assert len(rows.error_xc) == n_atoms
    assert one.report["forces"]["n_values"] == 6 * n_atoms
    assert one.report["forces"]["rms_error"] > np.sqrt(np.mean(rows.error_xc**2))


def test_sigma_of_stress_beside_calibrated_forces_is_said_to_be_raw() -> None:
    bare = [label(atoms, ("energy", "forces")) for atoms in frames(8)]
    fit = model().fit(bare)
    fit.predict(crystal(99), {"stress_std"})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        calibrate(fit, bare, leave_one_out=True)
    fit.predict(crystal(99), {"forces_std", "stress"})
    with pytest.warns(GapkitWarning, match="stress_std is not calibrated, as other σ of this model are"):
        fit.predict(crystal(99), {"stress_std"})
    with pytest.warns(GapkitWarning, match="stress_std is not calibrated"):
        fit.predict([crystal(99)], {"stress_std"})


@pytest.mark.filterwarnings("ignore::gapkit.GapkitWarning")
def test_frames_of_the_fit_are_not_held_out(fitted: tuple[GAP, list[Atoms]]) -> None:
    fit, structures = fitted
    new = [crystal(100 + k) for k in range(8)]
    with pytest.raises(DataError, match=r"1 of 9 frames were in the fit.*\(frame 8\)\. Fix: use leave-one-out"):
        calibrate(fit, [*new, structures[3]])
    assert fit.calibration_ is None
    with pytest.raises(DataError, match="was not in the fit"):
        calibrate(fit, [*structures, *new], leave_one_out=True)
    report = calibrate(fit, iter(new)).report
    assert report["energy"]["n_frames"] == 8
    errors = [fit.predict(atoms).energy - atoms.get_potential_energy() for atoms in new]
    assert report["energy"]["rms_error"] == pytest.approx(np.sqrt(np.mean(np.square(errors))) / 2.0)


def test_the_figure_shows_what_was_measured() -> None:
    rows = drawn(seven)
    known = Known({"forces": rows, "energy": drawn(seven, n_atoms=1, n_components=1)})
    calibration = calibrate(known, [None] * 40)  # type: ignore
    figure = reliability_figure(calibration, "a title")
    assert figure.get_suptitle() == "a title"
    assert [axes.get_title() for axes in figure.axes[::3]] == ["energy", "forces"]
    coverage, against, removal = figure.axes[3:]
    expected, observed = coverage.lines[1].get_data()
    assert observed[1:-1].tolist() == calibration.report["forces"]["observed_coverage"]
    assert np.abs(observed - expected).max() < 0.03
    sigma, error = against.lines[1].get_data()
    assert error == pytest.approx(sigma, rel=0.25)
    assert against.get_xlabel() == "σ (eV/Å)"
    assert "meV/atom" in figure.axes[1].get_xlabel()
    mine, oracle = (line.get_data()[1] for line in removal.lines)
    assert (mine >= oracle - 1e-12).all()
    whole = np.sqrt(np.mean(calibration.samples["forces"][:, 1] ** 2))
    assert [mine[0], oracle[0]] == pytest.approx([whole, whole])
    with pytest.raises(ConfigError, match="nothing to draw"):
        reliability_figure(Calibration({}))

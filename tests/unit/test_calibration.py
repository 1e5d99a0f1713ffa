"""Scales, calibrations, their limits, and their way through a model file."""

from __future__ import annotations

import json

import numpy as np
import pytest

from gapkit import Calibration, ConfigError, Scale
from gapkit.gp.calibration import ISOTROPIC

CURVE = Scale(np.array([0.01, 0.1]), np.array([0.05, 0.2]), 0.3, 0.25)
FACTOR = Scale(np.ones(1), np.array([3.0]))


def test_a_curve_and_its_ends() -> None:
    u = np.array([0.0, 1e-9, 0.005, 0.01, np.sqrt(0.001), 0.1, 0.3])
    assert CURVE.sigma(u) == pytest.approx([0.0005, 0.0005, 0.025, 0.05, 0.1, 0.2, 0.6])
    assert FACTOR.sigma(u) == pytest.approx(3.0 * u)


def test_a_share_of_what_exceeds_the_known_prior_part_is_added() -> None:
    data, prior = np.array([[0.04, 0.09]]), np.array([[0.46, 0.2]])
    bare = CURVE.apply(data, 0.0 * prior)
    assert CURVE.apply(data, prior) ** 2 - bare**2 == pytest.approx(np.array([[0.25 * (0.46 - 0.3), 0.0]]))
    assert CURVE.apply(np.array([[-1e-18]]), np.zeros((1, 1))) == pytest.approx(0.0005)  # rounding


def test_components_share_sigma(rng: np.random.Generator) -> None:
    data = rng.uniform(0.0, 0.01, (20, 3))
    data[3] = 0.0
    data[4] = [0.0, 0.0, 0.003]
    prior = np.zeros_like(data)
    std = CURVE.apply(data, prior)
    assert np.sqrt(np.mean(std**2, axis=1)) == pytest.approx(CURVE.sigma(np.sqrt(np.mean(data, axis=1))))
    assert std[3] == pytest.approx(0.0005)
    assert std[4] == pytest.approx(CURVE.sigma(np.sqrt([0.001])) * np.sqrt([ISOTROPIC, ISOTROPIC, 3 - 2 * ISOTROPIC]))
    assert np.isfinite(std).all()
    assert (std > 0).all()
    assert FACTOR.apply(data[:, :1], prior[:, :1]) == pytest.approx(3.0 * np.sqrt(data[:, :1]))  # energies: exact


def test_species_have_their_scale_or_that_of_all() -> None:
    calibration = Calibration({"forces": {0: FACTOR, 14: Scale(np.ones(1), np.array([5.0]))}})
    data = np.full((3, 3), 0.01)
    std = calibration.std("forces", np.array([14, 6, 14]), data, np.zeros((3, 3)))
    assert std == pytest.approx(np.array([[0.5] * 3, [0.3] * 3, [0.5] * 3]))
    assert calibration.std("energy", np.zeros(1, dtype=int), data[:1, :1], data[:1, :1]) is None


def sampled(sigma: np.ndarray, error: np.ndarray) -> Calibration:
    return Calibration({"forces": {0: FACTOR}}, samples={"forces": np.stack([sigma, error], axis=1)})


def test_limit_misses_no_more_than_agreed(rng: np.random.Generator) -> None:
    sigma = np.exp(rng.normal(size=3000)) * 0.05
    error = np.abs(rng.normal(scale=sigma))
    calibration = sampled(sigma, error)
    usual = 2.0 * np.sqrt(np.mean(error**2))
    for rate in (0.01, 0.1, 0.5, 0.9):
        for least in (None, 0.2):
            limit = calibration.limit(rate, least)
            missed = sigma[error > (usual if least is None else least)] < limit
            assert missed.mean() <= rate < missed.mean() + 1.01 / len(missed)  # and no lower limit would do
    assert calibration.limit(0.1) < calibration.limit(0.2)


def test_limit_is_refused_where_it_cannot_be_read() -> None:
    calibration = sampled(np.full(100, 0.1), np.r_[np.full(81, 0.1), np.full(19, 1.0)])
    with pytest.raises(ConfigError, match=r"only 19 of 100 .* above 0\.5 eV/Å.*Fix: give a smaller error"):
        calibration.limit(0.1, 0.5)
    with pytest.raises(ConfigError, match="forces are not calibrated"):
        Calibration({"energy": {0: FACTOR}}).limit(0.1)
    for rate in (0.0, 1.0, -0.1, float("nan"), "much"):
        with pytest.raises(ConfigError, match="miss_rate"):
            calibration.limit(rate)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="error="):
        calibration.limit(0.1, -1.0)


def test_through_a_file() -> None:
    report = {"forces": {"n_values": 30, "ratio_by_sigma": [0.9, 1.1]}}
    samples = {"forces": np.array([[0.1, 0.2], [0.3, 0.1]])}
    before = Calibration({"energy": {0: FACTOR}, "forces": {0: CURVE, 14: FACTOR}}, report, samples)
    document, arrays = before.describe()
    assert sorted(arrays) == [
        "calibration.energy.0.raw",
        "calibration.energy.0.sigma",
        "calibration.forces.0.raw",
        "calibration.forces.0.sigma",
        "calibration.forces.14.raw",
        "calibration.forces.14.sigma",
        "calibration.forces.samples",
    ]
    after = Calibration.build(json.loads(json.dumps(document)), {**arrays, "weights": np.ones(3)})
    assert after.report == report
    assert list(after.samples) == ["forces"]
    assert np.array_equal(after.samples["forces"], samples["forces"])
    assert {k: list(v) for k, v in after.scales.items()} == {"energy": [0], "forces": [0, 14]}
    for kind, scales in before.scales.items():
        for number, scale in scales.items():
            again = after.scales[kind][number]
            assert (again.prior_known, again.prior_share) == (scale.prior_known, scale.prior_share)
            assert np.array_equal(again.raw_k, scale.raw_k)
            assert np.array_equal(again.sigma_k, scale.sigma_k)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("calibration.forces.0.raw", np.array([0.1, 0.1])),
        ("calibration.forces.0.raw", np.array([0.1])),
        ("calibration.forces.0.sigma", np.array([0.1, -0.2])),
        ("calibration.forces.0.sigma", np.array([0.1, np.nan])),
        ("calibration.forces.samples", np.ones((3, 3))),
        ("calibration.forces.samples", None),
    ],
)
def test_a_damaged_file_is_noticed(name: str, value: np.ndarray | None) -> None:
    whole = Calibration({"forces": {0: CURVE}}, {}, {"forces": np.ones((4, 2))})
    document, arrays = whole.describe()
    changed = {key: array for key, array in {**arrays, name: value}.items() if array is not None}
    with pytest.raises((ValueError, KeyError)):
        Calibration.build(document, changed)


def test_without_a_share_that_of_the_last_knot_holds() -> None:
    document, arrays = Calibration({"forces": {0: CURVE, 14: FACTOR}}).describe()
    old = Calibration.build({**document, "prior_share": None}, arrays).scales["forces"]
    assert old[0].prior_share == pytest.approx(4.0)
    data, excess = np.array([[0.01]]), np.array([[0.16]])
    assert old[14].apply(data, excess) == pytest.approx(3.0 * np.sqrt(data + excess))  # as older versions did


def test_a_document_without_a_scale_for_all_is_refused() -> None:
    document, arrays = Calibration({"forces": {0: CURVE}}).describe()
    for weights in ({"forces": {"14": 1.0}}, {"colour": {"0": 1.0}}):
        with pytest.raises(ValueError, match="no calibration of"):
            Calibration.build({**document, "prior_known": weights}, arrays)

"""Another noise without another fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gapkit import ConfigError, Noise, load
from tests.samples import fitted, frames, model, numbers


def test_refit_is_a_fresh_fit_and_needs_no_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    noise = Noise(energy=0.02, forces=None, stress=0.1, groups={"cluster": {"energy": 0.5, "forces": 0.3}})
    fresh = model(noise=noise).fit(frames())
    made = model().fit(frames())
    monkeypatch.setattr("gapkit.gp.term.SparseTerm.blocks", None)
    assert made.refit(noise) is made
    monkeypatch.undo()
    assert made.noise is noise
    assert numbers(made) == pytest.approx(numbers(fresh), rel=1e-9, abs=1e-10)
    assert made.log_evidence_ == pytest.approx(fresh.log_evidence_, rel=1e-11)
    assert {(e["group"], e["kind"]) for e in made.training_["errors"]} == {
        ("cluster", "energy"),
        ("cluster", "forces"),
        ("crystal", "energy"),
        ("crystal", "stress"),
    }


def test_refit_and_back_is_where_it_began() -> None:
    made = model().fit(frames())
    made.refit(Noise(energy=1.0, forces=None)).refit(model().noise)
    assert np.array_equal(numbers(made), numbers(fitted()))


def test_refit_takes_the_noise_that_was_set() -> None:
    made = model().fit(frames()).set_params(noise__forces=0.5)
    assert np.array_equal(numbers(made), numbers(fitted()))  # nothing happens before refit
    expected = model().fit(frames()).refit(Noise(energy=0.002, forces=0.5, stress=0.02))
    assert np.array_equal(numbers(made.refit()), numbers(expected))


def test_refit_cannot_bring_back_what_the_fit_left_out() -> None:
    made = model(noise=Noise(forces=None)).fit(frames())
    before = numbers(made)
    with pytest.raises(ConfigError, match=r"forces labels of group 'cluster' were left out.*forces=None"):
        made.refit(Noise())
    assert np.array_equal(numbers(made), before)
    assert made.noise.forces is None


def test_refit_with_labels_that_no_frame_has_is_fine() -> None:
    made = model().fit(frames(6, kinds=("energy", "forces")))
    made.refit(Noise(energy=0.01, groups={"cluster": {"stress": 0.1}}))


def test_settings_changed_after_the_fit_do_not_change_the_model(tmp_path: Any) -> None:
    made = model().fit(frames())
    made.noise.energy, made.terms[1].n_sparse = 9.0, 999
    made.save(tmp_path / "a.gap")
    kept = load(tmp_path / "a.gap")
    assert kept.noise.energy == 0.002
    assert kept.terms[1].n_sparse == 8

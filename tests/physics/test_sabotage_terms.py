"""Sabotage of triangles and symmetry functions: what is broken on purpose makes the law that it breaks fail."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gapkit.descriptors.acsf import Acsf
from gapkit.descriptors.symmetry import Angular, SymmetryFunctions
from gapkit.descriptors.triangles import Triangles
from gapkit.descriptors.triplet import TripletJacobian, Triplets
from gapkit.kernels.gaussian import Gaussian
from gapkit.testing import TermModel, sampled, zoo
from tests.physics.test_sabotage import breaks
from tests.physics.test_terms_many import FUNCTIONS
from tests.samples import cluster

SILICON, TRIMER = zoo(["Si"])["primitive"], cluster(0, "Si3")


def triplet_model() -> TermModel:
    return sampled(Triplets([14], 3.4, 1.0, (0.8, 0.6, 1.0)), Gaussian(1.0))


def acsf_model() -> TermModel:
    return sampled(Acsf(SymmetryFunctions.of(FUNCTIONS, [14])), Gaussian(3.0))


@pytest.mark.parametrize("make", [triplet_model, acsf_model])
def test_far_side_without_slope_is_noticed(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    true = Triangles.pull
    monkeypatch.setattr(Triangles, "pull", lambda self, a, b, far: true(self, a, b, 0.0 * far))
    breaks("forces_are_slopes", make(), TRIMER)
    breaks("stress_is_strain_slope", make(), SILICON)  # where the ends of a triangle are images of one atom
    breaks("jacobian_is_pullback", make(), SILICON)


@pytest.mark.parametrize("make", [triplet_model, acsf_model])
def test_exchanged_legs_are_noticed(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    true = Triangles.pull
    monkeypatch.setattr(Triangles, "pull", lambda self, a, b, far: true(self, b, a, far))
    breaks("forces_are_slopes", make(), TRIMER)


def test_missing_slope_of_the_weight_in_training_rows_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    true = TripletJacobian.__init__
    monkeypatch.setattr(
        TripletJacobian,
        "__init__",
        lambda self, p, rows, along, slope, points: true(self, p, rows, along, 0.0 * slope, points),
    )
    breaks("jacobian_is_pullback", triplet_model(), SILICON)


def test_legs_that_are_cut_off_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gapkit.descriptors.triplet.smooth_step", lambda r, *_: (np.ones_like(r), np.zeros_like(r)))
    breaks("nothing_jumps", triplet_model(), zoo(["Si"])["dimer"])


def test_angles_without_slope_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    true = Angular.__init__

    def forgetful(self: Angular, *arguments: Any) -> None:
        true(self, *arguments)
        self.turned_kt = 0.0 * self.turned_kt

    monkeypatch.setattr(Angular, "__init__", forgetful)
    breaks("forces_are_slopes", acsf_model(), SILICON)


def test_rows_of_symmetry_functions_that_differ_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    true = Angular.slopes

    def halved(self: Angular, weight_kt: Any = None) -> Any:
        a, b, far = true(self, weight_kt)
        return (a, b, far) if weight_kt is not None else (a, b, 0.5 * far)

    monkeypatch.setattr(Angular, "slopes", halved)
    breaks("jacobian_is_pullback", acsf_model(), SILICON)


def test_a_scale_that_is_forgotten_in_the_slopes_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    descriptor = acsf_model().terms[0].descriptor
    scaled = Acsf(descriptor.functions, {(14,): np.linspace(1.0, 2.0, descriptor.functions.n_features)})
    model = sampled(scaled, Gaussian(3.0))
    true = type(descriptor.sites(model.pairs(SILICON), (14,))).pullback
    monkeypatch.setattr(
        "gapkit.descriptors.acsf.AcsfSites.pullback",
        lambda self, gx_sd, gw_s=None: true(self, gx_sd * self._scale_f, gw_s),
    )
    breaks("forces_are_slopes", model, SILICON)

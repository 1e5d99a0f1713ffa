"""The basis of a SOAP as dscribe defines it: from an object, from arguments, from a saved model."""

from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np
import pytest
from dscribe.descriptors import SOAP

from gapkit.descriptors.basis import SoapBasis, soap_basis
from gapkit.errors import ConfigError
from tests.samples import soap_arguments

MODES = ("off", "crossover", "mu1nu1", "mu2")


def arguments(mode: str = "off", **changes: Any) -> dict[str, Any]:
    compression = {"mode": mode, "species_weighting": {"Si": 1.5, "C": 0.5, "O": 1.0}}
    return soap_arguments(species=["Si", "O", "C"], compression=compression, **changes)


def equal(one: SoapBasis, two: SoapBasis) -> bool:
    names = ("species", "r_cut", "n_max", "l_max", "sigma", "mode", "species_weights", "reach", "centre_weight")
    arrays = ("alphas_lk", "betas_lnk", "feature_index", "mixing_lnk")
    return all(getattr(one, name) == getattr(two, name) for name in names) and all(
        np.array_equal(getattr(one, name), getattr(two, name)) for name in arrays
    )


@pytest.mark.parametrize("mode", MODES)
def test_object_and_arguments_are_the_same(mode: str) -> None:
    given = arguments(mode)
    soap = SOAP(**copy.deepcopy(given), periodic=True)
    basis = soap_basis(soap)
    assert equal(basis, soap_basis(given))
    assert basis.species == (6, 8, 14)
    assert basis.species_weights == (0.5, 1.0, 1.5)
    assert basis.n_features == soap.get_number_of_features()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("weighting", [None, {"w0": 0.3}, {"function": "exp", "r0": 2.0, "c": 1.0, "d": 1.0}])
def test_arguments_survive_json_and_rebuild_the_same_soap(mode: str, weighting: dict[str, Any] | None) -> None:
    basis = soap_basis(arguments(mode, weighting=weighting))
    stored = json.loads(json.dumps(basis.arguments))
    assert equal(SoapBasis.from_arguments(stored, basis.alphas_lk, basis.betas_lnk), basis)
    assert equal(soap_basis(SOAP(**stored)), basis)
    assert soap_basis(stored).arguments == basis.arguments


def test_arguments_are_not_changed() -> None:
    """dscribe completes and divides the dictionaries that it is given."""
    given = arguments(weighting={"function": "pow", "r0": 2.0, "c": 1.0, "d": 1.0, "m": 2.0})
    kept = copy.deepcopy(given)
    soap_basis(given)
    assert given == kept


@pytest.mark.parametrize("species", [["Si", "C"], [14, 6], ["C", "Si"], (6, 14), {"Si", "C"}])
def test_species_in_any_form_and_order(species: Any) -> None:
    assert soap_basis(soap_arguments(species=species)).species == (6, 14)


def test_one_species_by_its_name_alone() -> None:
    assert soap_basis(soap_arguments(species="Si")).species == (14,)


def test_polynomial_basis_has_no_exponents() -> None:
    assert soap_basis(soap_arguments(species=["Si"], rbf="polynomial")).alphas_lk.size == 0


def test_reach_is_where_dscribe_stops_counting() -> None:
    """Gaussians that have decayed to 1e-3, or r0 of a polynomial weighting."""
    padded = 3.6 + 0.5 * np.sqrt(2.0 * np.log(1000.0))
    assert soap_basis(soap_arguments(species=["Si"])).reach == 3.6
    assert soap_basis(soap_arguments(species=["Si"], weighting=None)).reach == pytest.approx(padded, rel=1e-15)
    far = {"function": "poly", "r0": 9.0, "c": 1.0, "m": 1.0}
    assert soap_basis(soap_arguments(species=["Si"], weighting=far)).reach == pytest.approx(padded, rel=1e-15)


@pytest.mark.parametrize(
    ("weighting", "smooth"),
    [
        (None, False),
        ({"w0": 1.0}, False),
        ({"function": "poly", "r0": 3.6, "c": 1.0, "m": 1.0}, True),
        ({"function": "poly", "r0": 9.0, "c": 1.0, "m": 1.0}, False),
        ({"function": "pow", "r0": 3.6, "c": 1.0, "d": 1.0, "m": 2.0}, False),
    ],
)
def test_smooth_where_the_weight_vanishes_at_the_reach(weighting: dict[str, Any] | None, smooth: bool) -> None:
    assert soap_basis(soap_arguments(species=["Si"], weighting=weighting)).smooth is smooth


REFUSED: dict[str, tuple[Any, str]] = {
    "r_cut of 1 Å": (soap_arguments(species=["Si"], r_cut=1.0, weighting=None), "bigger than 1"),
    "r_cut below": (soap_arguments(species=["Si"], r_cut=0.5, weighting=None), "bigger than 1"),
    "no r_cut": ({"species": ["Si"], "n_max": 2, "l_max": 2}, "r_cut"),
    "no n_max": ({"species": ["Si"], "r_cut": 4.0, "l_max": 2}, "n_max"),
    "nothing": ({}, "n_max and no l_max"),
    "averaged": (soap_arguments(species=["Si"], average="inner"), "average='inner'"),
    "no symbol": (soap_arguments(species=["Si", "Sx"]), "Sx"),
    "unknown argument": (soap_arguments(species=["Si"], lmax=2), "lmax"),
    "l_max": (soap_arguments(species=["Si"], l_max=21), "l_max"),
    "n_max": (soap_arguments(species=["Si"], n_max=0), "n_max"),
    "sigma": (soap_arguments(species=["Si"], sigma=-0.5), "sigma"),
    "basis": (soap_arguments(species=["Si"], rbf="gto2"), "gto2"),
    "compression": (soap_arguments(species=["Si"], compression={"mode": "mu3"}), "mu3"),
    "weighting": (soap_arguments(species=["Si"], weighting={"function": "poli", "r0": 3, "c": 1, "m": 1}), "poly"),
    "weight of the centre": (
        soap_arguments(species=["Si"], weighting={"function": "pow", "r0": 2, "c": 1, "d": 0, "m": 2}),
        "infinite at the centre",
    ),
    "no weight": (soap_arguments(species=["Si"], weighting={"function": "poly", "r0": 3, "c": 0, "m": 1}), "zero"),
    "no soap": (3.5, "3.5"),
    "a string": ("soap", "'soap'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_a_reason(name: str) -> None:
    given, reason = REFUSED[name]
    with pytest.raises(ConfigError) as error:
        soap_basis(given)
    assert reason in error.value.what
    assert str(error.value).count("Fix: ") == 1


@pytest.mark.parametrize("average", ["inner", "outer"])
def test_an_averaged_object_is_refused(average: str) -> None:
    with pytest.raises(ConfigError, match=average):
        soap_basis(SOAP(**soap_arguments(species=["Si"], average=average)))

"""The basis that is made without dscribe, against dscribe's own, bit for bit."""

from __future__ import annotations

import copy
import inspect
import itertools
from typing import Any

import numpy as np
import pytest
from dscribe.descriptors import SOAP

from gapkit.descriptors import basis as module
from gapkit.descriptors.basis import SoapBasis, soap_basis
from gapkit.descriptors.gto import SOAP_ARGUMENTS, gto_basis, usual_arguments
from tests.samples import soap_arguments

pytestmark = pytest.mark.filterwarnings("ignore:An ill-conditioned matrix")  # of dscribe
UNUSUAL: dict[str, dict[str, Any]] = {
    "polynomial basis": {"rbf": "polynomial"},
    "averaged": {"average": "inner"},
    "compressed": {"compression": {"mode": "mu2"}},
    "weights of species": {"compression": {"species_weighting": {"Si": 2.0}}},
    "weight of the centre": {"weighting": {"w0": 0.5}},
    "other weighting": {"weighting": {"function": "exp", "r0": 2.0, "c": 1.0, "d": 1.0}},
    "zero weight": {"weighting": {"function": "poly", "r0": 3.6, "c": 0.0, "m": 1.0}},
    "infinite cutoff": {"r_cut": np.inf},
    "cutoff of 1 Å": {"r_cut": 1.0},
    "negative sigma": {"sigma": -0.5},
    "l_max of 21": {"l_max": 21},
    "n_max of 0": {"n_max": 0},
    "n_max that is no whole number": {"n_max": 3.5},
    "n_max that is a truth value": {"n_max": True},
    "species twice": {"species": ["Si", 14]},
    "no species": {"species": []},
    "symbols and numbers": {"species": ["Si", 6]},
    "unknown species": {"species": ["Sx"]},
    "dtype": {"dtype": "float32"},
    "unknown argument": {"lmax": 2},
}


def given(**changes: Any) -> dict[str, Any]:
    return soap_arguments(**{"species": ["Si"], **changes})


@pytest.mark.parametrize("r_cut", [1.5, 3.6, 5.4, 6.123456, 9.0])
def test_basis_is_that_of_dscribe(r_cut: float) -> None:
    """Where rounding leaves dscribe no real basis, there is none here either."""
    refused = 0
    for n_max, l_max in itertools.product((1, 2, 4, 8, 10, 12), (0, 4, 12)):
        found = gto_basis(r_cut, n_max, l_max)
        try:
            soap = SOAP(r_cut=r_cut, n_max=n_max, l_max=l_max, species=["Si"])
        except ValueError:
            assert found is None
            refused += 1
            continue
        assert found is not None
        assert np.array_equal(found[0], soap._alphas)
        assert np.array_equal(found[1], soap._betas)
    assert (refused > 0) == (r_cut == 1.5)


@pytest.mark.parametrize("species", [["Si", "C"], [14, 6], ("C",), np.array([6, 14])])
@pytest.mark.parametrize("weighting", [None, {}, {"function": "poly", "r0": 3, "c": 2, "m": 1}])
def test_arguments_are_kept_as_dscribe_has_them(species: Any, weighting: dict[str, Any] | None) -> None:
    arguments = given(species=species, weighting=weighting, periodic=True)
    kept = usual_arguments(arguments)
    assert kept is not None
    assert kept == SoapBasis.of(SOAP(**copy.deepcopy(arguments))).arguments


def test_the_basis_is_made_without_dscribe(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = SoapBasis.of(SOAP(**given()))
    monkeypatch.delattr(module, "_by_dscribe")
    basis = soap_basis(given())
    assert basis.arguments == expected.arguments
    assert np.array_equal(basis.betas_lnk, expected.betas_lnk)


@pytest.mark.parametrize("name", UNUSUAL)
def test_dscribe_has_the_say_on_what_is_unusual(name: str) -> None:
    assert usual_arguments(given()) is not None
    assert usual_arguments(given(**UNUSUAL[name])) is None


def test_names_are_those_of_dscribe() -> None:
    assert sorted(SOAP_ARGUMENTS) == sorted(inspect.signature(SOAP).parameters)

"""Settings of `accuracy.py`, and the published figures that its table is compared with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from gapkit import Noise, PairTerm, SoapTerm, TripletTerm

Errors = tuple[float, float]
AnyTerm = PairTerm | SoapTerm | TripletTerm


@dataclass(frozen=True)
class Recipe:
    """How one set is fitted and judged.

    Attributes
    ----------
    train
        Names of the training files.
    tests
        {test file: {method: published errors of energy and forces}}, in meV/atom (total: meV) and meV/Å.
    terms
        Makes the terms of the model.
    noise
        σ of the labels.
    measure
        MAE or RMSE.
    total
        Whether errors are those of total energies.
    """

    train: Sequence[str]
    tests: Mapping[str, Mapping[str, Errors]]
    terms: Callable[[], list[AnyTerm]]
    noise: Noise
    measure: str = "MAE"
    total: bool = False

    def described(self) -> str:
        """The settings in one line."""
        return "; ".join([*map(_described, self.terms()), f"σ {self.noise.get_params()}"])


def _described(term: AnyTerm) -> str:
    settings = {k: v for k, v in term.get_params(deep=False).items() if v is not None}
    return f"{type(term).__name__} {settings}"


def soap(r_cut: float, sigma: float, m: float, n_max: int = 8, l_max: int = 6) -> dict[str, Any]:
    """Arguments of a SOAP whose density weight, (1 - 3x² + 2x³)^m with x = r/r_cut, fades at its cutoff."""
    weighting = {"function": "poly", "r0": r_cut, "c": 1.0, "m": m}
    return {"r_cut": r_cut, "n_max": n_max, "l_max": l_max, "sigma": sigma, "weighting": weighting}


def alloy() -> list[AnyTerm]:
    """A metal: two or three shells of neighbours, all of them important."""
    return [PairTerm(5.0), SoapTerm(soap(5.0, 0.5, 1.0), zeta=4, n_sparse=2000)]


def molecule(r_cut: float, sigma: float, zeta: int, n_sparse: int | Mapping[str, int]) -> list[AnyTerm]:
    """An organic molecule: bonds, angles, and what they leave, with a weight that favours near neighbours."""
    rest = SoapTerm(soap(r_cut, sigma, 2.0), zeta=zeta, n_sparse=n_sparse)
    return [PairTerm(6.0), TripletTerm(3.0, n_sparse=40), rest]


RECIPES: dict[str, Recipe] = {
    "mota": Recipe(
        ("MoTa_SS", "Mo_AIMD", "Mo_Elastic", "Mo_Surface", "Ta_AIMD", "Ta_Elastic", "Ta_Surface"),
        {
            "MoTa_Test": {"SNAP": (4.41, 36.5)},
            "Mo_Test": {"SNAP": (3.24, 126.0)},
            "Ta_Test": {"SNAP": (5.28, 167.0)},
        },
        alloy,
        Noise(0.001, 0.05, 0.02),
    ),
    "3bpa": Recipe(
        ("train_300K", "iso_atoms"),
        {"test_300K": {"GAP": (22.8, 87.3), "sGDML": (9.1, 46.2), "linear ACE": (7.1, 27.1)}},
        partial(molecule, r_cut=4.5, sigma=0.4, zeta=6, n_sparse=11000),
        Noise(0.0002, 0.01),
        measure="RMSE",
        total=True,
    ),
    "ethanol": Recipe(
        ("train",),
        {"test": {"GAP": (3.5, 18.1), "sGDML": (2.4, 16.0), "linear ACE": (1.2, 7.3)}},
        partial(molecule, r_cut=5.5, sigma=0.5, zeta=4, n_sparse={"C": 2000, "O": 1000, "H": 4500}),
        Noise(0.00005, 0.001),
        total=True,
    ),
}

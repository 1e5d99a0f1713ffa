"""From raw standard deviations to those that errors should be compared with.

Found by `gapkit.uncertainty.calibrate`, stored in the model, applied by every prediction.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

import numpy as np

from gapkit._check import positive
from gapkit.errors import ConfigError
from gapkit.typing import KINDS, FloatArray, IntArray, Kind

ALL: Final = 0
"""Atomic number of a scale that holds for all species, and for energies and stresses."""

ISOTROPIC: Final = 0.1
"""Share of σ² that is the same for all components, since labels are not exactly zero where symmetry makes u zero.
Measured by leave-one-out, mean NLL of a component with the share 0 | 0.1 | 0.3 | 1: molybdenum forces -0.89 | -1.00 |
-0.99 | -0.97, stress 23 | -4.48 | -4.39 | -4.19; silicon, whose labels are symmetric, stress -6.49 | -5.24 | -5.19 |
-5.05."""

LIMIT_ATOMS: Final = 20
"""Fewest atoms with a large error from which a limit can be read."""


@dataclass(frozen=True, eq=False)
class Scale:
    """σ² = f(u)² + a share of what exceeds `prior_known` of the prior part; u² = data part of the raw variance.

    f rises with u. Between knots its logarithm is linear in that of u; outside, f is proportional to u, below the first
    knot down to a hundredth of its σ. One knot is a plain factor: f = (sigma/raw) u everywhere.

    What sparse points do not span is nearly the same everywhere near the data, and tells nothing about errors there: on
    molybdenum and silicon, any share of it in u worsens their order. Far from the data it grows, but nearly always to
    much more than errors do, above all where pairs and triangles are summed over many neighbours: hence the share.

    Attributes
    ----------
    raw_k, sigma_k
        Knots of f, ascending, shape (K,); in eV/atom, eV/Å or eV/Å³.
    prior_known
        Largest prior part (variance of a component) among the values that the scale was fitted to.
    prior_share
        Share of the prior part that errors of these values had, in [0, 1]; in files before schema 5 it may be larger.
    """

    LOWEST: ClassVar[float] = 0.01
    """f is not extrapolated below this share of that of the first knot."""

    raw_k: FloatArray
    sigma_k: FloatArray
    prior_known: float = 0.0
    prior_share: float = 1.0

    def apply(self, data_xc: FloatArray, prior_xc: FloatArray) -> FloatArray:
        """σ of components, shape (X, C).

        The rms of f over components is the function of that of u. Components share it as they share u, save that each
        has at least √0.1 of the rms (`ISOTROPIC`).
        """
        square_xc = np.maximum(data_xc, 0.0)  # rounding can make it negative
        square_x = np.mean(square_xc, axis=1)[:, None]
        share_xc = np.where(square_x > 0.0, square_xc / np.where(square_x > 0.0, square_x, 1.0), 1.0)
        f_x = self.sigma(np.sqrt(square_x[:, 0]))[:, None]
        excess_xc = np.maximum(prior_xc - self.prior_known, 0.0)
        return np.sqrt((ISOTROPIC + (1.0 - ISOTROPIC) * share_xc) * f_x**2 + self.prior_share * excess_xc)

    def sigma(self, u_x: FloatArray) -> FloatArray:
        """f of values of u, shape (X,)."""
        if len(self.raw_k) == 1:
            return u_x * (self.sigma_k[0] / self.raw_k[0])
        inside = np.clip(u_x, self.raw_k[0], self.raw_k[-1])
        sigma_x = np.exp(np.interp(np.log(inside), np.log(self.raw_k), np.log(self.sigma_k)))
        return sigma_x * np.maximum(1.0, u_x / self.raw_k[-1]) * np.clip(u_x / self.raw_k[0], self.LOWEST, 1.0)


@dataclass(frozen=True, eq=False)
class Calibration:
    """Scales of each kind of property, by species.

    Attributes
    ----------
    scales
        {kind: {atomic number: Scale}}; number 0 stands for all species without a scale of their own.
    report
        {kind: {name: number}}: size of the calibration set, coverage, NLL, CRPS, miscalibration area, Spearman ρ, …;
        see `gapkit.uncertainty.calibrate`.
    samples
        {kind: (X, 2)}: σ and error (rms over components) of calibration values, thousands at most; eV/atom, eV/Å
        or eV/Å³.
    """

    ALL: ClassVar[int] = ALL

    scales: Mapping[Kind, Mapping[int, Scale]]
    report: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    samples: Mapping[Kind, FloatArray] = field(default_factory=dict)

    def std(self, kind: Kind, numbers_x: IntArray, data_xc: FloatArray, prior_xc: FloatArray) -> FloatArray | None:
        """Calibrated σ of components, shape (X, C), from two parts of the variance; None for a kind without a scale."""
        scales = self.scales.get(kind)
        if not scales:
            return None
        std_xc = np.empty_like(data_xc)
        for number in np.unique(numbers_x):
            mine = numbers_x == number
            std_xc[mine] = scales.get(int(number), scales[ALL]).apply(data_xc[mine], prior_xc[mine])
        return std_xc

    def limit(self, miss_rate: float, error: float | None = None) -> float:
        """σ of a force above which an atom should be looked at.

        Parameters
        ----------
        miss_rate
            Of the calibration atoms with an error above `error`, at most this share has a smaller σ; above 0, below 1.
        error
            Error (rms over components) that must not go unnoticed, eV/Å. None: twice the rms of all.

        Returns
        -------
        σ, rms over components, eV/Å.

        Raises
        ------
        ConfigError
            Forces are not calibrated, fewer than 20 atoms have such an error, or an argument is outside its range.
        """
        miss_rate = positive("miss_rate", miss_rate)
        if miss_rate >= 1.0:
            raise ConfigError(f"miss_rate={miss_rate:g} is outside its range", fix="give a share above 0 and below 1")
        if "forces" not in self.samples:
            fix = "calibrate with frames that have forces: gapkit.uncertainty.calibrate(model, frames)"
            raise ConfigError("forces are not calibrated, so no σ can be read as a limit", fix=fix)
        sigma_x, error_x = self.samples["forces"].T
        least = 2.0 * float(np.sqrt(np.mean(error_x**2))) if error is None else positive("error", error, "eV/Å")
        missed = np.sort(sigma_x[error_x > least])
        if len(missed) < LIMIT_ATOMS:
            what = f"only {len(missed)} of {len(error_x)} calibration atoms have an error above {least:.3g} eV/Å"
            raise ConfigError(what, fix=f"give a smaller error, or more frames: {LIMIT_ATOMS} such atoms are needed")
        return float(missed[int(miss_rate * len(missed))])

    def describe(self) -> tuple[dict[str, Any], dict[str, FloatArray]]:
        """Document and arrays for a model file."""
        arrays: dict[str, FloatArray] = {}
        for kind, scales in self.scales.items():
            for number, scale in scales.items():
                arrays[f"calibration.{kind}.{number}.raw"] = scale.raw_k
                arrays[f"calibration.{kind}.{number}.sigma"] = scale.sigma_k
        arrays |= {f"calibration.{kind}.samples": rows for kind, rows in self.samples.items()}
        priors = {
            name: {k: {str(z): getattr(scale, name) for z, scale in own.items()} for k, own in self.scales.items()}
            for name in ("prior_known", "prior_share")
        }
        report = {kind: dict(own) for kind, own in self.report.items()}
        return {**priors, "report": report, "samples": list(self.samples)}, arrays

    @classmethod
    def build(cls, document: Mapping[str, Any], arrays: Mapping[str, FloatArray]) -> Calibration:
        """The calibration that `describe` described; ValueError or KeyError for what does not hold together."""
        scales: dict[Kind, dict[int, Scale]] = {}
        for kind, known in document["prior_known"].items():
            if kind not in KINDS or str(ALL) not in known:
                raise ValueError(f"no calibration of '{kind}'")
            older = document["prior_share"] is None
            scales[kind] = {
                int(z): _scale(
                    f"calibration.{kind}.{z}", x, None if older else document["prior_share"][kind][z], arrays
                )
                for z, x in known.items()
            }
        samples: dict[Kind, FloatArray] = {kind: arrays[f"calibration.{kind}.samples"] for kind in document["samples"]}
        if any(rows.ndim != 2 or rows.shape[1] != 2 for rows in samples.values()):
            raise ValueError("samples of a calibration have two columns")
        return cls(scales, document["report"], samples)


def _scale(name: str, prior_known: float, prior_share: float | None, arrays: Mapping[str, FloatArray]) -> Scale:
    """One scale of a model file, its knots checked. Without a share it is that of its last knot: the prior part of
    older files was scaled as the data part."""
    raw_k, sigma_k = arrays[f"{name}.raw"], arrays[f"{name}.sigma"]
    same = raw_k.ndim == 1 and raw_k.shape == sigma_k.shape and len(raw_k) > 0
    if not same or not (np.diff(raw_k) > 0.0).all() or not (np.concatenate([raw_k, sigma_k]) > 0.0).all():
        raise ValueError(f"the knots of {name} are no rising positive numbers")
    share = (sigma_k[-1] / raw_k[-1]) ** 2 if prior_share is None else float(prior_share)
    if not 0.0 <= share < np.inf:
        raise ValueError(f"the share of the prior part of {name} is {share}")
    return Scale(raw_k, sigma_k, float(prior_known), float(share))

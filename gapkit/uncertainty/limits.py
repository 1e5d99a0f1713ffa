"""Limits with a unit: what a standard deviation is held against."""

from __future__ import annotations

import re
import unicodedata
from typing import Literal, NamedTuple

from gapkit import GAP, ConfigError
from gapkit.errors import warn

UNITS: dict[str, tuple[Literal["forces", "energy"], float]] = {
    **{f"{prefix}eV/{length}": ("forces", factor) for length in ("Å", "A", "Ang", "Angstrom", "angstrom")
       for prefix, factor in (("", 1.0), ("m", 1e-3))},
    "eV/atom": ("energy", 1.0),
    "meV/atom": ("energy", 1e-3),
}  # fmt: skip
UNIT_OF = {"forces": "eV/Å", "energy": "eV/atom"}
_HOW = "give a number and its unit, such as '0.15 eV/Å' (force on an atom) or '5 meV/atom' (energy)"


class Limit(NamedTuple):
    """Largest σ that is let pass.

    Attributes
    ----------
    kind
        What σ belongs to: the force on an atom (rms over its components), or the energy per atom.
    value
        eV/Å or eV/atom.
    """

    kind: Literal["forces", "energy"]
    value: float

    @property
    def unit(self) -> str:
        """Of `value`."""
        return UNIT_OF[self.kind]


def read_limit(limit: object, miss_rate: float, model: GAP) -> Limit | None:
    """The limit that a user's text means, None for none.

    Parameters
    ----------
    limit
        "0.15 eV/Å" (also eV/A, eV/Ang, meV/Å), "5 meV/atom", "auto" (from the calibration of the model), or None.
    miss_rate
        For "auto": share of large force errors that may stay below it.
    model
        A model without calibration has no "auto", and gets a warning for the others.

    Raises
    ------
    ConfigError
        No unit, an unknown one, no positive number, or "auto" without a calibration.
    """
    if limit is None:
        return None
    if limit == "auto":
        if model.calibration_ is None:
            fix = "run gapkit.uncertainty.calibrate(model, frames) or 'gapkit calibrate', or give a limit in eV/Å"
            raise ConfigError("limit='auto' needs a calibrated model", fix=fix)
        return Limit("forces", model.calibration_.limit(miss_rate))
    found = with_unit(limit)
    calibration = model.calibration_
    if calibration is None or found.kind not in calibration.scales:
        what = f"σ of the {found.kind} is not calibrated and may be ten times too small or too large; the limit is "
        what += "compared with it as it is. Calibrate it with gapkit calibrate, or gapkit.uncertainty.calibrate."
        warn(what)
    return found


def with_unit(limit: object) -> Limit:
    """The limit that a number and a unit mean."""
    text = unicodedata.normalize("NFKC", str(limit)).strip()
    match = re.fullmatch(r"([-+0-9.eE]*[0-9.])\s*(.*)", text)
    if not isinstance(limit, str) or match is None:
        raise ConfigError(f"limit={limit!r}: a limit without unit", fix=_HOW)
    number, unit = match[1], match[2].replace(" ", "")
    if not unit:
        raise ConfigError(f"limit={limit!r}: a limit without unit", fix=_HOW)
    if unit not in UNITS:
        raise ConfigError(f"limit={limit!r}: unknown unit '{unit}'", fix=_HOW)
    kind, factor = UNITS[unit]
    try:
        value = float(number) * factor
    except ValueError:
        value = 0.0
    if not 0.0 < value < float("inf"):
        raise ConfigError(f"limit={limit!r} is not a positive number", fix=_HOW)
    return Limit(kind, value)

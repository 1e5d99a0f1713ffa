"""Checks of arguments that more than one module needs."""

from __future__ import annotations

import numbers
import re

import numpy as np

from gapkit.errors import ConfigError
from gapkit.typing import Rng


def positive(name: str, value: object, unit: str = "") -> float:
    """`value` as a finite positive float, or ConfigError."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not 0 < float(value) < np.inf:
        raise ConfigError(f"{name}={value!r} is not a positive number", fix=f"give {name} > 0 {unit}".strip())
    return float(value)


def not_negative(name: str, value: object, unit: str = "") -> float:
    """`value` as a finite float ≥ 0, or ConfigError."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not 0 <= float(value) < np.inf:
        raise ConfigError(f"{name}={value!r} is not a number ≥ 0", fix=f"give 0 or a positive {name} {unit}".strip())
    return float(value)


def whole(name: str, value: object, least: int = 1, most: int | None = None) -> int:
    """`value` as an int between `least` and `most`, or ConfigError."""
    wrong = isinstance(value, bool) or not isinstance(value, numbers.Integral)
    if wrong or int(value) < least or (most is not None and int(value) > most):  # type: ignore[call-overload]
        span = f"at least {least}" if most is None else f"from {least} to {most}"
        raise ConfigError(f"{name}={value!r} is outside its range", fix=f"give a whole number {span}")
    return int(value)  # type: ignore[call-overload]


def threads(n_jobs: object) -> int:
    """`n_jobs` as a number of threads, negative counting from all cores as in joblib, or ConfigError."""
    if isinstance(n_jobs, bool) or not isinstance(n_jobs, numbers.Integral) or n_jobs == 0:
        raise ConfigError(f"n_jobs={n_jobs!r} is no number of threads", fix="give 1 or more, or -1 for all cores")
    return int(n_jobs)


_UNITS = {"": 1.0, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}


def memory(name: str, value: object) -> float:
    """An amount of memory, '2GB' or a number of bytes, in bytes; infinite for None; or ConfigError."""
    if value is None:
        return float("inf")
    match = re.fullmatch(r"\s*([0-9.]+(?:e[0-9]+)?)\s*([KMGT]?B?)\s*", str(value), re.IGNORECASE)
    unit = match[2].upper() if match else ""
    try:
        n_bytes = float(match[1]) * _UNITS[unit if unit in _UNITS else unit.rstrip("B") + "B"] if match else 0.0
    except (ValueError, KeyError):
        n_bytes = 0.0
    if isinstance(value, bool) or not 0.0 < n_bytes < np.inf:
        raise ConfigError(f"{name}={value!r} is no amount of memory", fix=f"give {name}='2GB', or a number of bytes")
    return n_bytes


def generator(rng: Rng) -> np.random.Generator:
    """The random generator that a user's `rng` argument means (a seed, a generator, None for 0)."""
    if isinstance(rng, np.random.Generator):
        return rng
    return np.random.default_rng(0 if rng is None else whole("rng", rng, least=0))

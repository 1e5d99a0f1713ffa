"""What a user sets of a model, checked before a fit begins."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from copy import deepcopy
from typing import Any

from gapkit._check import memory, threads
from gapkit.atoms.keys import Keys
from gapkit.errors import ConfigError, nearest, warn
from gapkit.gp.noise import Noise


def check_settings(terms: Any, e0: Any, keys: Any, n_jobs: Any, max_memory: Any, baselines: Any) -> None:
    """ConfigError for settings of the wrong kind."""
    threads(n_jobs)
    memory("max_memory", max_memory)
    if not (keys is None or isinstance(keys, Keys)):
        raise ConfigError(f"keys={keys!r} are no Keys", fix="give Keys(energy='…', forces='…')")
    if not (e0 is None or isinstance(e0, Mapping)):
        raise ConfigError(f"e0={e0!r} is no dictionary", fix="give {symbol: energy in eV}")
    if not _is_list_of(terms, "choose"):
        fix = "give [PairTerm(...), SoapTerm(...)], or terms=None for defaults"
        raise ConfigError(f"terms={terms!r} are no list of terms", fix=fix)
    if not _is_list_of(baselines, "evaluate"):
        fix = "give [ZBL(), Coulomb(...)], [] for none, or baselines=None for the default"
        raise ConfigError(f"baselines={baselines!r} are no list of baselines", fix=fix)


def _is_list_of(value: Any, method: str) -> bool:
    """Whether a setting is None or a list of objects that have a method."""
    listed = value is None or (isinstance(value, Sequence) and not isinstance(value, str))
    return listed and all(hasattr(one, method) and not isinstance(one, type) for one in value or ())


def checked_noise(*given: Noise | None) -> Noise:
    """A checked copy of the first noise that is given, so that later changes of settings leave the fit alone."""
    noise = next((n for n in given if n is not None), Noise())
    if not isinstance(noise, Noise):
        raise ConfigError(f"noise={noise!r} is no Noise", fix="give Noise(energy=0.001, forces=0.1, stress=0.01)")
    noise.check()
    return deepcopy(noise)


def warn_of_groups(noise: Noise, groups: Collection[str]) -> None:
    """A group that no frame has is a slip of the pen, or absent from this part of the data."""
    for group in sorted(set(noise.groups or {}) - set(groups)):
        what = f"Noise.groups names '{group}', which no frame has; {nearest(group, groups)}."
        warn(what)


def name_of(term: Any, number: int) -> str:
    """Name of a term in `by_term`, after its class and its place: soap1."""
    return f"{type(term).__name__.removesuffix('Term').lower()}{number}"

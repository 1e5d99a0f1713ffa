"""Settings of terms by short names, and the values of them that are tried."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from gapkit import ConfigError, SoapTerm
from gapkit.errors import nearest

Settings = dict[str, Any]

OF_SOAP: Final = ("r_cut", "n_max", "l_max", "sigma", "rbf", "m", "compression")
"""Short names of what `SoapTerm` takes in its dictionary `soap`; m is the exponent of a "poly" weighting."""

_REAL: Final = ("r_cut", "sigma", "m", "delta", "theta", "width")
_FIX: Final = "give GAP a SoapTerm whose soap is a dictionary of dscribe's arguments"


@dataclass(frozen=True)
class Knob:
    """A setting of one of the terms.

    Attributes
    ----------
    name
        As the user gave it.
    term
        Index of the term.
    inner
        Name of the argument of the term, or one of `OF_SOAP`.
    """

    name: str
    term: int
    inner: str

    def of(self, terms: Sequence[Any]) -> Any:
        """Its value in some terms; None where dscribe's default is used."""
        term = terms[self.term]
        if not _in_soap(term, self.inner):
            return getattr(term, self.inner)
        soap = term.soap or {}
        if self.inner == "m":
            return (soap.get("weighting") or {}).get("m")
        if self.inner == "compression":
            return (soap.get("compression") or {}).get("mode", "off")
        return soap.get(self.inner)

    def turn(self, terms: list[Any], value: Any) -> None:
        """Put a copy of its term, with another value, into a list of terms. A smooth cutoff moves along with r_cut."""
        term = copy(terms[self.term])
        terms[self.term] = term
        if not _in_soap(term, self.inner):
            setattr(term, self.inner, value)
            return
        soap, weighting = dict(term.soap), term.soap.get("weighting")
        if self.inner == "m":
            soap["weighting"] = {**weighting, "m": value}
        elif self.inner == "compression":
            soap["compression"] = {**soap.get("compression", {}), "mode": value}
        else:
            soap[self.inner] = value
            if self.inner == "r_cut" and weighting and weighting.get("r0") == term.soap.get("r_cut"):
                soap["weighting"] = {**weighting, "r0": value}
        term.soap = soap


@dataclass(frozen=True)
class Space:
    """The settings that are varied.

    Attributes
    ----------
    terms
        Terms to start from.
    knobs
        What is varied, in the order of the search.
    values
        Values of each, the first one that of `terms`.
    """

    terms: Sequence[Any]
    knobs: tuple[Knob, ...]
    values: Mapping[str, tuple[Any, ...]]

    @property
    def start(self) -> Settings:
        """The settings of the terms themselves."""
        return {name: values[0] for name, values in self.values.items()}

    def changed(self, settings: Settings) -> list[Any]:
        """The terms with other settings."""
        terms = list(self.terms)
        for knob in self.knobs:
            if settings[knob.name] != self.values[knob.name][0]:
                knob.turn(terms, settings[knob.name])
        return terms

    def key(self, settings: Mapping[str, Any]) -> str:
        """Text of what differs from the start, the same whatever else is varied."""
        start = self.start
        return json.dumps({n: v for n, v in sorted(settings.items()) if v != start[n]}, sort_keys=True)

    def of_another(self, settings: Mapping[str, Any]) -> Settings | None:
        """Settings of another space of the same terms as those of this one; None if they are not among its values."""
        for name in set(settings) - set(self.values):
            knob = knob_of(name, self.terms)
            if settings[name] != _plain(knob, knob.of(self.terms)):
                return None
        found = {name: settings.get(name, own[0]) for name, own in self.values.items()}
        return found if all(value in self.values[name] for name, value in found.items()) else None

    @property
    def shared(self) -> tuple[str, ...]:
        """Names of what differs between models that share their kernel rows: see `GAP.fit_each` and `GAP.thinned`."""
        soap = [knob for knob in self.knobs if isinstance(self.terms[knob.term], SoapTerm)]
        names = {knob.name for knob in soap if knob.inner in ("zeta", "delta")} | {self.nested}
        return tuple(name for name in self.values if name in names)

    @property
    def nested(self) -> str:
        """Name of the number of sparse points, if fits on fewer of them are parts of one fit; else empty."""
        environments = [k for k, term in enumerate(self.terms) if hasattr(term, "n_sparse") and hasattr(term, "method")]
        for knob in self.knobs:
            term = self.terms[knob.term]
            if knob.inner == "n_sparse" and environments == [knob.term]:
                ordered = term.method == "farthest_point" and not getattr(term, "quotas", None)
                return knob.name if ordered and all(isinstance(n, int) for n in self.values[knob.name]) else ""
        return ""


def space_of(terms: Sequence[Any], given: Mapping[str, Iterable[Any]] | None) -> Space:
    """What is varied of some terms.

    Raises
    ------
    ConfigError
        A name that no term has, or more than one; a name without values; terms whose settings cannot be changed.
    """
    if given is not None and not isinstance(given, Mapping):
        raise ConfigError(f"space={given!r} is no dictionary", fix='give {"zeta": [2, 4, 6], "r_cut": [5.0, 6.0]}')
    knobs, values = [], {}
    for name, listed in (default_space(terms) if given is None else given).items():
        if isinstance(listed, (str, bytes, Mapping)) or not isinstance(listed, Iterable):
            raise ConfigError(f"space['{name}'] is no list of values", fix=f"give {{'{name}': [value, value]}}")
        knob = knob_of(str(name), terms)
        start = _plain(knob, knob.of(terms))
        own = [start]
        for value in (_plain(knob, v) for v in listed):
            if value not in own:
                own.append(value)
        knobs.append(knob)
        values[knob.name] = tuple(own)
    if not any(len(own) > 1 for own in values.values()):
        raise ConfigError("there is nothing to vary", fix='give space={"zeta": [2, 4, 6]}, or None for the usual one')
    return Space(list(terms), tuple(knobs), values)


def default_space(terms: Sequence[Any]) -> dict[str, list[Any]]:
    """Values about those of the only SOAP term: cutoff, exponent of the weighting, ζ, σ, number of sparse points."""
    soap = _only_soap(terms)
    arguments = terms[soap].soap
    space: dict[str, list[Any]] = {"r_cut": [round(f * arguments["r_cut"], 1) for f in (0.8, 0.9, 1.1)]}
    if (arguments.get("weighting") or {}).get("function") == "poly" and "m" in arguments["weighting"]:
        space["m"] = [1.0, 2.0]
    space |= {"zeta": [2, 4, 6], "sigma": [round(f * arguments.get("sigma", 1.0), 2) for f in (0.8, 1.25)]}
    n = terms[soap].n_sparse
    if isinstance(n, int) and n >= 40:
        space["n_sparse"] = [n // 4, n // 2]
    return space


def _only_soap(terms: Sequence[Any]) -> int:
    """Index of the only SOAP term."""
    found = [k for k, term in enumerate(terms) if isinstance(term, SoapTerm)]
    if not found:
        raise ConfigError("the model has no SoapTerm, to which short names apply", fix="give term__name, or " + _FIX)
    if len(found) > 1:
        names = " or ".join(f"soap{k}__r_cut" for k in found)
        raise ConfigError("the model has several SoapTerms", fix=f"say of which, by its name in by_term: {names}")
    return found[0]


def knob_of(name: str, terms: Sequence[Any]) -> Knob:
    """The setting that a name means: ``zeta`` of the only SOAP term, ``pair__r_cut``, ``soap1__sigma``."""
    first, delimiter, inner = name.partition("__")
    if delimiter:
        kinds = [term.kind for term in terms]
        numbered = {f"{kind}{k}": k for k, kind in enumerate(kinds)}
        single = {kind: k for k, kind in enumerate(kinds) if kinds.count(kind) == 1}
        if first not in numbered | single:
            raise ConfigError(f"space names '{name}', but no term is '{first}'", fix=nearest(first, numbered | single))
        number = (numbered | single)[first]
    else:
        number, inner = _only_soap(terms), name
    term = terms[number]
    valid = [n for n in term.get_params(deep=False) if n != "soap"]
    if isinstance(term, SoapTerm):
        valid += OF_SOAP
        if not isinstance(term.soap, Mapping):
            raise ConfigError("the descriptor of the SoapTerm is no dictionary, and cannot be varied", fix=_FIX)
    if inner not in valid:
        what = f"space names '{name}', which is no setting of {type(term).__name__}"
        raise ConfigError(what, fix=nearest(inner, valid))
    if inner == "m" and isinstance(term, SoapTerm) and (term.soap.get("weighting") or {}).get("function") != "poly":
        what = "space names 'm', but the SOAP has no weighting of the function 'poly'"
        raise ConfigError(what, fix='add weighting={"function": "poly", "r0": r_cut, "c": 1.0, "m": 1.0}')
    return Knob(name, number, inner)


def _in_soap(term: Any, inner: str) -> bool:
    return isinstance(term, SoapTerm) and inner in OF_SOAP


def _plain(knob: Knob, value: Any) -> Any:
    """A value as JSON types, so that it is the same after it was written and read."""
    if isinstance(value, np.generic):
        value = value.item()
    if knob.inner in _REAL and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError) as error:
        fix = "give numbers, text, None, or lists and dictionaries of them"
        raise ConfigError(f"space['{knob.name}'] has the value {value!r}", fix=fix) from error


def in_words(settings: Mapping[str, Any]) -> str:
    """Settings in one line: zeta 4, r_cut 5.5."""
    return ", ".join(f"{name} {value_text(value)}" for name, value in settings.items())


def value_text(value: Any) -> str:
    """A value for a table."""
    if isinstance(value, Mapping):
        return "(" + ", ".join(f"{name} {value_text(own)}" for name, own in value.items()) + ")"
    if isinstance(value, (list, tuple)):
        return " ".join(map(value_text, value))
    return f"{value:g}" if isinstance(value, float) else "none" if value is None else str(value)
